"""A log becomes columns: labels are believed, words are classified by the router's code, what is malformed is named."""

import json
import sys
from pathlib import Path

import pytest

from forebay.cli.problem import Problem
from forebay.cli.profile import reading
from forebay.cli.profile.entry import Entry
from forebay.cli.profile.formats_text import FORMATS
from forebay.cli.profile.log_lines import opened
from forebay.cli.profile.reading import ASSUMED, CLASSES, EMBEDDINGS, GUESSED, UNKNOWN, Log, of, read
from forebay.resources.reasons import Capability
from forebay.router.dialect.request import parse
from forebay.router.http.values import Request
from tests.cli.profile import logs


def log_of(tmp_path: Path, *lines: str, form: str | None = None) -> Log:
    path = tmp_path / "log"
    path.write_text("".join(line + "\n" for line in lines))
    chosen = next((each for each in FORMATS if each.name == form), None)
    with opened(str(path)) as source:
        return read(source, chosen, lambda _: None)


def classes(log: Log) -> list[str]:
    return [str(CLASSES[kind & 7]) for kind in log.kind]


@pytest.mark.parametrize("name", logs.EVERY)
def test_every_format_becomes_columns(tmp_path: Path, name: str) -> None:
    log = log_of(tmp_path, *[logs.EVERY[name]] * 3)
    assert (log.format.name, len(log), log.malformed) == (name, 3, 0)
    if name != "batch":
        assert (log.prompt[0], log.output[0], log.cached[0]) == (120, 45, 20)


@pytest.mark.parametrize(
    "words",
    [
        "Extract all names and dates from this contract as JSON: Ann Lee, 4 May 2021",
        "Is this review positive or negative? Answer with one word.\n\nThe food was cold.",
        "A train leaves at 9 and goes 80 km/h, another at 10 and goes 120 km/h. When do they meet? Think step by step.",
        "Write a birthday poem for my aunt.",
    ],
)
def test_words_are_classified_as_the_router_would(tmp_path: Path, words: str) -> None:
    body = {"model": "auto", "messages": [{"role": "user", "content": words}], "max_tokens": 400}
    log = log_of(tmp_path, json.dumps({"request": body | {"model": "gpt-5.6"}}))
    facts = parse(Request("POST", "/v1/chat/completions", {}, [], json.dumps(body).encode())).facts
    assert classes(log) == [str(facts.capability)]
    assert bool(log.kind[0] & GUESSED) is facts.guessed
    assert log.prompt[0] == facts.prompt_tokens


def test_a_label_is_believed_over_the_words(tmp_path: Path) -> None:
    log = log_of(tmp_path, logs.openai(capability="reasoning"), logs.openai(label="general"))
    assert classes(log) == ["reasoning", "general"]
    assert not any(kind & GUESSED for kind in log.kind)
    assert log.looked_at == 0


def test_hints_count_as_at_the_door(tmp_path: Path) -> None:
    body = logs.CHAT | {"metadata": {"complexity_score": 0.9}}
    assert classes(log_of(tmp_path, logs.openai(request=body))) == ["reasoning"]
    tagged = logs.litellm(messages={}, metadata={"task_type": "extract"})
    assert classes(log_of(tmp_path, tagged)) == ["extraction"]


def test_without_label_and_words_a_request_is_unknown(tmp_path: Path) -> None:
    assert classes(log_of(tmp_path, logs.nginx())) == [CLASSES[UNKNOWN]]


def test_embeddings_are_a_kind_of_their_own(tmp_path: Path) -> None:
    log = log_of(tmp_path, logs.litellm(call_type="aembedding", completion_tokens=0), logs.litellm())
    assert classes(log)[0] == CLASSES[EMBEDDINGS]


