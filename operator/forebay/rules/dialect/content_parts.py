"""The parts of a prompt that are no text: what a model has to understand, and what no provider can be sent."""

from typing import Any, Final

from forebay.resources.terms import Modality

_MODALITIES: Final = {"image_url": Modality.IMAGE, "input_image": Modality.IMAGE, "input_audio": Modality.AUDIO,
                      "audio_url": Modality.AUDIO}  # fmt: skip
_FOREIGN: Final = frozenset({"audio_url", "video_url", "image_embeds", "audio_embeds", "file", "input_file",
                             "item_reference"})  # fmt: skip
"""Parts that vLLM alone knows, or that name what is stored somewhere: as fields they are called `content.TYPE`."""
TEXT_ALONE: Final = frozenset({Modality.TEXT})


def inputs_of(parts: list[dict[str, Any]]) -> frozenset[Modality]:
    """The kinds of input."""
    kinds = {_MODALITIES.get(str(part["type"]), Modality.TEXT) for part in parts}
    return TEXT_ALONE | kinds


def foreign_parts(parts: list[dict[str, Any]]) -> frozenset[str]:
    """What of the content no provider can be expected to take."""
    found = set()
    for part in parts:
        kind = str(part["type"])
        if kind in _FOREIGN:
            found.add(f"content.{kind}")
        elif _MODALITIES.get(kind) is Modality.IMAGE:
            image = part.get("image_url")
            url = image.get("url") if isinstance(image, dict) else image
            if not isinstance(url, str) or not url.startswith(("https://", "data:")):
                found.add("content.image_url")  # a file, or an address that only this network may reach
    return frozenset(found)
