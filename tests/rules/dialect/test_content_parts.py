"""Parts of a prompt that are no text."""

from typing import Any

import pytest

from forebay.resources.terms import Modality
from tests.rules.dialect.asked import asked


@pytest.mark.parametrize(
    ("part", "foreign", "modality"),
    [
        ({"type": "text", "text": "hi"}, set(), None),
        ({"type": "image_url", "image_url": {"url": "https://pictures.example/a.png"}}, set(), Modality.IMAGE),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}, set(), Modality.IMAGE),
        ({"type": "image_url", "image_url": {"url": "http://files.internal/a"}}, {"content.image_url"}, Modality.IMAGE),
        ({"type": "image_url", "image_url": {"url": "file:///data/a.png"}}, {"content.image_url"}, Modality.IMAGE),
        ({"type": "input_image", "image_url": "https://pictures.example/a.png"}, set(), Modality.IMAGE),
        ({"type": "input_image", "file_id": "file-1"}, {"content.image_url"}, Modality.IMAGE),
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}, set(), Modality.AUDIO),
        ({"type": "audio_url", "audio_url": {"url": "https://a.example"}}, {"content.audio_url"}, Modality.AUDIO),
        ({"type": "video_url", "video_url": {"url": "https://a.example"}}, {"content.video_url"}, None),
        ({"type": "file", "file": {"file_id": "file-1"}}, {"content.file"}, None),
    ],
)
def test_parts_that_a_provider_cannot_take_are_seen(
    part: dict[str, Any], foreign: set[str], modality: Modality | None
) -> None:
    body = {"messages": [{"role": "user", "content": [{"type": "text", "text": "look"}, part]}], "temperature": None}
    facts = asked(body).facts
    assert facts.fields == {"messages"} | foreign
    assert facts.inputs == {Modality.TEXT} | ({modality} if modality else set())
