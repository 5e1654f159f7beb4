"""What the operator learns of engines, what it makes of it, and what it never does."""

import math
import random
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pytest

from forebay.controller.observe.memory import FleetMemory
from forebay.controller.plan.actions import Say, WriteStatus
from forebay.controller.plan.plan import plan
from forebay.controller.sizing.capacity_learning import Learning, known_for, learn
from forebay.controller.sizing.capacity_record import capacity_status, restored
from forebay.resources.capacity_status import CapacityStatus
from forebay.resources.entries import pool_entry
from forebay.resources.pool import PoolSpec
from forebay.resources.reasons import CapacityBound, EventReason
from forebay.resources.report import EngineReport, LengthReport, ReplicaState, SidecarReport
from forebay.resources.table import LearntEntry
from forebay.rules.scale import Demand, History, ScaleInputs, scale
from tests.controller.fleets import NOW, SETTINGS, carried_out, running_fleet, sidecar_report, spec

BOUNDS = (100, 200, 500, 1000, 2000, 5000, 10_000)
LEARNING = {"capacity": {"highReservedPercent": 0}}
"""A pool without override."""


@dataclass
class SimEngine:
    """An engine's totals, with noise: time per token = base + each * n, requests of about the same length."""

    base: float = 0.020
    each: float = 0.0005
    kv_tokens: int = 100_000
    tokens: int = 1500  # of a request, prompt and answer
    noise: float = 0.1
    rng: random.Random = field(default_factory=lambda: random.Random(3))
    at: float = NOW
    tokens_total: int = 0
    token_seconds: float = 0.0
    requests: float = 0.0
    running: float = 0.0

    def run(self, seconds: float, running: float) -> "SimEngine":
        """So many requests for so long."""
        self.running = running
        if running > 0:
            per_token = (self.base + self.each * running) * self.rng.lognormvariate(0, self.noise)
            made = int(running * seconds / per_token)
            self.tokens_total, self.token_seconds = self.tokens_total + made, self.token_seconds + made * per_token
            self.requests += made / 500
        self.at += seconds
        return self

    def read(self) -> EngineReport:
        """As its sidecar would."""
        count = int(self.requests)
        prompt = self.tokens - 500
        totals = tuple((bound, count if bound >= prompt else 0) for bound in BOUNDS)
        answers = tuple((bound, count if bound >= 500 else 0) for bound in BOUNDS)
        return EngineReport(
            age_seconds=0.5,
            running=round(self.running),
            kv_usage=min(1.0, self.running * 0.7 * self.tokens / self.kv_tokens),
            kv_tokens=self.kv_tokens,
            read_at=self.at,
            tokens_total=self.tokens_total,
            token_seconds_total=self.token_seconds,
            prompts=LengthReport(totals=totals, tokens=count * prompt),
            answers=LengthReport(totals=answers, tokens=count * 500),
        )


def report(engine: SimEngine, number: int = 0, **more: Any) -> SidecarReport:
    return SidecarReport(
        pool="chat", replica=f"chat-{number}", version="1", started=NOW, generation=1, hash="",
        state=ReplicaState.SERVING, slots=10, running=0, engine=engine.read(), **more,
    )  # fmt: skip


def pool_spec(**capacity: Any) -> PoolSpec:
    return spec(capacity={"highReservedPercent": 0, **capacity})


def follow(
    learning: Learning, engine: SimEngine, hours: float, running: Any, pool: PoolSpec, step: float = 30.0
) -> Learning:
    """Look every `step` seconds at an engine that runs as many as `running(time)` says."""
    for _ in range(round(3600 * hours / step)):
        engine.run(step, running(engine.at))
        learning = learn(learning, pool, "engine", [report(engine)], None, engine.at)
    return learning


def day(time: float) -> float:
    """A load between 2 and 38, with a period of four hours."""
    return 20 + 18 * math.sin(2 * math.pi * time / 14_400)


