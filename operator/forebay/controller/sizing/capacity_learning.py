"""What the operator learns of a pool's engines: reports in, slots of one replica out. Pure transitions, one a pool.

Engines report totals; what they grew by between two looks is one window of the curve and some lengths of requests.
Once a minute both are turned into a target, and C moves a little towards it. Only engines like the largest one of the
pool are learnt from; a smaller one runs fewer requests, by the size of its cache.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from forebay import engines
from forebay.controller.cluster.kubernetes_api import Object
from forebay.controller.manifests.statefulset import recorded
from forebay.controller.plan.drift import fingerprint
from forebay.resources.pool import PoolSpec
from forebay.resources.reasons import CapacityBound, CapacityUnknown
from forebay.resources.report import EngineReport, LengthReport, ReplicaState, SidecarReport
from forebay.rules import capacity as rule
from forebay.rules.capacity import CapacityInputs, Learnt, ReplicaCapacity
from forebay.rules.curve import Bins, Curve, Window, fit, latency_bound, seen
from forebay.rules.hardware import slots_of
from forebay.rules.live_tokens import Histogram, Lengths

THINK_SECONDS: Final = 60.0
LONGEST_WINDOW_SECONDS: Final = 30.0
LEAST_TOKENS: Final = 20  # in a window
LENGTHS_HALVE_SECONDS: Final = 86_400.0
ALIKE: Final = 0.95  # caches of engines that are learnt from together
SMALLER_AFTER_SECONDS: Final = 3600.0
REMEMBERED: Final = 256  # replicas
_GPU_LABELS: Final = (
    "nvidia.com/gpu.product",
    "cloud.google.com/gke-accelerator",
    "karpenter.k8s.aws/instance-gpu-name",
)


@dataclass(frozen=True, slots=True)
class Learning:
    """What is known of one pool's engines. Times are Unix seconds."""

    engine: str = ""  # hash of image, arguments and model
    kv_tokens: int = 0
    sized: float = 0.0  # an engine with that cache was last heard of; 0: not since this process began
    bins: Bins = ()
    lengths: Lengths = field(default_factory=Lengths)
    last: Mapping[str, EngineReport] = field(default_factory=dict)  # by replica
    curve: Curve | None = None
    live_tokens: int = 0  # 0: too few requests yet
    target: ReplicaCapacity | None = None
    exact: float = 0.0  # C, on its way to the target
    slots: int = 0  # as routers are told; 0: nothing to tell
    since: float = 0.0  # when that last changed
    thought: float = 0.0
    missing: CapacityUnknown = CapacityUnknown.NO_ENGINE  # by the latest reports, should nothing be known

    def learnt(self) -> Learnt | None:
        """What routers are to be told; None while nothing is known."""
        return Learnt(self.slots, self.target.bound, self.kv_tokens) if self.slots and self.target else None

    def capacity(self, spec: PoolSpec) -> ReplicaCapacity:
        """Slots of one replica of the pool, as its sidecars find them."""
        override, most = spec.capacity.slots_per_replica, engines.of(spec.engine.type).batch_limit(spec.engine.args)
        return rule.capacity(CapacityInputs(override, most, self.kv_tokens or None, learnt=self.learnt()))

    def unknown(self, spec: PoolSpec) -> CapacityUnknown | None:
        """Why the pool's capacity is unknown; None where it is not."""
        return self.missing if self.capacity(spec).bound is CapacityBound.UNKNOWN else None


def learn(
    before: Learning, spec: PoolSpec, engine: str, reports: Iterable[SidecarReport], table: int | None, now: float
) -> Learning:
    """Take in the latest reports of a pool's replicas. `engine`: what they run; `table`: what that is known for."""
    after = before if engine == before.engine else replace(before, engine=engine, bins=(), curve=None)
    answering = [report for report in reports if report.state is not ReplicaState.STARTING]
    engines = {report.replica: report.engine for report in answering if report.engine is not None}
    if answering:
        told = any(it.kv_tokens or it.tokens_total or it.prompts.totals for it in engines.values())
        after = replace(after, missing=CapacityUnknown.NO_CACHE_SIZE if told else CapacityUnknown.NO_METRICS)
    if engines:
        after = _sized(after, max(read.kv_tokens or 0 for read in engines.values()), now)
    for replica, read in engines.items():
        if (read.kv_tokens or 0) >= ALIKE * after.kv_tokens:
            after = _look(after, after.last.get(replica), read)
    known = sorted({**after.last, **engines}.items(), key=lambda item: item[1].read_at)
    after = replace(after, last=dict(known[-REMEMBERED:]))
    return _think(after, spec, table, now) if now - after.thought >= THINK_SECONDS else after


def _sized(learning: Learning, kv_tokens: int, now: float) -> Learning:
    """A cache of another size is another engine: its curve is learnt anew, and what memory allows holds at once.

    A smaller one only counts when no larger one was heard of for an hour: that may be silent for a moment, and the
    smaller engine's sidecar runs fewer in any case. So does none (0): an engine that does not say how large its is.
    """
    if ALIKE * learning.kv_tokens <= kv_tokens <= learning.kv_tokens / ALIKE:
        return replace(learning, sized=now)
    if kv_tokens < learning.kv_tokens and (learning.sized == 0.0 or now - learning.sized < SMALLER_AFTER_SECONDS):
        return replace(learning, sized=learning.sized or now)
    slow = learning.target is not None and learning.target.bound is CapacityBound.LATENCY
    slots = learning.slots if slow else 0
    return replace(learning, kv_tokens=kv_tokens, sized=now, bins=(), curve=None, thought=0.0, slots=slots)


