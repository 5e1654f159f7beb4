"""The local-first rule: where one request goes, and why (docs/rule.md).

    if a capable pool has a free slot            -> that pool
    elif priority is High                        -> cloud.primary
    elif every local pool is at capacity         -> cloud.secondary
    else                                         -> queue locally

Everything that asks "where would this go" calls `route`: gateway, sidecar, replay, CLI. A gateway calls it again with
`waited` set when the wait is over.
"""

from collections.abc import Callable

from msgspec import Struct

from forebay.resources.access_log import DecisionInputs
from forebay.resources.names import DEFAULT_POLICY
from forebay.resources.reasons import NO_MONEY, Capability, Priority, Reason
from forebay.resources.terms import CloudUse, FullWhen, GapAction, Modality, Permission, Task, Tier
from forebay.rules.facts import CloudTarget, FleetView, PolicyView, PoolView, RequestFacts, gap_tier
from forebay.rules.portability import is_portable


class Local(Struct, frozen=True, gc=False):
    """Send it to a replica of `pool` now."""

    pool: str


class Cloud(Struct, frozen=True):
    """Send it to the first of `targets` that takes it. `pool` is the one the rule would have chosen; None at a gap."""

    tier: Tier
    targets: tuple[CloudTarget, ...]
    pool: str | None = None


class Wait(Struct, frozen=True):
    """Queue for `pools`, in order of preference; `cold` when none of them runs a replica."""

    pools: tuple[str, ...]
    cold: bool = False


class Refuse(Struct, frozen=True):
    """Answer with an error. `pool` is the one the request would have gone to, if any; `text` says what the reason alone
    does not."""

    status: int
    pool: str | None = None
    text: str = ""


_ALSO_WITHOUT_REPLICAS = frozenset({Reason.REPLICA_FAILED, Reason.CLOUD_UNAVAILABLE, Reason.NOT_PORTABLE, *NO_MONEY})
"""Why it may not leave, where that says more than that nobody serves. The others say that its pools are full."""
_NO_TASK: frozenset[Task] = frozenset()
_TEXT_ALONE = frozenset({Modality.TEXT})
ONE_MODEL = frozenset({Task.EMBED})
"""Tasks whose answers are compared with earlier ones, which only those of the same model can be."""

Destination = Local | Cloud | Wait | Refuse


class Decision(Struct, frozen=True):
    """Where one request goes, the one-word reason that every surface repeats, and what it was decided from."""

    destination: Destination
    reason: Reason
    capability: Capability
    inputs: DecisionInputs = DecisionInputs()


def route(request: RequestFacts, fleet: FleetView) -> Decision:
    """Apply the local-first rule."""
    also = request.also if request.names_a_model else _NO_TASK
    same_task = tuple(pool for pool in fleet.pools if pool.task is request.task or pool.task in also)
    if request.task in ONE_MODEL and not request.names_a_model and (names := _models(same_task)):
        text = f"answers of different models cannot be compared: name one of {', '.join(names)} in `model`"
        return Decision(Refuse(400, text=text), Reason.MODEL_REQUIRED, request.capability)
    candidates = _candidates(request, same_task)
    policy = _policy(request, candidates, fleet)
    inputs = _inputs(request, candidates)

    def decide(destination: Destination, reason: Reason) -> Decision:
        return Decision(destination, reason, request.capability, inputs)

    if not candidates and request.names_a_model:
        return decide(Refuse(404), Reason.MODEL_NOT_FOUND)
    fitting, gap = _fitting(request, candidates)
    if gap is not None:
        return _at_gap(request, policy, candidates, gap, decide)
    free = [pool for pool in fitting if pool.free_for(request.priority) > 0]
    if free and request.given_up is None:
        return decide(Local(_best(request, free).name), Reason.LOCAL_CAPACITY)
    return _when_full(request, policy, fitting, same_task, decide)


def may_overflow(policy: PolicyView | None, pool: CloudUse) -> bool:
    """Whether a Normal request may leave a pool that is full; `pool` is that pool's own word about the cloud."""
    if policy is None or CloudUse.NEVER in (policy.cloud, pool):
        return False
    return bool(policy.targets_for(Priority.NORMAL))


Decide = Callable[[Destination, Reason], Decision]


