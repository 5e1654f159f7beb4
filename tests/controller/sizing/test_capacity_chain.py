"""From an engine's metrics to its curve, through every part: batch, telemetry, sidecar's reader, report, operator."""

import random
from collections.abc import Callable

import msgspec
import pytest
import uvloop

from forebay.controller.sizing.capacity_learning import Learning, learn
from forebay.resources.report import EngineReport, ReplicaState, SidecarReport, decode, encode
from forebay.router.engine_monitor import EngineMonitor
from forebay.router.http.client import ConnectionPool
from forebay.simulator.batch import Batch, BatchLimits, Sequence, ServiceTime
from forebay.simulator.telemetry import Telemetry
from tests.controller.fleets import spec

TIMES = ServiceTime(base=0.016, per_running=0.0006, per_kv_token=1e-7, prefill_tokens_per_second=9000.0)


class VirtualEngine:
    """A simulated engine in simulated time, which asks for new requests as they are due."""

    def __init__(self, limits: BatchLimits, load: Callable[[float], float]) -> None:
        self.batch = Batch(limits, TIMES)
        self.telemetry = Telemetry("m", limits.kv_tokens, 16_384)
        self.load = load  # requests a second, by time
        self.now = 0.0
        self.rng = random.Random(7)
        self.asked: list[Sequence] = []
        self._due = 0.0

    def until(self, end: float) -> None:
        while self.now < end:
            while self._due <= self.now:
                self._ask()
            step = self.batch.begin(self.now, most=100)
            limit = min(self._due, end) - self.now
            if step.seconds is None:
                self.now += limit
                continue
            if step.seconds > limit:
                self.batch.cut(step, limit)
            self._make(step.made, step.seconds / step.count, step.count)
            self.now += step.seconds
            for sequence in self.batch.finish(step):
                self.telemetry.ended("stop", sequence, self.now)
        self.telemetry.running.set(len(self.batch.running))
        self.telemetry.kv_usage.set(self.batch.kv_used / self.batch.limits.kv_tokens)

    def _ask(self) -> None:
        prompt, answer = (max(1, round(mean * self.rng.lognormvariate(-0.18, 0.6))) for mean in (700, 250))
        self.asked.append(Sequence(prompt, answer, self.now))
        self.batch.add(self.asked[-1])
        self._due += self.rng.expovariate(self.load(self._due))

    def _make(self, made: list[Sequence], each: float, count: int) -> None:
        for sequence in made:
            self.telemetry.generated.inc(count)
            if not sequence.made:
                self.telemetry.first_token.observe(each)
            for _ in range(count - (not sequence.made)):
                self.telemetry.between.observe(each)


async def _read(text: str) -> EngineReport | None:
    engine = EngineMonitor(("127.0.0.1", 1), ConnectionPool(), lambda: None)
    engine.take(text)
    return engine.report()


def read(engine: VirtualEngine) -> SidecarReport:
    """As it comes over the network."""
    found = uvloop.run(_read(engine.telemetry.render().decode()))
    assert found is not None
    report = SidecarReport(
        pool="chat", replica="chat-0", version="1", started=1.0, generation=1, hash="",
        state=ReplicaState.SERVING, slots=10, running=0, engine=msgspec.structs.replace(found, read_at=engine.now),
    )  # fmt: skip
    back = decode(encode(report))
    assert isinstance(back, SidecarReport)
    return back


@pytest.mark.slow
def test_an_engine_is_learnt_as_it_is() -> None:
    """Twenty minutes at loads from a twentieth to nine tenths of what it can take; prompts of others count as well."""
    engine = VirtualEngine(BatchLimits(kv_tokens=60_000), lambda at: 0.2 + 3.0 * (at % 400) / 400)
    learning, pool = Learning(), spec(capacity={"timePerOutputTokenMilliseconds": 40})
    for number in range(240):
        engine.until(5.0 * number)
        learning = learn(learning, pool, "engine", [read(engine)], None, engine.now)
    ended = [item for item in engine.asked if item.done]
    lengths = sorted(item.prompt + item.made for item in ended)
    assert learning.live_tokens == pytest.approx(lengths[int(0.9 * len(lengths))], rel=0.15)
    assert learning.kv_tokens == 60_000
    curve = learning.curve
    assert curve is not None
    assert curve.windows > 150
    for running in (5, 15, 25):
        held = running * 60_000 * curve.fill_per_request
        new = 700 / 250 * running / TIMES.prefill_tokens_per_second  # of a prompt, for each token
        alone, with_prompts = TIMES.step(running, round(held), 0), TIMES.step(running, round(held), 0) + new
        assert 0.93 * alone < curve.seconds(running) < 1.07 * with_prompts
    most = curve.most_within(0.040)
    assert most is not None
    assert curve.seconds(most) <= 0.040 < curve.seconds(most + 1)
    assert learning.target is not None
    assert learning.target.slots == min(most, 60_000 // learning.live_tokens)