@pytest.mark.parametrize("measures", [True, False])
def test_an_engine_that_does_not_say_its_cache_is_learnt_by_its_latency(measures: bool) -> None:
    """`measures`: whether it has a histogram of the time between tokens."""
    engine, pool = SimEngine(noise=0.0), pool_spec(timePerOutputTokenMilliseconds=30)
    learning = Learning()
    for _ in range(480):
        engine.run(30.0, round(day(engine.at)))
        read = msgspec.structs.replace(engine.read(), kv_tokens=None)
        if not measures:
            read = msgspec.structs.replace(read, token_seconds_total=0.0)
        learning = learn(learning, pool, "engine", [_told(engine, read)], None, engine.at)
    assert learning.curve is not None
    assert learning.curve.seconds(10, 0.0) == pytest.approx(0.025, rel=0.05)
    assert learning.target is not None
    assert (learning.target.bound, learning.target.slots) == (CapacityBound.LATENCY, pytest.approx(20, abs=1))


def test_an_engine_that_falls_silent_about_its_cache_is_another_one_after_an_hour() -> None:
    engine, pool = SimEngine(), pool_spec()
    learning = follow(Learning(), engine, 0.1, lambda _: 10, pool)
    for hours, expected in ((0.5, 100_000), (1.0, 0)):
        for _ in range(round(120 * hours)):
            engine.run(30.0, 10)
            read = msgspec.structs.replace(engine.read(), kv_tokens=None)
            learning = learn(learning, pool, "engine", [_told(engine, read)], None, engine.at)
        assert learning.kv_tokens == expected


@pytest.mark.parametrize(
    ("engine", "state", "expected"),
    [
        (None, ReplicaState.STARTING, "NoEngine"),
        (None, ReplicaState.SERVING, "NoMetrics"),
        (EngineReport(age_seconds=1, read_at=1.0), ReplicaState.SERVING, "NoMetrics"),
        (EngineReport(age_seconds=1, read_at=1.0, tokens_total=9), ReplicaState.SERVING, "NoCacheSize"),
        (EngineReport(age_seconds=1, read_at=1.0, kv_tokens=100_000), ReplicaState.SERVING, ""),
    ],
)
def test_what_cannot_be_learnt_is_said_with_its_reason(
    engine: EngineReport | None, state: ReplicaState, expected: str
) -> None:
    told = msgspec.structs.replace(report(SimEngine()), engine=engine, state=state)
    pool = pool_spec()
    found = capacity_status(learn(Learning(), pool, "engine", [told], None, NOW), pool)
    assert found.unknown == expected
    assert (found.bound == "Unknown") == bool(expected)
    over = pool_spec(slotsPerReplica=4)
    assert capacity_status(learn(Learning(), over, "engine", [told], None, NOW), over).unknown == ""


def _told(engine: SimEngine, read: EngineReport) -> SidecarReport:
    return msgspec.structs.replace(report(engine), engine=read)


def test_at_first_memory_decides_by_what_a_typical_request_holds() -> None:
    found = learn(Learning(), pool_spec(), "engine", [report(SimEngine())], None, NOW)
    assert (found.slots, found.target) == (48, found.capacity(pool_spec()))
    assert found.capacity(pool_spec()).bound is CapacityBound.MEMORY


def test_what_requests_really_hold_moves_c_two_percent_an_hour() -> None:
    engine = SimEngine(tokens=1000)  # half of what is typical, so that memory has room for twice as many
    learning = follow(Learning(), engine, 1.0, day, pool_spec())
    assert learning.live_tokens == pytest.approx(1000, rel=0.15)
    assert learning.target is not None
    assert learning.target.slots > 85
    assert learning.exact == pytest.approx(48 * 1.02, rel=0.005)
    learning = follow(learning, engine, 5.0, day, pool_spec())
    assert learning.exact == pytest.approx(48 * 1.02**6, rel=0.01)


