"""Every form of trace is read, zipped or not; what makes no sense is left out, counted and named."""

import gzip
import json
from pathlib import Path

import pytest

from forebay.replay.readers import Trace, TraceError, read
from forebay.replay.trace import TraceRequest
from forebay.resources.access_log import AccessLogEntry
from forebay.resources.reasons import Capability, Priority
from forebay.router.access_log_writer import _encode

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,4808,10
2023-11-16 18:17:04.4799600,110,27
"""
AZURE_2024 = """TIMESTAMP,ContextTokens,GeneratedTokens
2024-05-10 00:00:00.009930+00:00,2162,5
2024-05-10 00:00:01.509930+00:00,2399,6
"""
BURSTGPT = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,ChatGPT,1087,230,1317,Conversation log
"""
PLAIN = """at,prompt,output,priority,model,client
0.5,100,20,High,qwen,shop
2.0,200,30,,,
"""


def trace(tmp_path: Path, text: str, name: str = "trace.csv") -> Trace:
    path = tmp_path / name
    path.write_text(text)
    return read(path)


def lines(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("text", "form", "expected"),
    [
        (AZURE, "Azure LLM", [TraceRequest(0.0, 4808, 10), TraceRequest(0.5, 110, 27)]),
        (AZURE_2024, "Azure LLM", [TraceRequest(0.0, 2162, 5), TraceRequest(1.5, 2399, 6)]),
        (BURSTGPT, "BurstGPT", [TraceRequest(0.0, 472, 18), TraceRequest(40.0, 1087, 230)]),
        (PLAIN, "plain", [TraceRequest(0.0, 100, 20, Priority.HIGH, "shop", "qwen"), TraceRequest(1.5, 200, 30)]),
        (
            lines({"at": 3, "prompt": 1, "output": 2, "capability": "reasoning", "max_tokens": 9, "session": "a"}),
            "plain",
            [TraceRequest(0.0, 1, 2, capability=Capability.REASONING, session="a", max_tokens=9)],
        ),
    ],
)
def test_each_form_is_known_by_its_columns(tmp_path: Path, text: str, form: str, expected: list[TraceRequest]) -> None:
    found = trace(tmp_path, text)
    assert found.form == form
    assert [(r.prompt, r.output, r.priority, r.model, r.client) for r in found.requests] == [
        (r.prompt, r.output, r.priority, r.model, r.client) for r in expected
    ]
    assert [r.at for r in found.requests] == pytest.approx([r.at for r in expected], abs=1e-5)
    assert [(r.capability, r.session, r.max_tokens) for r in found.requests] == [
        (r.capability, r.session, r.max_tokens) for r in expected
    ]
    assert not found.skipped


def test_a_zipped_trace_is_the_same_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "trace").write_bytes(gzip.compress(AZURE.encode()))
    assert read(tmp_path / "trace").requests == trace(tmp_path, AZURE).requests


def test_mooncakes_blocks_and_conversations_are_kept_and_its_grain_is_spread(tmp_path: Path) -> None:
    rows = [{"timestamp": 3000 * n, "input_length": 1100, "output_length": 5, "hash_ids": [0, 1, n]} for n in range(3)]
    found = trace(tmp_path, lines(*rows)).requests
    assert [request.blocks for request in found] == [(0, 1)] * 3
    assert len({request.session for request in found}) == 1
    assert found[0].at == 0
    assert len({request.at % 1 for request in found}) == 3
    assert found == trace(tmp_path, lines(*rows)).requests


def test_forebays_own_access_log_is_a_trace(tmp_path: Path) -> None:
    usual = {"method": "POST", "path": "/v1/chat/completions", "priority": "Normal", "model": "auto"}
    log = [
        AccessLogEntry(request_id="a", time=1000.0, duration_ms=2500, first_token_ms=500, stream=True, status=200,
             reason="LocalCapacity", prompt_tokens=50, client="shop", capability="general", **usual),
        AccessLogEntry(request_id="b", time=999.0, duration_ms=1000, status=200, reason="AllPoolsFull",
             prompt_tokens=60, output_tokens=33, **usual),
        AccessLogEntry(request_id="c", time=1001.0, duration_ms=0, status=429, reason="QueueFull", prompt_tokens=70,
        **usual), AccessLogEntry(request_id="d", time=1001.0, method="GET", path="/v1/models", status=200),
        AccessLogEntry(request_id="e", time=1001.0, method="POST", path="/v1/chat/completions", status=400,
             reason="InvalidRequest"),
    ]  # fmt: skip
    found = trace(tmp_path, "".join(_encode(line).decode() + "\n" for line in log))
    assert (found.passed, found.skipped, found.estimated) == (2, 0, 3)
    assert [(r.prompt, r.output, r.at) for r in found.requests] == [(50, 80, 0.0), (60, 33, 0.5), (70, 56, 3.5)]
    assert found.requests[0].client == "shop"
    assert found.requests[0].capability is Capability.GENERAL


def test_bad_lines_are_left_out_counted_and_named(tmp_path: Path) -> None:
    bad = "x,1,2\n2023-11-16 18:17:05,-4,2\n2023-11-16 18:17:05,1\n2023-11-16 18:17:05,1,nan\n"
    found = trace(tmp_path, AZURE + bad + bad)
    assert (len(found.requests), found.skipped, len(found.problems)) == (2, 8, 5)
    assert found.problems[:3] == [
        "line 4: TIMESTAMP is 'x', not a time",
        "line 5: ContextTokens is '-4', not a number of tokens",
        "line 6: GeneratedTokens is None, not a number of tokens",
    ]
    cut = trace(tmp_path, lines({"at": 1, "prompt": 2, "output": 3}) + '{"at": 1, "pro\n[]\n')
    assert cut.problems == ["line 2: it is no JSON object", "line 3: it is no JSON object"]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "no trace's"),
        ("a,b\n1,2\n", "a, b|b, a"),
        ("at,prompt,output\n", "no trace's"),
        ("at,prompt,output\nx,1,1\n", "line 2: at is 'x'"),
        ("at,prompt,output,priority\n1,1,1,Urgent\n", "not one of High, Normal, Low"),
    ],
)
def test_what_is_no_trace_is_refused_in_one_sentence(tmp_path: Path, text: str, word: str) -> None:
    with pytest.raises(TraceError, match=word) as caught:
        trace(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="cannot be read"):
        read(tmp_path / "absent")
    (tmp_path / "image").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(TraceError, match="is no text"):
        read(tmp_path / "image")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(AZURE.encode() * 50)[:-20])
    with pytest.raises(TraceError, match="cannot be read"):
        read(tmp_path / "cut.gz")


def test_a_trace_can_be_played_faster(tmp_path: Path) -> None:
    assert [request.at for request in trace(tmp_path, PLAIN).faster(3.0)] == [0.0, 0.5]
