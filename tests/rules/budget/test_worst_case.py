"""What a try may cost at worst follows from what its provider is told, not from what the client asked for."""

from typing import Any

import msgspec
import pytest

from forebay.resources.table import ModelEntry
from forebay.rules.budget.picodollars import picodollars
from forebay.rules.budget.worst_case import MEDIA_TOKENS, OVERHEAD, UNKNOWN_ANSWER, worst_case
from forebay.rules.facts import RequestFacts
from forebay.rules.portability import outgoing

MODEL = ModelEntry(name="large", input_price="0", output_price="1000000")  # a dollar a token
CHAT = "/v1/chat/completions"


def changed(**fields: Any) -> ModelEntry:
    return msgspec.structs.replace(MODEL, **fields)


BOUNDS: list[tuple[str, int | None, int, ModelEntry, int]] = [
    ("the client's limit", 100, 1, MODEL, 100),
    ("for each of its answers", 100, 3, MODEL, 300),
    ("the client's before the entry's", 100, 1, changed(answer_tokens=50), 100),
    ("the entry's", None, 1, changed(answer_tokens=50), 50),
    ("what the model can hold", None, 1, changed(context_tokens=8192), 8192),
    ("nothing", None, 1, MODEL, UNKNOWN_ANSWER),
    ("a limit that is left out", 100, 1, changed(drop_fields=("max_tokens",)), UNKNOWN_ANSWER),
    ("an entry's that is left out", None, 1,
     changed(answer_tokens=50, context_tokens=8192, drop_fields=("max_tokens",)), 8192),
]  # fmt: skip


@pytest.mark.parametrize(("what", "asked", "answers", "model", "tokens"), BOUNDS, ids=[row[0] for row in BOUNDS])
def test_an_answer_is_bounded_by(what: str, asked: int | None, answers: int, model: ModelEntry, tokens: int) -> None:
    document: dict[str, Any] = {"messages": []} if asked is None else {"messages": [], "max_tokens": asked}
    facts = RequestFacts(path=CHAT, max_tokens=asked, sequences=answers)
    assert worst_case(facts, model, 0, document) == picodollars(str(tokens))
    told = outgoing(CHAT, document, model).get("max_tokens")
    assert told is None or told * answers == tokens


def test_a_request_is_bounded_by_its_bytes_and_what_no_text_shows() -> None:
    model = changed(input_price="1000000", cache_write_price="2000000", output_price="0")
    image = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y"}}]}]}
    assert worst_case(RequestFacts(path=CHAT), model, 500, image) == 2 * picodollars(str(500 + OVERHEAD + MEDIA_TOKENS))


def test_without_a_price_there_is_no_worst_case() -> None:
    facts = RequestFacts(path=CHAT, max_tokens=10)
    assert worst_case(facts, ModelEntry(name="large"), 100, {}) is None
    assert worst_case(facts, ModelEntry(name="large", input_price="1"), 100, {}) is None