@pytest.mark.slow
def test_a_target_for_the_time_per_token_moves_c_five_percent_an_hour_down_to_what_the_curve_says() -> None:
    engine, pool = SimEngine(), pool_spec(timePerOutputTokenMilliseconds=35)
    learning = follow(Learning(), engine, 4.0, day, pool)
    assert learning.curve is not None
    assert learning.curve.most_within(0.035) == pytest.approx(30, abs=3)
    assert learning.exact >= 48 * 0.95**4 * 0.99
    learning = follow(learning, engine, 20.0, day, pool)
    assert learning.slots == pytest.approx(30, abs=3)
    assert learning.capacity(pool).bound is CapacityBound.LATENCY


def test_routers_are_told_in_steps() -> None:
    engine, told = SimEngine(tokens=1000), set()
    learning = Learning()
    for _ in range(12):
        learning = follow(learning, engine, 1.0, day, pool_spec())
        told.add(learning.slots)
    assert len(told) <= 6
    assert all(b - a >= 2 for a, b in zip(sorted(told), sorted(told)[1:], strict=False))


def test_a_quiet_pool_does_not_bound_itself() -> None:
    pool = pool_spec(timePerOutputTokenMilliseconds=40)
    learning = follow(Learning(), SimEngine(tokens=2048), 3.0, lambda at: 3.5 + 2.5 * math.sin(at / 600), pool)
    assert learning.curve is not None  # by which 40 ms would be reached at 40 requests; it has seen four
    assert learning.capacity(pool).bound is CapacityBound.MEMORY


def test_a_restarted_operator_goes_on_where_the_last_one_was() -> None:
    engine, pool = SimEngine(), pool_spec(timePerOutputTokenMilliseconds=35)
    learning = follow(Learning(), engine, 3.0, day, pool)
    raw = capacity_status(learning, pool).model_dump(mode="json", by_alias=True)
    back = restored(CapacityStatus.model_validate(raw))
    assert (back.slots, back.kv_tokens, back.live_tokens) == (learning.slots, learning.kv_tokens, learning.live_tokens)
    assert back.exact == pytest.approx(learning.exact, abs=0.01)
    assert back.curve is not None
    assert learning.curve is not None
    assert back.curve.most_within(0.035) == learning.curve.most_within(0.035)
    again = learn(back, pool, "engine", [report(engine)], None, engine.at + 1)
    assert again.slots == learning.slots
    assert again.live_tokens == pytest.approx(learning.live_tokens, rel=0.1)


def test_nonsense_in_the_status_is_left_out() -> None:
    kept = CapacityStatus(seen=["x", "1 2 3", "0 0 0 0", "4 0.1 20 60"], exact="x", learnt=7, learnt_bound="Other")
    back = restored(kept)
    assert [(item.running, item.windows) for item in back.bins] == [(4, 60)]
    assert back.slots == 0
    assert back.learnt() is None


def test_the_operator_away_for_days_moves_c_by_minutes_at_most() -> None:
    engine = SimEngine(tokens=1000)
    learning = follow(Learning(), engine, 1.0, day, pool_spec())
    before = learning.exact
    engine.run(86_400, 5)
    learning = learn(learning, pool_spec(), "engine", [report(engine)], None, engine.at)
    assert learning.exact <= before * 1.002


@pytest.mark.slow
def test_another_engine_is_learnt_anew_and_keeps_c() -> None:
    engine, pool = SimEngine(), pool_spec(timePerOutputTokenMilliseconds=35)
    learning = follow(Learning(), engine, 22.0, day, pool)
    other = learn(learning, pool, "another", [report(engine)], None, engine.at + 1)
    assert (other.bins, other.curve, other.slots) == ((), None, learning.slots)


def test_another_gpu_decides_at_once_by_its_memory() -> None:
    learning = follow(Learning(), SimEngine(), 1.0, day, pool_spec())
    larger = learn(learning, pool_spec(), "engine", [report(SimEngine(kv_tokens=400_000))], None, NOW + 3700)
    assert larger.slots == pytest.approx(400_000 / learning.live_tokens, rel=0.1)


