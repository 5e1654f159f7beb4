"""What each request of the contract is answered: status, type, keys and types all the way down, words of errors."""

import json
import os
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from testing.real_engine import NEWEST
from tests.engine.cases import CASES, Case
from tests.engine.engines import Engine, newer
from tests.engine.outline import outline, stream_outline, words

FILE: Final = Path(__file__).with_name("recorded.json")
RECORDED: Final[dict[str, Any]] = json.loads(FILE.read_text()) if FILE.exists() else {}
RECORDING: Final = "FOREBAY_RECORD" in os.environ


def seen(answer: httpx.Response) -> dict[str, Any]:
    """What is held of an answer."""
    kind = answer.headers.get("content-type", "")
    found: dict[str, Any] = {"status": answer.status_code, "type": kind}
    if kind.startswith("text/event-stream"):
        return {**found, "stream": stream_outline(answer.text)}
    if kind != "application/json":
        return {**found, "text": answer.text}
    document = answer.json()
    found["body"] = outline(document)
    error = document.get("error", document)
    if answer.status_code >= 400:
        found["error"] = {key: error.get(key) for key in ("type", "param", "code")}
        found["words"] = words(str(error.get("message", document)))
    return found


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_an_answer_is_the_recorded_one(case: Case, kind: str, request: pytest.FixtureRequest) -> None:
    newer(kind, f"answers in other words: recorded is vLLM {NEWEST}")
    engine: Engine = request.getfixturevalue(case.engine)
    if case.differs and not engine.real:
        pytest.skip(f"the simulator differs on purpose: {case.differs}")
    content = case.body if case.body is None or isinstance(case.body, bytes) else json.dumps(case.body).encode()
    found = seen(engine.http.request(case.method, case.path, content=content, headers=case.headers))
    if engine.real and RECORDING:
        RECORDED[case.name] = found
        FILE.write_text(json.dumps(dict(sorted(RECORDED.items())), indent=1) + "\n")
    if case.name not in RECORDED:
        pytest.skip("not recorded yet: make test-engine RECORD=1")
    recorded = dict(RECORDED[case.name])
    if not case.words:
        found.pop("words", None)
        recorded.pop("words", None)
    assert found == recorded


def test_every_recorded_answer_is_of_a_case() -> None:
    assert set(RECORDED) <= {case.name for case in CASES}
