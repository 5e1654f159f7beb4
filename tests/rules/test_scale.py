"""The scaling rule: a table of what should happen, and what must always hold."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.resources.reasons import ScaleReason
from forebay.resources.terms import ScalingMode
from forebay.rules.history import History
from forebay.rules.scale import Demand, ScaleInputs, normal_slots, pace_of, scale

NOW = 1_800_000_000.0
WINDOW = 20.0


def quiet(need: int, *, seconds: float = 60.0, now: float = NOW) -> History:
    """A history in which `need` replicas of ten slots were needed, second by second, until now."""
    history = History.restored((), 0, now - seconds)
    for second in range(int(seconds)):
        history = history.remember(now - seconds + second, 7.5 * need, need)
    return history


def pool(**changes: object) -> ScaleInputs:
    """A pool of two replicas with ten slots each, and a quiet minute behind it."""
    usual = ScaleInputs(
        now=NOW, current=2, minimum=1, maximum=5, capacity=10, up_window=0.0, down_window=WINDOW, history=quiet(1),
        last_request=NOW,
    )  # fmt: skip
    return replace(usual, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("inputs", "replicas", "reason"),
    [
        pytest.param(pool(current=None, wished=3), 3, ScaleReason.INITIAL, id="a new pool has its first size"),
        pytest.param(pool(current=None, wished=9), 5, ScaleReason.INITIAL, id="the first size is clamped"),
        pytest.param(
            pool(demand=Demand(running=20, queued=13)), 4, ScaleReason.DEMAND_ABOVE_CAPACITY, id="up at once, to need"
        ),
        pytest.param(
            pool(demand=Demand(running=20, overflowing=80)), 5, ScaleReason.DEMAND_ABOVE_CAPACITY, id="up to max"
        ),
        pytest.param(
            pool(current=5, demand=Demand(running=50, queued=9)), 5, ScaleReason.MAXIMUM, id="limited by the maximum"
        ),
        pytest.param(
            pool(demand=Demand(running=20, lost_per_second=2, service_seconds=10)),
            5,
            ScaleReason.DEMAND_ABOVE_CAPACITY,
            id="what left for lack of a slot counts by Little's law",
        ),
        pytest.param(pool(demand=Demand(running=16)), 2, ScaleReason.WITHIN_CAPACITY, id="between the two loads"),
        pytest.param(pool(), 1, ScaleReason.DEMAND_BELOW_CAPACITY, id="down by one after a quiet window"),
        pytest.param(pool(current=4), 3, ScaleReason.DEMAND_BELOW_CAPACITY, id="one at a time"),
        pytest.param(pool(history=quiet(2)), 2, ScaleReason.QUIET_WINDOW, id="the window has seen more"),
        pytest.param(
            pool(history=quiet(1, seconds=15)), 2, ScaleReason.QUIET_WINDOW, id="the window is not full after a restart"
        ),
        pytest.param(pool(demand=Demand(queued=1)), 2, ScaleReason.QUIET_WINDOW, id="never down while something waits"),
        pytest.param(pool(starting=1), 2, ScaleReason.REPLICAS_STARTING, id="never down while a replica starts"),
        pytest.param(pool(ending=1), 2, ScaleReason.REPLICAS_STARTING, id="never down while a replica drains"),
        pytest.param(pool(fresh=False), 2, ScaleReason.METRICS_STALE, id="stale metrics hold"),
        pytest.param(
            pool(fresh=False, demand=Demand(running=20, queued=13)),
            4,
            ScaleReason.DEMAND_ABOVE_CAPACITY,
            id="known demand is enough to grow, whoever else is silent",
        ),
        pytest.param(
            pool(age_seconds=15.1, demand=Demand(running=50)), 2, ScaleReason.METRICS_STALE, id="old reports hold"
        ),
        pytest.param(
            pool(age_seconds=14.9, demand=Demand(running=50)),
            5,
            ScaleReason.DEMAND_ABOVE_CAPACITY,
            id="reports of the last three periods count",
        ),
        pytest.param(pool(rollout=True), 2, ScaleReason.ROLLOUT, id="never down while the template changes"),
        pytest.param(
            pool(unplaced=1, starting=1, demand=Demand(running=20, queued=13)),
            2,
            ScaleReason.REPLICA_UNPLACED,
            id="no second replica while one has no node",
        ),
        pytest.param(
            pool(up_window=None, demand=Demand(running=50)), 2, ScaleReason.WITHIN_CAPACITY, id="a burst is the cloud's"
        ),
        pytest.param(
            pool(up_window=None, overflow_allowed=False, demand=Demand(running=500)),
            4,
            ScaleReason.DEMAND_ABOVE_CAPACITY,
            id="without a cloud a burst counts within half a minute",
        ),
        pytest.param(pool(capacity=None), 2, ScaleReason.CAPACITY_UNKNOWN, id="capacity unknown holds"),
        pytest.param(pool(current=1), 1, ScaleReason.MINIMUM, id="at the minimum"),
        pytest.param(pool(minimum=3), 3, ScaleReason.MINIMUM, id="a raised minimum holds at once"),
        pytest.param(pool(current=9), 5, ScaleReason.MAXIMUM, id="a lowered maximum holds at once"),
        pytest.param(pool(mode=ScalingMode.MANUAL, wished=7), 7, ScaleReason.MANUAL, id="Manual follows spec.replicas"),
        pytest.param(
            pool(mode=ScalingMode.ADVISORY, demand=Demand(running=40)), 2, ScaleReason.ADVISORY, id="Advisory holds"
        ),
        pytest.param(pool(current=0, minimum=0), 0, ScaleReason.IDLE, id="zero stays zero without demand"),
        pytest.param(
            pool(current=0, minimum=0, capacity=None, demand=Demand(queued=1)),
            1,
            ScaleReason.DEMAND_ABOVE_CAPACITY,
            id="one waiting request wakes a pool",
        ),
        pytest.param(
            pool(current=1, minimum=0, idle_to_zero=600, last_request=NOW - 601),
            0,
            ScaleReason.IDLE,
            id="idle long enough",
        ),
        pytest.param(
            pool(current=1, minimum=0, idle_to_zero=600, last_request=NOW - 599),
            1,
            ScaleReason.MINIMUM,
            id="not idle long enough",
        ),
        pytest.param(
            pool(current=1, minimum=0, last_request=0), 1, ScaleReason.MINIMUM, id="zero only when idleSecondsToZero"
        ),
    ],
)
def test_the_size_follows_the_rule(inputs: ScaleInputs, replicas: int, reason: ScaleReason) -> None:
    decision = scale(inputs)
    assert (decision.replicas, decision.reason) == (replicas, reason)


def test_advisory_says_what_it_would_do() -> None:
    assert scale(pool(mode=ScalingMode.ADVISORY, demand=Demand(running=40))).advised == 5


def test_a_scale_up_window_waits_until_demand_has_held() -> None:
    busy = Demand(running=20, queued=13)
    spike = pool(demand=busy, up_window=15.0, history=quiet(1))
    assert scale(spike).replicas == 2
    assert scale(replace(spike, history=quiet(4))).replicas == 4


def test_the_window_to_grow_by_spans_two_requests_unless_the_spec_says_otherwise() -> None:
    slow = Demand(service_seconds=80.0)
    assert pace_of(pool(up_window=None, demand=slow)).up_window == 160.0
    assert pace_of(pool(up_window=None)).up_window == 60.0
    assert pace_of(pool(up_window=None, demand=slow, overflow_allowed=False)).up_window == 30.0
    assert pace_of(pool(up_window=5.0, demand=slow)).up_window == 5.0


def test_history_survives_a_restart_for_long_windows() -> None:
    minute = int(NOW // 60)
    calm = History.restored((1,) * 25, minute - 1, NOW)
    busy = History.restored((1,) * 20 + (3,) + (1,) * 4, minute - 1, NOW)
    long_down = pool(down_window=1200.0, current=3)
    assert scale(replace(long_down, history=calm)).replicas == 2
    assert scale(replace(long_down, history=busy)).reason is ScaleReason.QUIET_WINDOW


def test_a_long_absence_of_the_operator_begins_the_window_anew() -> None:
    history = History.restored((1,) * 25, int(NOW // 60) - 10, NOW)
    assert scale(pool(down_window=1200.0, history=history)).reason is ScaleReason.QUIET_WINDOW


def test_minutes_nobody_observed_repeat_the_last_peak() -> None:
    history = History.restored((2,), int(NOW // 60) - 3, NOW, (12.5,)).remember(NOW, 5.0, 1)
    assert history.peaks == (2, 2, 2, 1)
    assert history.means == (12.5, 12.5, 12.5, 5.0)


def test_history_is_bounded() -> None:
    history = quiet(1, seconds=400)
    for minute in range(500):
        history = history.remember(NOW + 60 * minute, 1.0, 1)
    assert len(history.samples) <= 301
    assert len(history.peaks) == len(history.means) == 120


def priced(current: int, mean: float, **changes: object) -> ScaleInputs:
    """A pool of ten slots a replica with a steady demand behind it; a request that leaves costs 20 cents an hour."""
    history = History.restored((1,) * 60, int(NOW // 60) - 1, NOW, (mean,) * 60)
    usual = pool(current=current, maximum=9, history=history, demand=Demand(running=round(mean)), down_window=1200.0)
    return replace(
        usual,
        **{"replica_hour_price": 1.0, "overflow_cost_per_request_hour": 0.2, **changes},  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("inputs", "replicas", "reason"),
    [
        pytest.param(priced(2, 26), 2, ScaleReason.CLOUD_CHEAPER, id="not started for what the cloud takes for less"),
        pytest.param(priced(2, 29), 3, ScaleReason.DEMAND_ABOVE_CAPACITY, id="started when it pays for its start, too"),
        pytest.param(priced(2, 46), 4, ScaleReason.DEMAND_ABOVE_CAPACITY, id="only replicas that pay are started"),
        pytest.param(priced(3, 26), 3, ScaleReason.WITHIN_CAPACITY, id="it stays while it saves what it costs"),
        pytest.param(priced(3, 22), 2, ScaleReason.CLOUD_CHEAPER, id="an idle one that is dearer than the cloud goes"),
        pytest.param(priced(3, 15), 2, ScaleReason.DEMAND_BELOW_CAPACITY, id="as does one that nobody needs"),
        pytest.param(priced(3, 22, starting=1), 3, ScaleReason.REPLICAS_STARTING, id="but not while another starts"),
        pytest.param(
            priced(3, 22, demand=Demand(running=22, queued=1)), 2, ScaleReason.CLOUD_CHEAPER, id="whoever else waits"
        ),
        pytest.param(priced(9, 200), 9, ScaleReason.MAXIMUM, id="the maximum is told, too"),
        pytest.param(priced(2, 24, replica_hour_price=None), 3, ScaleReason.DEMAND_ABOVE_CAPACITY, id="no price"),
        pytest.param(priced(2, 24, overflow_allowed=False), 4, ScaleReason.DEMAND_ABOVE_CAPACITY, id="no cloud"),
        pytest.param(priced(2, 19, overflow_cost_per_request_hour=20.0), 3, ScaleReason.DEMAND_ABOVE_CAPACITY,
                     id="where the cloud is dear, bursts have a replica of their own"),
    ],
)  # fmt: skip
def test_a_replica_that_costs_more_than_what_would_leave_is_not_kept(
    inputs: ScaleInputs, replicas: int, reason: ScaleReason
) -> None:
    decision = scale(inputs)
    assert (decision.replicas, decision.reason) == (replicas, reason)


def test_a_decision_by_money_says_what_the_replica_is_worth() -> None:
    grown, dear, gone = scale(priced(2, 29)), scale(priced(2, 26)), scale(priced(3, 22))
    assert grown.kept is not None and grown.pays_from is not None and grown.kept >= grown.pays_from
    assert dear.kept is not None and dear.pays_from is not None and dear.kept < dear.pays_from
    assert gone.kept is not None and gone.pays_from == pytest.approx(5.0) and gone.kept < 5.0
    assert scale(priced(3, 26)).kept is None
    assert scale(priced(2, 29, replica_hour_price=None)).kept is None


def test_short_windows_of_the_spec_are_short_where_money_decides_too() -> None:
    history = History.restored((), 0, NOW - 90)
    for second in range(90):
        history = history.remember(NOW - 90 + second, 40.0 if second < 70 else 3.0, 1)
    quick = priced(3, 3, history=history, down_window=12.0)
    assert pace_of(quick).down_mean == 12.0
    assert scale(quick).reason is ScaleReason.DEMAND_BELOW_CAPACITY


def test_bursts_of_the_last_minutes_make_a_replica_worth_keeping() -> None:
    history = History.restored((1,) * 60, int(NOW // 60) - 1, NOW, (16.0,) * 60, (250.0,) * 60)
    calm = priced(3, 16, overflow_cost_per_request_hour=0.4)
    bursty = replace(calm, history=history)
    assert scale(calm).replicas == 2
    assert scale(bursty).replicas == 3


@pytest.mark.parametrize(("slots", "normal"), [(3, 3), (4, 3), (8, 6), (16, 12), (40, 30)])
def test_normal_slots_leave_highs_share(slots: int, normal: int) -> None:
    assert normal_slots(slots, 25) == normal


demands = st.builds(
    Demand,
    running=st.integers(0, 500),
    queued=st.integers(0, 500),
    overflowing=st.integers(0, 500),
    lost_per_second=st.floats(0, 100),
    service_seconds=st.floats(0, 60),
)
histories = st.builds(lambda need, seconds: quiet(need, seconds=seconds), st.integers(0, 8), st.floats(0, 40))


@st.composite
def pools(draw: st.DrawFn) -> ScaleInputs:
    """Any pool within its bounds."""
    minimum = draw(st.integers(0, 4))
    maximum = draw(st.integers(max(minimum, 1), 8))
    return ScaleInputs(
        now=NOW,
        current=draw(st.none() | st.integers(0, 10)),
        wished=draw(st.integers(0, 10)),
        minimum=minimum,
        maximum=maximum,
        demand=draw(demands),
        capacity=draw(st.none() | st.integers(1, 64)),
        starting=draw(st.integers(0, 2)),
        ending=draw(st.integers(0, 2)),
        fresh=draw(st.booleans()),
        up_window=draw(st.sampled_from([None, 0.0, 10.0])),
        down_window=draw(st.sampled_from([None, 0.0, 20.0])),
        idle_to_zero=draw(st.none() | st.just(60.0)) if minimum == 0 else None,
        last_request=draw(st.sampled_from([0.0, NOW])),
        history=draw(histories),
        overflow_allowed=draw(st.booleans()),
        rollout=draw(st.booleans()),
        unplaced=draw(st.integers(0, 1)),
        replica_hour_price=draw(st.none() | st.floats(0.1, 10)),
        overflow_cost_per_request_hour=draw(st.none() | st.floats(0.001, 2)),
        age_seconds=draw(st.sampled_from([0.0, 0.0, 20.0])),
    )


@given(pools())
def test_the_size_is_always_within_its_bounds(inputs: ScaleInputs) -> None:
    assert inputs.minimum <= scale(inputs).replicas <= inputs.maximum


@given(pools())
def test_the_same_inputs_give_the_same_decision(inputs: ScaleInputs) -> None:
    assert scale(inputs) == scale(inputs)


@given(pools(), st.integers(0, 200), st.booleans())
def test_more_demand_never_means_fewer_replicas(inputs: ScaleInputs, more: int, waits: bool) -> None:
    demand = inputs.demand
    higher = replace(demand, queued=demand.queued + more) if waits else replace(demand, running=demand.running + more)
    assert scale(replace(inputs, demand=higher)).replicas >= scale(inputs).replicas


@given(pools())
def test_a_pool_never_shrinks_by_more_than_one_unless_a_bound_says_so(inputs: ScaleInputs) -> None:
    size = scale(inputs).replicas
    if inputs.current is not None and inputs.current <= inputs.maximum and size < inputs.current:
        assert size == inputs.current - 1 or size == 0


@given(pools())
def test_where_the_budget_does_not_pay_a_pool_is_one_whose_requests_may_not_leave(inputs: ScaleInputs) -> None:
    spent, local = (scale(replace(inputs, **{field: False})) for field in ("overflow_paid", "overflow_allowed"))
    assert replace(spent, unpaid=False) == local
    assert spent.unpaid is inputs.overflow_allowed


@given(pools(), st.sampled_from([0.0, 10.0]))
def test_a_budget_that_pays_never_asks_for_more_replicas_than_one_that_does_not(
    inputs: ScaleInputs, window: float
) -> None:
    """Where a cloud's price decides, it may keep more than headroom would: then both are compared without."""
    inputs = replace(inputs, up_window=window, replica_hour_price=None)
    assert scale(inputs).replicas <= scale(replace(inputs, overflow_paid=False)).replicas