def test_the_smaller_gpu_of_a_mixed_pool_is_not_learnt_from_and_runs_fewer() -> None:
    small, large = SimEngine(kv_tokens=25_000, base=0.5), SimEngine()
    learning = Learning()
    for _ in range(480):
        reports = [report(small.run(30, 5), 1), report(large.run(30, day(large.at)), 0)]
        learning = learn(learning, pool_spec(), "engine", reports, None, large.at)
    assert learning.kv_tokens == 100_000
    assert all(item.seconds < 0.1 for item in learning.bins)
    learnt = learning.learnt()
    assert learnt is not None
    assert learnt.on(25_000) == learnt.slots // 4


def test_the_larger_gpu_may_be_silent_for_a_while_and_its_end_shows_within_an_hour() -> None:
    small, large, pool = SimEngine(kv_tokens=25_000), SimEngine(), pool_spec()
    learning = learn(Learning(), pool, "engine", [report(large, 0), report(small, 1)], None, NOW)
    for beginning in (learning, restored(capacity_status(learning, pool))):
        alone = beginning
        for minute in range(1, 62):
            alone = learn(alone, pool, "engine", [report(small, 1)], None, NOW + 60 * minute)
            if minute == 30:
                assert (alone.slots, alone.kv_tokens) == (48, 100_000)
        assert (alone.slots, alone.kv_tokens) == (12, 25_000)


def test_a_router_that_does_not_answer_for_a_while_counts_nothing_twice() -> None:
    engine = SimEngine(noise=0.0)
    learning = follow(Learning(), engine, 1.0, lambda _: 10.0, pool_spec())
    counted = learning.lengths.prompts.requests
    for _ in range(5):
        learning = learn(learning, pool_spec(), "engine", [], None, engine.at)
    learning = learn(learning, pool_spec(), "engine", [report(engine)], None, engine.at)
    assert learning.lengths.prompts.requests == pytest.approx(counted, rel=0.01)


def test_back_pressure_never_enters() -> None:
    engine, cut = SimEngine(), SimEngine()
    plain = follow(Learning(), engine, 1.0, day, pool_spec())
    learning = Learning()
    for _ in range(120):
        cut.run(30, day(cut.at))
        few = msgspec.structs.replace(report(cut), slots=3, capacity=48)
        learning = learn(learning, pool_spec(), "engine", [few], None, cut.at)
    assert learning.slots == plain.slots