def _candidates(request: RequestFacts, pools: tuple[PoolView, ...]) -> tuple[PoolView, ...]:
    if request.names_a_model:
        return tuple(pool for pool in pools if request.model in pool.names)
    capable = tuple(pool for pool in pools if request.capability in pool.capabilities)
    if not capable and request.guessed:  # a guess makes no gap
        return tuple(pool for pool in pools if Capability.GENERAL in pool.capabilities)
    return capable


def _models(pools: tuple[PoolView, ...]) -> list[str]:
    """What these pools call their models, where they share no name and so are different ones."""
    if len(pools) < 2 or frozenset(pools[0].names).intersection(*(pool.names for pool in pools[1:])):
        return []
    return sorted({pool.names[0] for pool in pools if pool.names})


def _policy(request: RequestFacts, candidates: tuple[PoolView, ...], fleet: FleetView) -> PolicyView | None:
    """A named pool follows its own reference; what names no pool, or a pool without one, follows `default`."""
    named = candidates[0].policy if request.names_a_model and candidates else None
    return fleet.policies.get(named or DEFAULT_POLICY)


def _inputs(request: RequestFacts, candidates: tuple[PoolView, ...]) -> DecisionInputs:
    return DecisionInputs(
        sum(pool.free_for(request.priority) for pool in candidates),
        max((pool.report_age_seconds for pool in candidates), default=0.0),
        sum(pool.queued for pool in candidates),
    )


def _fitting(request: RequestFacts, candidates: tuple[PoolView, ...]) -> tuple[tuple[PoolView, ...], Reason | None]:
    """Candidates that can serve this request at all, or the reason why none can."""
    if not candidates:
        return (), Reason.CAPABILITY_GAP
    takes_input = tuple(pool for pool in candidates if request.inputs <= pool.inputs)
    if not takes_input:
        return (), Reason.MODALITY_GAP
    long_enough = _long_enough(request, takes_input)
    if not long_enough:
        return (), Reason.CONTEXT_LENGTH_GAP
    if len(long_enough) > 1:
        long_enough = tuple(sorted(long_enough, key=lambda pool: _doubts(request, pool)))
    return long_enough, None


def _long_enough(request: RequestFacts, pools: tuple[PoolView, ...]) -> tuple[PoolView, ...]:
    """Pools whose context may hold it, whatever their tokenizer, and is longer than any that was too short."""
    needed, too_short = request.needed_tokens, 0
    if request.refused_by:
        too_short = max((pool.context_tokens or 0 for pool in pools if pool.name in request.refused_by), default=0)
        pools = tuple(pool for pool in pools if pool.name not in request.refused_by)
    return tuple(
        pool
        for pool in pools
        if pool.context_tokens is None or (needed <= pool.context_tokens and too_short < pool.context_tokens)
    )


def _doubts(request: RequestFacts, pool: PoolView) -> int:
    """How doubtful it is that a pool takes this request: its engine would decide, and others come first."""
    text_alone = request.unknown_input and pool.inputs == _TEXT_ALONE
    tight = pool.context_tokens is not None and request.likely_tokens > pool.context_tokens
    return text_alone + tight


def _best(request: RequestFacts, free: list[PoolView]) -> PoolView:
    """The pool that is surest to take it, with most room; of equals the first by name, so that equal inputs give equal
    answers."""
    priority = request.priority
    return min(free, key=lambda pool: (_doubts(request, pool), -pool.free_for(priority), pool.name))


def _at_gap(
    request: RequestFacts,
    policy: PolicyView | None,
    candidates: tuple[PoolView, ...],
    gap: Reason,
    decide: Decide,
) -> Decision:
    pool = candidates[0].name if candidates else None
    refusal = 404 if gap is Reason.CAPABILITY_GAP else 400
    if policy is None or policy.gap is GapAction.REJECT:
        return decide(Refuse(refusal, pool), gap)
    if policy.gap is GapAction.QUEUE and not request.waited:
        return decide(Wait(tuple(p.name for p in candidates), cold=True), gap)
    if policy.gap is GapAction.QUEUE:
        return decide(Refuse(refusal, pool), gap)
    tier = gap_tier(request.priority)
    blocked = _blocked(request, policy, candidates)
    if blocked is not None:
        down = (
            blocked is Reason.CLOUD_UNAVAILABLE or blocked in NO_MONEY
        )  # it may come back; and it is no demand for local slots
        return decide(Refuse(503) if down else Refuse(refusal, pool), blocked)
    targets = _portable(request, policy.targets[tier])
    if not targets:
        return decide(Refuse(refusal, pool), Reason.NOT_PORTABLE)
    return decide(Cloud(tier, targets), gap)


