"""Every format says the same of the same request, and is told from the others by its first lines."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.cli.problem import Problem
from forebay.cli.profile.entry import Entry, MalformedLineError, path_of
from forebay.cli.profile.formats import ForebayLine, seconds, understood
from forebay.cli.profile.formats_text import FORMATS, detect
from forebay.resources.access_log import AccessLogEntry
from forebay.resources.reasons import Capability, Priority
from forebay.rules.endpoints import CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES
from tests.cli.profile import logs

READERS = {form.name: form.read for form in FORMATS}


def read(name: str, line: str) -> Entry:
    return READERS[name](line.encode())


@pytest.mark.parametrize("name", logs.EVERY)
def test_a_log_is_told_by_its_first_lines(name: str) -> None:
    assert detect([logs.EVERY[name].encode()] * 3, "log").name == name


@pytest.mark.parametrize("name", [name for name in logs.EVERY if name != "batch"])
def test_every_format_tells_the_tokens(name: str) -> None:
    found = read(name, logs.EVERY[name])
    assert (found.prompt, found.output, found.cached, found.failed) == (120, 45, 20, False)


@pytest.mark.parametrize("name", ["forebay", "litellm", "openai", "text"])
def test_a_time_is_when_the_request_came(name: str) -> None:
    assert read(name, logs.EVERY[name]).at == pytest.approx(logs.BEGIN, abs=0.01)


@pytest.mark.parametrize("name", ["litellm", "batch", "openai"])
def test_the_request_is_there_where_the_log_has_it(name: str) -> None:
    body = read(name, logs.EVERY[name]).body
    assert body is not None
    assert json.loads(bytes(body))["messages"] == logs.CHAT["messages"]


def test_half_of_the_first_lines_decide() -> None:
    lines = [b"nonsense", logs.litellm().encode(), logs.litellm().encode(), logs.openai().encode()]
    assert detect(lines, "log").name == "litellm"


def test_forebays_own_log_keeps_label_priority_and_cost() -> None:
    found = read("forebay", logs.forebay())
    assert (found.capability, found.priority, found.spent) == (Capability.EXTRACTION, Priority.HIGH, 0.00031)
    assert found.guessed
    assert not read("forebay", logs.forebay(model="qwen-7b")).guessed


def test_forebays_own_log_takes_estimates_where_a_pool_answered() -> None:
    found = read("forebay", logs.forebay(destination="chat", input_tokens=0, output_tokens=0, cached_tokens=0))
    assert (found.prompt, found.output, found.by_time) == (90, 80, True)  # 2 s at 25 ms a token
    streamed = logs.forebay(output_tokens=0, stream=True, first_token_ms=500)
    assert read("forebay", streamed).output == 60


def test_the_reader_knows_the_routers_fields() -> None:
    assert {field.name for field in msgspec.structs.fields(ForebayLine)} <= {
        field.name for field in msgspec.structs.fields(AccessLogEntry)
    }


@pytest.mark.parametrize(
    ("more", "label", "task"),
    [
        ({"metadata": {"capability": "reasoning"}}, Capability.REASONING, ""),
        ({"metadata": '{"task_type": "extract fields"}'}, None, "extract fields"),
        ({"request_tags": ["env:prod", "capability:Extraction"]}, Capability.EXTRACTION, ""),
        ({"request_tags": '["task_type:extract"]', "metadata": "{}"}, None, "extract"),
        ({"metadata": {"capability": "cooking"}}, None, ""),
        ({"metadata": "no json", "request_tags": "[]"}, None, ""),
    ],
)
def test_litellms_metadata_and_tags_may_carry_labels(more: dict[str, Any], label: Capability | None, task: str) -> None:
    found = read("litellm", logs.litellm(**more))
    assert (found.capability, found.task_type) == (label, task)


@pytest.mark.parametrize(
    ("more", "there"),
    [
        ({"messages": {}}, False),
        ({"messages": "{}", "proxy_server_request": "{}"}, False),
        ({"messages": {}, "proxy_server_request": {"url": "u", "body": logs.CHAT}}, True),
        ({"messages": {}, "proxy_server_request": logs.CHAT}, True),
    ],
)
def test_litellm_has_words_only_where_it_was_told_to_store_them(more: dict[str, Any], there: bool) -> None:
    assert (read("litellm", logs.litellm(**more)).body is not None) is there


def test_litellm_writes_times_in_several_ways() -> None:
    for stamp in ("2026-09-21T13:33:20", "2026-09-21 13:33:20+00:00", "2026-09-21T15:33:20+02:00", logs.BEGIN * 1000):
        assert read("litellm", logs.litellm(startTime=stamp)).at == pytest.approx(logs.BEGIN, abs=0.01)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("forebay", logs.forebay(status=503)),
        ("litellm", logs.litellm(status="failure")),
        ("batch-output", logs.batch_output(response=None)),
        ("batch-output", logs.batch_output(response={"status_code": 400, "body": {}})),
        ("openai", logs.openai(status=500)),
        ("openai", logs.openai(response={"status_code": 429, "body": {}})),
        ("text", logs.nginx().replace('" 200 ', '" 502 ')),
    ],
)
def test_failures_are_told(name: str, line: str) -> None:
    assert read(name, line).failed


@pytest.mark.parametrize(
    "line",
    [
        json.dumps(logs.CHAT),
        json.dumps({"body": logs.CHAT, "ts": logs.BEGIN}),
        json.dumps({"id": "x", "label": "general", "request": logs.CHAT}),
        json.dumps({"model": "m", "prompt": "Say hello", "usage": {"prompt_tokens": 2, "completion_tokens": 3}}),
        json.dumps({"model": "m", "input": "Say hello", "created_at": 1_790_000_000}),
        json.dumps({"time": "2026-09-21T13:33:20Z", "model": "m", "prompt_tokens": 5, "completion_tokens": 6}),
        json.dumps({"created_at": logs.BEGIN, "model": "m", "usage": {"input_tokens": 5, "output_tokens": 6}}),
    ],
)
def test_applications_write_requests_in_many_ways(line: str) -> None:
    assert detect([line.encode()], "log").name == "openai"
    read("openai", line)


def test_a_batch_waits_for_nobody() -> None:
    assert read("batch", logs.batch()).priority is Priority.LOW


@pytest.mark.parametrize(
    ("tail", "tokens"),
    [
        ("prompt_tokens=7 completion_tokens=9", (7, 9)),
        ('"input_tokens": 7, "output_tokens": 9', (7, 9)),
        ("prompt tokens: 7, generated tokens: 9", (7, 9)),
        ("input_tokens='7'", (7, None)),
    ],
)
def test_counts_are_found_however_they_are_written(tail: str, tokens: tuple[int, int | None]) -> None:
    found = read("text", logs.nginx(tail))
    assert (found.prompt, found.output) == tokens


@pytest.mark.parametrize(
    "line",
    [
        "INFO 09-21 13:33:20 [logger.py:43] Finished request chatcmpl-1: prompt_tokens=7 completion_tokens=9",
        "2026-09-21 13:33:20,123 INFO prompt_tokens=7 completion_tokens=9 capability=reasoning priority=low",
        "2026-09-21T13:33:20.5Z prompt_tokens=7 completion_tokens=9",
    ],
)
def test_times_of_logs_are_read(line: str) -> None:
    assert read("text", line).at is not None


def test_labels_stand_in_lines_too() -> None:
    found = read("text", logs.nginx("prompt_tokens=7 capability=reasoning priority=Low task_type=x"))
    assert (found.capability, found.priority, found.task_type) == (Capability.REASONING, Priority.LOW, "x")


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("", CHAT),
        (None, CHAT),
        ("/v1/embeddings", EMBEDDINGS),
        ("https://api.example.com/v1/embeddings?x=1", EMBEDDINGS),
        ("/openai/deployments/x/chat/completions", CHAT),
        ("/v1/completions", COMPLETIONS),
        ("completions", COMPLETIONS),
        ("/v1/responses/", RESPONSES),
        ("/tokenize", CHAT),
    ],
)
def test_paths_are_the_routers(written: str | None, path: str) -> None:
    assert path_of(written) == path


def test_an_embedding_is_told_by_its_call() -> None:
    assert read("litellm", logs.litellm(call_type="aembedding")).path == EMBEDDINGS


@pytest.mark.parametrize("stamp", ["yesterday", -5, "2026-13-01T00:00:00Z"])
def test_a_time_that_is_none_is_malformed(stamp: str | float) -> None:
    with pytest.raises(MalformedLineError, match="time"):
        seconds(stamp)


def test_a_json_array_is_answered_with_how_to_split_it() -> None:
    with pytest.raises(Problem, match=r"one JSON array.*jq -c"):
        detect([b"[", b"{"], "log.json")


def test_a_log_in_no_known_format_is_answered_with_those_that_are() -> None:
    with pytest.raises(Problem, match="forebay, litellm") as caught:
        detect([f"hello {logs.SECRET}".encode()], "log")
    assert logs.SECRET not in str(caught.value)


mutated = st.sampled_from(list(logs.EVERY.values())).flatmap(
    lambda line: st.tuples(st.just(line), st.integers(0, len(line)), st.binary(max_size=6)).map(
        lambda cut: cut[0].encode()[: cut[1]] + cut[2] + cut[0].encode()[cut[1] + 3 :]
    )
)


@given(st.one_of(st.binary(max_size=300), mutated), st.sampled_from(FORMATS))
def test_no_line_makes_a_reader_fail_in_another_way(line: bytes, form: Any) -> None:
    found = understood(form.read, line)
    if found is not None:
        assert found.prompt is None or 0 <= found.prompt < 2**31
        assert found.output is None or 0 <= found.output < 2**31