def test_a_node_selector_that_names_the_gpu_says_what_to_expect() -> None:
    selector = {"spec": {"nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}}}
    model = {"name": "meta-llama/Llama-2-7b-chat-hf"}
    pool = spec(model=model, engine={"gpus": 1, "podTemplate": selector}, capacity={})
    table = known_for(pool)
    assert table == pytest.approx(54, abs=3)
    found = learn(Learning(), pool, "engine", [], table, NOW)
    assert (found.slots, found.capacity(pool).bound) == (table, CapacityBound.TABLE)
    assert known_for(spec(model=model, engine={"gpus": 1}, capacity={})) is None
    heard = learn(found, pool, "engine", [report(SimEngine(kv_tokens=41_408))], table, NOW + 60)
    assert (heard.slots, heard.capacity(pool).bound) == (20, CapacityBound.MEMORY)


def test_an_override_is_effective_at_once_and_leaves_routers_nothing_to_be_told() -> None:
    learning = learn(Learning(), pool_spec(), "engine", [report(SimEngine())], None, NOW)
    own = pool_spec(slotsPerReplica=9)
    assert (learning.capacity(own).slots, learning.capacity(own).bound) == (9, CapacityBound.OVERRIDE)
    status = capacity_status(learning, own)
    assert (status.slots, status.bound, status.learnt) == (9, "Override", 48)
    assert pool_entry("chat", "team", own, status).learnt is None
    told = pool_entry("chat", "team", pool_spec(), status).learnt
    assert told == LearntEntry(slots=48, bound=CapacityBound.MEMORY, kv_tokens=100_000)


def test_an_engine_that_says_nothing_of_its_batch_takes_what_vllm_usually_takes() -> None:
    wide, pool = SimEngine(kv_tokens=4_000_000), pool_spec()
    found = learn(Learning(), pool, "engine", [report(wide)], None, NOW)
    assert (found.slots, found.capacity(pool).bound) == (256, CapacityBound.MAX_NUM_SEQS)
    more = spec(capacity={}, engine={"args": ["--max-num-seqs=1024"]})
    assert learn(Learning(), more, "engine", [report(wide)], None, NOW).capacity(more).slots == 1024


@pytest.mark.slow
def test_each_step_is_an_event_a_status_and_then_a_table() -> None:
    observed, memory = running_fleet(pool_spec())
    engine = SimEngine(tokens=1000)
    story: list[str] = []
    for minute in range(600):
        heard = sidecar_report(engine=engine.run(5, day(engine.at)).read())
        engine.at += 55
        now = NOW + 60.0 * minute
        heard = {**observed.heard, "chat-0": replace(heard, time=now)}
        heard |= {f"gateway-{n}": replace(observed.heard[f"gateway-{n}"], time=now) for n in range(2)}
        observed = replace(observed, heard=heard, now=now)
        done = plan(observed, memory, SETTINGS)
        observed, memory = carried_out(observed, done), done.memory
        actions = [action for batch in done.batches for action in batch.actions]
        notes = [item.note for item in actions if isinstance(item, Say)]
        story += [note.text for note in notes if note.reason is EventReason.CAPACITY_CHANGED]
        if notes and story and notes[-1].text == story[-1]:
            written = next(item for item in actions if isinstance(item, WriteStatus) and item.name == "chat")
            assert written.why == "an edge"
    assert 2 <= len(story) <= 6
    assert story[0].startswith("slots of a replica 48 -> 50, bound Memory: 100000 tokens of KV cache, ")
    assert observed.pools[0].status.capacity.learnt == memory.pools["chat"].learning.slots
    fresh = plan(observed, FleetMemory(), SETTINGS)  # the next operator
    assert not [a for b in fresh.batches for a in b.actions if isinstance(a, Say) and "slots of" in a.note.text]


@pytest.mark.slow
@pytest.mark.parametrize("milliseconds", [None, 40])
def test_a_constant_load_on_a_noisy_engine_changes_replicas_once_in_a_week_at_most(milliseconds: int | None) -> None:
    """The whole loop for 7 days: engines with noise, C learnt from them, the size by D / C. Load and engines are the
    same all week; what changes is what the operator knows."""
    wish = {} if milliseconds is None else {"timePerOutputTokenMilliseconds": milliseconds}
    pool, load = pool_spec(**wish), 100.0
    learning, history, sizes = Learning(), History(), [4]
    engine = SimEngine(noise=0.15)
    for _ in range(7 * 24 * 60):
        running = load / sizes[-1] * engine.rng.lognormvariate(0, 0.05)
        for _ in range(2):  # two readings, so that there is a window
            engine.run(15, running)
            learning = learn(learning, pool, "engine", [report(engine)], None, engine.at)
        engine.at += 30
        slots, demand = learning.capacity(pool).slots, Demand(running=round(load))
        inputs = ScaleInputs(now=engine.at, current=sizes[-1], maximum=10, demand=demand, capacity=slots)
        decision = scale(replace(inputs, history=history))
        history = decision.history
        if decision.replicas != sizes[-1]:
            sizes.append(decision.replicas)
    assert len(sizes) - 1 <= 1, sizes


def test_a_move_of_c_alone_never_scales_down_within_the_window() -> None:
    """What was needed at the C of that minute stays needed until the minute has left the window."""
    history, now, size, jumped = History(), NOW, 6, NOW + 3600
    for _ in range(600):
        now += 10
        slots = 20 if now < jumped else 40
        inputs = ScaleInputs(now=now, current=size, maximum=10, demand=Demand(running=100), capacity=slots)
        decision = scale(replace(inputs, history=history))
        history = decision.history
        if decision.replicas < size:
            break
        size = decision.replicas
    assert size in (6, 7)
    assert now - jumped >= 1200