def _when_full(
    request: RequestFacts,
    policy: PolicyView | None,
    fitting: tuple[PoolView, ...],
    same_task: tuple[PoolView, ...],
    decide: Decide,
) -> Decision:
    """No fitting pool has a free slot."""
    surest = _surest(request, fitting)
    chosen = _would_choose(surest)
    nobody = not any(pool.present for pool in fitting)
    tier = None if policy is None else policy.tier_for(request.priority)
    blocked = Reason.REPLICA_FAILED if request.own_fault else _blocked(request, policy, fitting)
    if policy is not None and tier is not None and blocked is None:
        reason = _overflow_reason(request, policy, fitting, same_task)
        targets = _portable(request, policy.targets[tier])
        if reason is not None and targets:
            return decide(Cloud(tier, targets, chosen), reason)
        blocked = Reason.NOT_PORTABLE if not targets else None
    if not request.waited and request.given_up is None:
        return decide(Wait(tuple(pool.name for pool in surest), cold=nobody), Reason.QUEUED)
    if request.given_up is Reason.REPLICA_FAILED:
        return decide(Refuse(503, chosen), request.given_up)
    if any(pool.serving for pool in fitting):
        return decide(Refuse(429, chosen), blocked or Reason.QUEUE_EXPIRED)
    return decide(Refuse(503, chosen), blocked if blocked in _ALSO_WITHOUT_REPLICAS else Reason.NO_REPLICAS)


def _surest(request: RequestFacts, fitting: tuple[PoolView, ...]) -> tuple[PoolView, ...]:
    """Those worth waiting for: a pool that may well refuse it is none, where others would not."""
    if len(fitting) == 1:
        return fitting
    least = _doubts(request, fitting[0])
    return tuple(pool for pool in fitting if _doubts(request, pool) == least)


def _would_choose(fitting: tuple[PoolView, ...]) -> str:
    """The pool that demand is counted at: the first present one with the shortest queue."""
    return min(fitting, key=lambda pool: (not pool.present, pool.queued, pool.name)).name


def _blocked(request: RequestFacts, policy: PolicyView | None, pools: tuple[PoolView, ...]) -> Reason | None:
    """Why this request may not leave, whatever else holds; the strictest word wins."""
    if policy is None:
        return Reason.NO_POLICY
    uses = (request.cloud, policy.cloud, *(pool.cloud for pool in pools[:1] if request.names_a_model))
    everywhere = bool(pools) and all(pool.cloud is CloudUse.NEVER for pool in pools)
    if CloudUse.NEVER in uses or everywhere or request.stored_state:
        return Reason.LOCAL_ONLY
    if request.cloud_failed:
        return Reason.CLOUD_UNAVAILABLE
    if request.no_money is not None:
        return request.no_money
    chosen = request.names_a_model or request.task in ONE_MODEL
    if chosen and pools and not any(p.substitute is Permission.ALLOWED for p in pools):
        return Reason.SUBSTITUTION_DENIED
    return None


def _portable(request: RequestFacts, targets: tuple[CloudTarget, ...]) -> tuple[CloudTarget, ...]:
    return tuple(target for target in targets if is_portable(request, target.model))


def _overflow_reason(
    request: RequestFacts, policy: PolicyView, fitting: tuple[PoolView, ...], same_task: tuple[PoolView, ...]
) -> Reason | None:
    """Why it may leave now, or None while it has to wait."""
    nobody = not any(pool.present for pool in fitting)
    if request.given_up is not None:
        return request.given_up
    if request.waited:
        return Reason.NO_REPLICAS if nobody else Reason.QUEUE_EXPIRED
    if request.priority is Priority.HIGH:
        return Reason.HIGH_PRIORITY_OVERFLOW
    if nobody:
        return None  # nobody runs here: wait as long as queue.coldStartWaitSeconds says, then leave
    if policy.full_when is FullWhen.CAPABLE_POOLS_FULL:
        return Reason.CAPABLE_POOLS_FULL
    local = [pool for pool in same_task if pool.present]
    return Reason.ALL_POOLS_FULL if all(pool.free_for(request.priority) == 0 for pool in local) else None