@pytest.mark.parametrize(
    ("inputs", "paid", "unpaid"),
    [
        pytest.param(pool(demand=Demand(running=17)), 2, 3, id="headroom, as what comes on top will be refused"),
        pytest.param(pool(demand=Demand(running=14)), 2, 2, id="no more than demand asks for"),
        pytest.param(pool(up_window=None, demand=Demand(running=500)), 2, 4, id="half a minute instead of a whole one"),
        pytest.param(priced(2, 26), 2, 4, id="a cheap cloud that nobody pays keeps no replica away"),
        pytest.param(priced(3, 22), 2, 3, id="nor does it take one away"),
        pytest.param(pool(overflow_allowed=False, demand=Demand(running=17)), 3, 3, id="local-only has no budget"),
    ],
)
def test_a_budget_that_does_not_pay(inputs: ScaleInputs, paid: int, unpaid: int) -> None:
    assert (scale(inputs).replicas, scale(replace(inputs, overflow_paid=False)).replicas) == (paid, unpaid)


def play(
    path: list[int],
    begin: ScaleInputs,
    *,
    step: float = 15.0,
    restarts: frozenset[int] = frozenset(),
    turns: frozenset[int] = frozenset(),
) -> list[int]:
    """Sizes over time as demand takes this path; a replica serves two looks after it was asked for.

    At a look in `restarts` the operator has just come back, with what the status kept; at one in `turns` the budget
    ceases to pay, or pays again.
    """
    inputs, sizes, asked = begin, [begin.current or 0], -9
    for look, demand in enumerate(path):
        now = begin.now + step * look
        history = inputs.history
        if look in restarts:
            history = History.restored(history.peaks, history.until, now, history.means, history.variances)
        starting, paid = int(look - asked <= 2), inputs.overflow_paid is (look not in turns)
        decision = scale(
            replace(
                inputs, now=now, demand=Demand(running=demand), starting=starting, current=sizes[-1], history=history,
                overflow_paid=paid,
            )
        )  # fmt: skip
        asked = look if decision.replicas > sizes[-1] else asked
        inputs = replace(inputs, history=decision.history, overflow_paid=paid)
        sizes.append(decision.replicas)
    return sizes[1:]


