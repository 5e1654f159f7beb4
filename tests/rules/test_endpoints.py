"""One row for each API path, and no path anywhere else."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from forebay.resources.table import ModelEntry, PoolEntry
from forebay.resources.terms import MaxTokensField, Task
from forebay.router.engine_monitor import smallest
from forebay.rules.endpoints import CHAT, ENDPOINTS, MEANINGS, PROBES, TEXTS, Endpoint, Stream, operation
from forebay.rules.facts import RequestFacts
from forebay.rules.portability import LIMITS, limit_field
from forebay.rules.retry import patience

OPERATOR = Path(__file__).resolve().parents[2] / "operator"
ELSEWHERE = {
    "forebay/rules/endpoints.py": "the table",
    "forebay/engines/vllm.py": "what an engine is asked before anything else; engines know nothing of forebay",
    "forebay/resources/names.py": "paths between our own routers and the operator",
    "forebay/cli/running/cluster.py": "the Kubernetes API",
}
"""Modules that hold a path with /v1/, and why."""
ROWS = pytest.mark.parametrize("row", ENDPOINTS.values(), ids=ENDPOINTS.keys())
LEAVING = [row for row in ENDPOINTS.values() if row.standard is not None]


@ROWS
def test_every_path_has_a_meaning_an_operation_and_texts(row: Endpoint) -> None:
    assert MEANINGS[f"POST {row.path}"] == row.meaning != ""
    assert operation(row.path) == row.operation != ""
    assert row.texts and set(row.texts) <= set(TEXTS)


@ROWS
def test_a_path_streams_exactly_if_its_api_has_a_field_for_it(row: Endpoint) -> None:
    assert (row.stream is not None) == ("stream" in (row.standard or ()))


@pytest.mark.parametrize("row", LEAVING, ids=[row.path for row in LEAVING])
def test_a_path_that_may_leave_names_its_model_and_its_text(row: Endpoint) -> None:
    assert row.standard is not None
    assert "model" in row.standard
    assert row.standard & set(row.texts)
    assert row.also != frozenset(Task)
    assert row.api is not None


@ROWS
def test_the_token_limit_has_a_name_that_is_read_here_too(row: Endpoint) -> None:
    for word in MaxTokensField:
        assert limit_field(row.path, ModelEntry(name="m", max_tokens_field=word)) in LIMITS


def test_only_chat_leaves_the_name_of_the_limit_to_the_model() -> None:
    assert [row.path for row in ENDPOINTS.values() if row.limit is None] == [CHAT]


@pytest.mark.parametrize("task", Task)
def test_every_task_has_a_probe(task: Task) -> None:
    assert PROBES[task].task is task
    found = smallest(PoolEntry(name="p", served_names=("m",), task=task))
    assert found is not None and found.path in ENDPOINTS


def test_probes_are_as_small_as_can_be() -> None:
    probes = [smallest(PoolEntry(name="p", served_names=("m",), task=task)) for task in (Task.GENERATE, Task.EMBED)]
    assert [(probe.path, probe.body) for probe in probes if probe] == [
        ("/v1/completions", b'{"model":"m","prompt":"a","max_tokens":1}'),
        ("/v1/embeddings", b'{"model":"m","input":"a"}'),
    ]


@ROWS
def test_a_whole_answer_is_waited_for_token_by_token_if_it_has_any(row: Endpoint) -> None:
    facts = RequestFacts(path=row.path, task=row.task, max_tokens=100)
    assert patience(10.0, facts, False, 600.0) == (35.0 if row.output_tokens else 10.0)
    assert patience(10.0, facts, True, 600.0) == 10.0


def test_an_unknown_path_counts_as_chat() -> None:
    assert operation("/unknown") == ENDPOINTS[CHAT].operation


def test_streams_of_chunks_are_those_of_choices() -> None:
    assert {row.path for row in ENDPOINTS.values() if row.stream is Stream.CHUNKS} == {CHAT, "/v1/completions"}


def test_no_module_but_the_table_writes_a_path() -> None:
    found = {
        str(path.relative_to(OPERATOR))
        for path in OPERATOR.rglob("*.py")
        if any("/v1/" in text or text.endswith("tokenize") for text in _strings(path))
    }
    assert found == set(ELSEWHERE)


def _strings(path: Path) -> Iterator[str]:
    """Its literals, without docstrings."""
    tree = ast.parse(path.read_text())
    spoken = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in spoken:
            yield node.value