def test_malformed_lines_are_counted_and_the_first_are_named(tmp_path: Path) -> None:
    bad = ['{"call_type": "x"}', "no json", '{"call_type": "x", "startTime": "never", "prompt_tokens": 1}']
    log = log_of(tmp_path, logs.litellm(), "", *bad, *[logs.litellm()] * 3, *bad)
    assert (len(log), log.malformed) == (4, 6)
    assert [line for line, _ in log.first_malformed] == [3, 4, 5, 9, 10]
    assert "startTime" in log.first_malformed[0][1]


def test_a_malformed_line_is_named_without_its_words(tmp_path: Path) -> None:
    secret = logs.SECRET
    bad = [
        json.dumps({"request": secret}),
        json.dumps({"timestamp": secret, "request": logs.CHAT}),
        json.dumps({"request": {"messages": [], "max_tokens": secret}}),
        json.dumps({"request": logs.CHAT | {"metadata": {"complexity_score": secret}}}),
        json.dumps({"request": logs.CHAT, "usage": {"prompt_tokens": secret}}),
        json.dumps({"prompt_tokens": 10**12, "model": secret}),
        f'{{"request": {{"messages": [{{"content": "{secret}',
    ]
    for line in bad:
        log = log_of(tmp_path, logs.openai(), line)
        assert (len(log), log.malformed) == (1, 1), line
        assert secret not in str(log.first_malformed)


def test_a_line_without_end_is_malformed_and_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LONGEST", 3 << 20)
    log = log_of(tmp_path, logs.openai(), json.dumps({"request": "x" * (4 << 20)}))
    assert log.first_malformed == [(2, "longer than 3 MiB")]


def test_failed_requests_are_left_out_and_counted(tmp_path: Path) -> None:
    log = log_of(tmp_path, logs.litellm(), logs.litellm(status="failure"))
    assert (len(log), log.failed) == (1, 1)


def test_what_the_log_says_it_cost_is_added_up(tmp_path: Path) -> None:
    assert log_of(tmp_path, logs.litellm(), logs.litellm(spend=1)).spent == pytest.approx(1.00033)
    assert log_of(tmp_path, logs.openai()).spent is None


def test_an_answer_of_unknown_length_is_as_long_as_others_of_its_kind() -> None:
    known = [Entry(prompt=10, output=40, capability=Capability.GENERAL) for _ in range(100)]
    log = of([*known, Entry(prompt=10, capability=Capability.GENERAL), Entry(prompt=10)], FORMATS[0])
    assert list(log.output[-2:]) == [40, 512]
    assert [bool(kind & ASSUMED) for kind in log.kind[-2:]] == [True, True]


def test_of_a_long_log_a_sample_is_looked_at_that_stands_for_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "TEXTS_READ_IN_FULL", 200)
    monkeypatch.setattr(reading, "TEXTS_UNTIL_HALVED", 100)
    texts = ("Extract all names and dates from this contract as JSON: Ann Lee",
             "Is this review positive or negative? Answer with one word. Cold food, never again.")  # fmt: skip
    # Two applications, told apart by the model they use.
    entries = [
        Entry(prompt=50, output=5, model=f"m{place % 2}",
              body=json.dumps({"messages": [{"role": "user", "content": texts[place % 2]}]}).encode())
        for place in range(5000)
    ]  # fmt: skip
    log = of(entries, FORMATS[0])
    assert 200 <= log.looked_at < 1500
    assert log.texts == 5000
    assert set(classes(log)[::2]) == {"extraction"}
    assert set(classes(log)[1::2]) == {"classification"}


def test_a_log_without_a_request_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"no request in log, read as LiteLLM spend logs: line 1: .*call_type"):
        log_of(tmp_path, "{}", form="litellm")
    with pytest.raises(Problem, match="log is empty"):
        log_of(tmp_path, "", "")


def test_columns_stay_small(tmp_path: Path) -> None:
    log = of((Entry(at=float(at), prompt=1, output=1) for at in range(20_000)), FORMATS[0])
    columns = (log.at, log.prompt, log.output, log.cached, log.model, log.kind)
    assert sum(map(sys.getsizeof, columns)) < 20_000 * 30