paths = st.lists(
    st.tuples(st.integers(0, 60), st.integers(1, 60)).map(lambda part: [part[0]] * part[1]), min_size=1, max_size=6
).map(lambda parts: [demand for part in parts for demand in part])


@given(paths, st.sampled_from([None, 1.0]), st.frozensets(st.integers(1, 360), max_size=20))
def test_a_pool_that_grew_does_not_shrink_within_the_window(
    path: list[int], price: float | None, turns: frozenset[int]
) -> None:
    """Nor where the budget pays and does not pay in turn."""
    money = {"replica_hour_price": price, "overflow_cost_per_request_hour": 0.2}
    sizes = play(path, pool(up_window=None, down_window=None, history=History(), **money), turns=turns)
    ups = [at for at in range(1, len(sizes)) if sizes[at] > sizes[at - 1]]
    downs = [at for at in range(1, len(sizes)) if sizes[at] < sizes[at - 1]]
    assert all(down < up or (down - up) * 15.0 >= 1800 for up in ups for down in downs)


prices = st.sampled_from([None, 1.0])


@given(paths, st.frozensets(st.integers(1, 360), max_size=10), prices)
def test_restarts_only_put_off_shrinking_by_a_minute(
    path: list[int], restarts: frozenset[int], price: float | None
) -> None:
    money = {"replica_hour_price": price, "overflow_cost_per_request_hour": 0.2}
    begin = pool(up_window=None, down_window=None, history=History(), **money)
    undisturbed, disturbed = play(path, begin), play(path, begin, restarts=restarts)
    for look, size in enumerate(disturbed):
        assert size in undisturbed[max(0, look - 4) : look + 1]


@given(st.integers(1, 60), st.integers(1, 40), st.integers(1, 40))
def test_a_capacity_that_moves_by_itself_does_not_shrink_a_pool_within_the_window(
    demand: int, before: int, after: int
) -> None:
    """An hour at one capacity, so that the pool has settled; then nearly half an hour at the other."""
    begin = pool(up_window=None, down_window=None, capacity=before, current=5, history=History())
    history, sizes = begin.history, [5]
    for look in range(360):
        now, slots = NOW + 15.0 * look, before if look < 250 else after
        decision = scale(
            replace(begin, now=now, capacity=slots, demand=Demand(running=demand), current=sizes[-1], history=history)
        )
        history = decision.history
        sizes.append(decision.replicas)
    settled, needed = sizes[250], -(-demand * 10 // (7 * before))
    assert settled >= min(max(needed, 1), 5)
    assert min(sizes[250:]) >= min(settled, max(needed, 1))
