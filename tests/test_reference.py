"""The reference says what the code says, and the code says it of everything."""

from itertools import product
from pathlib import Path

import pytest

from forebay import reference
from forebay.controller.plan.routing_table import Acknowledgement
from forebay.controller.report.conditions import PolicyFacts, PoolFacts, policy_verdicts, pool_verdicts
from forebay.controller.report.gateways import GatewayFacts, gateways_verdict
from forebay.resources import reasons
from forebay.resources.documented_enum import DocumentedEnum
from forebay.rules.endpoints import ENDPOINTS, MEANINGS, MODELS, RESPONSES, STORED_RESPONSES

REPO = Path(__file__).resolve().parents[1]
LISTS = [
    reasons.Priority, reasons.Capability, reasons.Reason, reasons.ScaleReason, reasons.EventReason,
    reasons.ConditionType, reasons.ConditionReason,
]  # fmt: skip


def test_the_reference_is_up_to_date() -> None:
    assert (REPO / reference.FILE).read_text() == reference.text(), "run: make docs"


def test_the_runbooks_table_is_up_to_date() -> None:
    written = (REPO / reference.RUNBOOK).read_text()
    assert written == reference.runbook(written), "run: make docs"


@pytest.mark.parametrize("words", LISTS)
def test_every_word_has_a_meaning(words: type[DocumentedEnum]) -> None:
    assert [word for word in words if not word.meaning] == []
    assert len({str(word) for word in words}) == len(words)


def test_no_cell_of_the_reference_is_empty_but_labels() -> None:
    for line in reference.text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and cells[1:2] not in (["gauge"], ["counter"], ["histogram"]):
            assert all(cells), line


def test_every_path_is_described() -> None:
    stored = {f"{RESPONSES}/{{id}}{tail}" for _, tail in STORED_RESPONSES}
    described = {path.split()[1] for path in MEANINGS}
    assert described == {*ENDPOINTS, *stored, MODELS, MODELS + "/{name}"}


def test_conditions_have_only_the_reasons_that_are_listed() -> None:
    words = ("", "x")
    programmed = (None, Acknowledgement(2, 0, 0, ()), Acknowledgement(2, 2, 2, ()), Acknowledgement(2, 2, 1, ("a",)))
    seen = set()
    for desired, ready, pods, flag, known in product((0, 2), (0, 1, 2), (0, 2), words, programmed):
        for field in ("invalid", "create_failure", "apply_failure", "unplaced", "outdated", "refused", "policy_missing",
                      "withdrawn", "first", "held", "trouble", "stuck", "gated"):  # fmt: skip
            value = {"trouble": (flag,) if flag else (), "stuck": (flag,) if flag else ()}.get(field, flag)
            wide = {"programmed": known, "heard": ready, "gateways_ready": ready, "rollout": pods > ready}
            facts = PoolFacts(desired, ready, desired // 2, pods, ready, **wide, **{"unplaced": flag, field: value})
            seen |= {(verdict.type, verdict.reason) for verdict in pool_verdicts(facts)}
        for gateways, keys, odd in product((0, 1), ((), ("acme",)), ((), ("acme: no address",))):
            policy = PolicyFacts("p", flag, gateways, flag, keys, odd, pods, known)
            seen |= {(verdict.type, verdict.reason) for verdict in policy_verdicts(policy)}
    for ready, refused, missing, trouble, rolls in product((0, 1, 2), *[((), ("x",))] * 3, (False, True)):
        verdict = gateways_verdict(GatewayFacts(2, ready, refused, missing, trouble, rollout=rolls))
        seen.add((verdict.type, verdict.reason))
    for kind, reason in seen:
        assert reason in reasons.CONDITION_REASONS[kind], (kind, reason)
    assert {reason for of in reasons.CONDITION_REASONS.values() for reason in of} == set(reasons.ConditionReason)