def _look(learning: Learning, before: EngineReport | None, read: EngineReport) -> Learning:
    """One more reading of one engine, unless it is the same one."""
    if before is not None and before.read_at == read.read_at:
        return learning
    grown = None if before is None else _lengths(read).since(_lengths(before))
    if before is None or grown is None:  # unknown until now, or begun anew: all it has counted is news
        return replace(learning, lengths=learning.lengths.plus(_lengths(read)))
    if grown.prompts.requests:
        learning = replace(learning, lengths=learning.lengths.plus(grown))
    window = _window(before, read)
    return learning if window is None else replace(learning, bins=seen(learning.bins, window))


def _window(before: EngineReport, read: EngineReport) -> Window | None:
    """What an engine did between two readings; None where that is too little, or too uneven, to say anything.

    The time that all requests waited for tokens, divided by the time that passed, is how many of them there were. Where
    the engine does not measure it, those count that ran at both ends.
    """
    seconds, tokens = read.read_at - before.read_at, read.tokens_total - before.tokens_total
    waited = read.token_seconds_total - before.token_seconds_total
    if not read.token_seconds_total:
        waited = seconds * (before.running + read.running) / 2
    fewest, most = sorted((before.running, read.running))
    even = fewest >= 1 and fewest >= most / 2
    if not 0 < seconds <= LONGEST_WINDOW_SECONDS or tokens < LEAST_TOKENS or waited <= 0 or not even:
        return None
    return Window(waited / seconds, (read.kv_usage + before.kv_usage) / 2, waited / tokens)


def _think(learning: Learning, spec: PoolSpec, table: int | None, now: float) -> Learning:
    """The target, and C a little nearer to it."""
    curve, aim = fit(learning.bins), wished(spec)
    live = learning.lengths.p90() or learning.live_tokens
    dialect, args = engines.of(spec.engine.type), spec.engine.args
    usual = None if dialect.batch_flag.said(args) else dialect.usual_batch * dialect.ranks(args)
    target = rule.capacity(
        CapacityInputs(
            max_num_seqs=usual,  # what is said holds at once, see Learning.capacity
            kv_tokens=learning.kv_tokens or None,
            live_tokens=live or rule.TYPICAL_TOKENS,
            latency=latency_bound(learning.bins, curve, aim),
            table=table,
        )
    )
    if target.bound is CapacityBound.UNKNOWN:
        return replace(learning, curve=curve, live_tokens=live, thought=now)
    hours = min(now - learning.thought, 5 * THINK_SECONDS) / 3600 if learning.thought else 0.0
    exact, slots = float(target.slots), target.slots
    if learning.slots:
        exact = rule.moved(learning.exact, target.slots, hours)
        slots = rule.told(learning.slots, exact)
    return replace(
        learning,
        curve=curve,
        live_tokens=live,
        lengths=Lengths().plus(learning.lengths, 0.5 ** (3600 * hours / LENGTHS_HALVE_SECONDS)),
        target=target,
        exact=exact,
        slots=slots,
        since=now if slots != learning.slots else learning.since,
        thought=now,
    )


def engine_of(statefulset: Object | None) -> str:
    """What a pool's engines are: changes with whatever its pods are made from, but for the router."""
    record = recorded(statefulset)
    return "" if record is None else fingerprint([record.inputs, record.images.engine, record.images.simulator])


def known_for(spec: PoolSpec, live_tokens: int = 0) -> int | None:
    """Slots by GPU and model, where a node selector names the GPU; None where either is not in the table."""
    pod = (spec.engine.pod_template or {}).get("spec")
    selector = pod.get("nodeSelector") if isinstance(pod, dict) else None
    dialect = engines.of(spec.engine.type)
    if dialect.simulated or not isinstance(selector, dict):
        return None
    gpu = next((str(selector[label]) for label in _GPU_LABELS if label in selector), "")
    ranks = dialect.ranks(spec.engine.args)
    each = max(1, spec.engine.gpus // ranks)
    share = dialect.memory_share(spec.engine.args, spec.engine.image or "")
    found = slots_of(gpu, spec.model.name, each, live_tokens or rule.TYPICAL_TOKENS, wished(spec), share)
    return None if found is None else found * ranks


def wished(spec: PoolSpec) -> float | None:
    """The pool's own target, in seconds per token."""
    wished = spec.capacity.time_per_output_token_milliseconds
    return None if wished is None else wished / 1e3


def _lengths(read: EngineReport) -> Lengths:
    return Lengths(_histogram(read.prompts), _histogram(read.answers))


def _histogram(lengths: LengthReport) -> Histogram:
    counts, before = [], 0
    for bound, total in lengths.totals:
        counts.append((float(bound), float(total - before)))
        before = total
    return Histogram(tuple(counts), float(lengths.tokens))
