"""What an engine's adapters come to, step by step."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.resources.table import AdapterEntry
from forebay.rules.adapters import (
    AGAIN_MOST_SECONDS,
    AGAIN_SECONDS,
    SETTLE_SECONDS,
    AdapterView,
    Departure,
    RefusedAdapter,
    Step,
    next_step,
    refused,
)


def of(name: str, source: str = "") -> AdapterEntry:
    return AdapterEntry(name=name, source=source or f"org/{name}")


POET, CLERK, NEWER = of("poet"), of("clerk"), of("poet", "org/poet-2")
NOT_YET, AGAIN = RefusedAdapter("no such file", 1, 90.0), RefusedAdapter("no such file", 1, 100.0)


@pytest.mark.parametrize(
    ("wanted", "loaded", "refusals", "over", "step"),
    [
        ((), {}, {}, (), None),
        ((POET,), {}, {}, (), Step(load=POET)),
        ((POET,), {"poet": "org/poet"}, {}, (), None),
        ((POET, CLERK), {"poet": "org/poet"}, {}, (), Step(load=CLERK)),
        ((NEWER,), {"poet": "org/poet"}, {}, (), Step("poet", NEWER)),
        ((), {"poet": "org/poet"}, {}, (), None),
        ((), {"poet": "org/poet"}, {}, ("poet",), Step("poet")),
        ((CLERK,), {"poet": "org/poet"}, {}, ("poet",), Step(load=CLERK)),
        ((CLERK,), {"poet": "org/poet"}, {CLERK: AGAIN}, ("poet",), Step("poet")),
        ((POET,), {}, {POET: AGAIN}, (), None),
        ((POET,), {}, {POET: NOT_YET}, (), Step(load=POET)),
        ((POET, CLERK), {}, {POET: AGAIN}, (), Step(load=CLERK)),
        ((NEWER,), {}, {POET: AGAIN}, (), Step(load=NEWER)),  # what was refused came from elsewhere
        ((NEWER,), {"poet": "org/poet"}, {NEWER: AGAIN}, (), None),
        ((POET,), {"poet": "org/poet"}, {}, ("poet",), None),  # it left, and is back
    ],
)
def test_the_next_step(
    wanted: tuple[AdapterEntry, ...],
    loaded: dict[str, str],
    refusals: dict[AdapterEntry, RefusedAdapter],
    over: tuple[str, ...],
    step: Step | None,
) -> None:
    assert next_step(AdapterView(wanted, loaded, refusals), over, 95.0) == step


NAMES = st.sampled_from(["a", "b", "c", "d"])
SOURCES = st.sampled_from(["one", "two"])


@given(st.dictionaries(NAMES, SOURCES), st.dictionaries(NAMES, SOURCES), st.dictionaries(NAMES, SOURCES))
def test_an_engine_that_takes_all_comes_to_what_is_wanted_and_rests(
    wanted: dict[str, str], loaded: dict[str, str], refuses: dict[str, str]
) -> None:
    entries = tuple(of(name, source) for name, source in wanted.items())
    have, now = dict(loaded), 0.0
    refusals: dict[AdapterEntry, RefusedAdapter] = {}
    for _ in range(16):
        view = AdapterView(entries, have, refusals)
        step = next_step(view, view.leaving, now)
        if step is None:
            break
        have.pop(step.unload, None)
        if step.load is not None and refuses.get(step.load.name) == step.load.source:
            refusals[step.load] = refused(refusals.get(step.load), "no", now)
        elif step.load is not None:
            assert step.load.name not in have, "no engine takes a name twice"
            have[step.load.name] = step.load.source
    view = AdapterView(entries, have, refusals)
    assert next_step(view, view.leaving, now) is None
    assert have == {n: s for n, s in wanted.items() if refuses.get(n) != s or loaded.get(n) == s}
    assert view.tried
    assert bool(view.missing) == bool(refusals)


def test_what_is_refused_is_tried_more_and_more_seldom() -> None:
    refusal, waits = None, []
    for _ in range(12):
        refusal = refused(refusal, "no", 0.0)
        waits.append(refusal.again)
    assert waits[:4] == [AGAIN_SECONDS, 2 * AGAIN_SECONDS, 4 * AGAIN_SECONDS, 8 * AGAIN_SECONDS]
    assert waits[-1] == AGAIN_MOST_SECONDS
    assert waits == sorted(waits)


def test_an_adapter_leaves_when_what_ran_is_over() -> None:
    leaving = Departure(10.0)
    leaving = leaving.look({b"1"}, 10.5)
    assert not leaving.over(10.5, 300), "a gateway may not have heard of it yet"
    leaving = leaving.look({b"1", b"2"}, 10.0 + SETTLE_SECONDS)
    assert not leaving.over(11.0, 300)
    leaving = leaving.look({b"2", b"3"}, 12.0)
    assert not leaving.over(12.0, 300)
    leaving = leaving.look({b"1", b"3"}, 13.0)
    assert leaving.over(13.0, 300), "what came later cannot use it, whatever it is called"


def test_an_adapter_waits_for_a_drain_at_most() -> None:
    leaving = Departure(10.0).look({b"1"}, 12.0).look({b"1"}, 300.0)
    assert not leaving.over(309.9, 300)
    assert leaving.over(310.0, 300)
