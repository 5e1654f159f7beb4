"""The sentences of the Events. Each carries the figures that led to what happened."""

from decimal import Decimal

from forebay.controller.cluster.kubernetes_api import Object
from forebay.controller.manifests.common import Owner
from forebay.controller.plan.actions import Note, Regarding
from forebay.controller.sizing.capacity_learning import Learning
from forebay.controller.sizing.pool_load import PoolLoad
from forebay.controller.sizing.sizing import Sizing
from forebay.resources import names
from forebay.resources.reasons import EventReason, ScaleReason
from forebay.rules.arbitrate import PlacementAttempt
from forebay.rules.budget.picodollars import dollars_text
from forebay.rules.capacity import ReplicaCapacity
from forebay.rules.lost_demand import Count
from forebay.rules.scale import ScaleDecision


def owner_ref(owner: Owner, namespace: str) -> Regarding:
    """A pool or policy as the subject of an Event."""
    return Regarding(names.API_VERSION, owner.kind, namespace, owner.name, owner.uid)


def object_ref(obj: Object) -> Regarding:
    """An existing object as the subject of an Event."""
    metadata = obj["metadata"]
    return Regarding(obj["apiVersion"], obj["kind"], metadata["namespace"], metadata["name"], metadata["uid"])


def scaled(about: Regarding, before: int, sizing: Sizing, trouble: str, now: float) -> Note:
    """The size changes. `trouble`: why a replica has no node."""
    decision = sizing.decision
    text = f"replicas {before} -> {decision.replicas}: {_figures(decision)}, reason {decision.reason}"
    if decision.reason is ScaleReason.WITHDRAWN:
        again = asked_again(sizing.memory.attempt, now)
        text = f"{text}: no node took a replica{_words(trouble)}; {again}"
        return Note(about, EventReason.REPLICA_WITHDRAWN, "Scale", text, warning=True)
    if sizing.wanted > decision.replicas > before:
        text += f", {sizing.wanted} wanted: one is asked for at a time"
    reason = EventReason.SCALED_UP if decision.replicas > before else EventReason.SCALED_DOWN
    return Note(about, reason, "Scale", text)


def held(about: Regarding, why: ScaleReason, sizing: Sizing, trouble: str, now: float) -> Note:
    """Something is in the way of the size that demand asks for."""
    decision = sizing.decision
    figures = f"{_figures(decision)}, reason {why}"
    stays = f"replicas stay at {decision.replicas}, demand asks for {max(decision.need, sizing.wanted)}"
    match why:
        case ScaleReason.MAXIMUM:
            advice = "raise scaling.maxReplicas, or leave the rest to queue and cloud"
            return Note(about, EventReason.SCALE_LIMITED, "Scale", f"{stays}: {figures}; {advice}", warning=True)
        case ScaleReason.REPLICA_UNPLACED:
            waited = now - sizing.memory.attempt.since
            text = f"{decision.replicas} replicas are asked for, {sizing.numbers.placed} have a node, the next one "
            text += f"has waited {waited:.0f} s{_words(trouble)}: {figures}"
            return Note(about, EventReason.REPLICA_UNPLACED, "Scale", text, warning=True)
        case ScaleReason.AWAITS_TURN:
            text = f"{stays}: {figures}; {sizing.ahead} asks for the same GPUs first"
        case ScaleReason.SHARED_DEMAND:
            text = f"{stays}: {figures}; {shared_demand(sizing.ahead)}"
        case _:
            text = f"{stays}: {figures}"
    return Note(about, EventReason.SCALE_HELD, "Scale", text)


def asked_again(attempt: PlacementAttempt, now: float) -> str:
    """When a replica that was withdrawn is asked for again."""
    minutes = max(attempt.retry - now, 0.0) / 60
    return f"it is asked for again in {minutes:.0f} min, or when a node has more GPUs"


def shared_demand(ahead: str) -> str:
    """Whose start brings the room that a pool would ask for."""
    return f"{ahead} serves the same requests and starts a replica"


def advised(about: Regarding, before: int, decision: ScaleDecision) -> Note:
    """What mode Advisory would do."""
    return Note(
        about,
        EventReason.SCALE_ADVISED,
        "Scale",
        f"would change replicas {before} -> {decision.advised}: {_figures(decision)}, reason {decision.reason}",
    )


def capacity_changed(about: Regarding, before: int, found: ReplicaCapacity, learning: Learning) -> Note:
    """A replica runs more or fewer requests at a time."""
    curve = learning.curve
    shown = ""
    if curve is not None:
        each = 1e3 * (curve.per_request + curve.per_fill * curve.fill_per_request)
        shown = f", a token takes {1e3 * curve.base:.1f} ms and {each:.2f} ms for each request"
    return Note(
        about,
        EventReason.CAPACITY_CHANGED,
        "Learn",
        f"slots of a replica {before} -> {found.slots}, bound {found.bound}: {learning.kv_tokens} tokens of KV cache, "
        f"{learning.live_tokens} live tokens in nine of ten requests{shown}",
    )


def engine_unsupported(about: Regarding, words: str) -> Note:
    """An engine says a version that forebay was not tried with."""
    text = f"an engine says {words}; it may work, and nobody has tried it with this release of forebay"
    return Note(about, EventReason.ENGINE_UNSUPPORTED, "Look", text, warning=True)


def restored(about: Regarding, found: int, size: int) -> Note:
    """Somebody scaled the StatefulSet by hand."""
    return Note(
        about,
        EventReason.SCALE_RESTORED,
        "Scale",
        f"the StatefulSet's replicas were changed to {found} by somebody else and put back to {size}: "
        "change the pool's scaling.minReplicas or maxReplicas, or set scaling.mode: Manual and scale the pool",
        warning=True,
    )


def drift(about: Regarding, obj: Object, path: str) -> Note:
    """Somebody changed what is ours."""
    what = f"{obj['kind']} {obj['metadata']['name']}"
    return Note(
        about, EventReason.DRIFT_CORRECTED, "Apply", f"{what}: {path} was changed by somebody else and put back"
    )


def created(about: Regarding, objects: list[Object], detail: str) -> Note:
    """New objects, in one sentence."""
    which = ", ".join(f"{obj['kind']} {obj['metadata']['name']}" for obj in objects)
    return Note(about, EventReason.CREATED, "Create", f"created {which}{detail}")


def template_changed(about: Regarding, why: str) -> Note:
    """Replicas will be replaced."""
    return Note(
        about, EventReason.TEMPLATE_CHANGED, "Apply", f"the pod template changes because {why}; replicas follow in turn"
    )


def overflow_started(about: Regarding, count: Count, numbers: PoolLoad) -> Note:
    """Requests leave for the cloud."""
    return Note(
        about,
        EventReason.OVERFLOW_STARTED,
        "Overflow",
        f"requests overflow to the cloud{_by_reason(count)}{_cost(count)}: {numbers.running} of {numbers.slots} slots "
        f"run, {numbers.queued} wait",
    )


def overflow_stopped(about: Regarding, count: Count, seconds: float, quiet: float) -> Note:
    """No request has left for a while. An operator that began in between knows nothing of what left before."""
    text = f"no overflow for {quiet:.0f} s, "
    if count.overflowed:
        text += f"after {seconds:.0f} s with {count.overflowed} requests{_by_reason(count)}{_cost(count)}"
    else:
        text += "nor since this operator began; what left before is in status.overflow"
    return Note(about, EventReason.OVERFLOW_STOPPED, "Overflow", text)


def programmed(about: Regarding, generation: int, routers: int, seconds: float) -> Note:
    """Every ready router has the table."""
    return Note(
        about,
        EventReason.ROUTERS_PROGRAMMED,
        "Program",
        f"generation {generation} of the routing table acknowledged by {routers} router{'s' * (routers != 1)} in "
        f"{seconds:.1f} s",
    )


def dollars(money: Decimal | float) -> str:
    """Money for people: cents, and the first digits of what is less."""
    return f"{money:.2f}" if money >= 1 else f"{money:.2g}" if money < Decimal("0.001") else f"{money:.4f}"


def refused(about: Regarding, reason: EventReason, words: str) -> Note:
    """Something cannot be done; in the words of whoever says so."""
    return Note(about, reason, "Apply", words, warning=True)


def _figures(decision: ScaleDecision) -> str:
    capacity = f"{decision.capacity} a replica (Normal)" if decision.capacity else "unknown"
    worth = ""
    if decision.kept is not None and decision.pays_from is not None:
        worth = f", the replica keeps {decision.kept:.1f} requests from leaving and pays from {decision.pays_from:.1f}"
    if decision.unpaid:
        worth = ", sized as local-only: the budget does not pay for what would leave"
    return f"demand {decision.demand:.1f}, capacity {capacity}, window {decision.window:.0f} s{worth}"


def _words(trouble: str) -> str:
    return f" ({trouble})" if trouble else ""


def _cost(count: Count) -> str:
    return f", {dollars(count.cost)} US dollars" if count.cost else ""


def _by_reason(count: Count) -> str:
    counts = [f"{reason} {n}" for reason, n in sorted(count.by_reason.items()) if n]
    return f" ({', '.join(counts)})" if counts else ""


def budget_threshold(about: Regarding, percent: int, spent: int, amount: int) -> Note:
    """So much of a budget is spent."""
    text = f"{percent} % of the budget are spent: ${dollars_text(spent)} of ${dollars_text(amount)}"
    return Note(about, EventReason.BUDGET_THRESHOLD, "Budget", text, warning=True)


def budget_spent(about: Regarding, spent: int, amount: int, short: int) -> Note:
    """A request no longer fits."""
    text = (
        f"the budget is spent: ${dollars_text(spent)} of ${dollars_text(amount)}; requests that may cost "
        f"${dollars_text(short)} or more stay local until the next period, or until budget.amount is raised"
    )
    return Note(about, EventReason.BUDGET_SPENT, "Budget", text, warning=True)


def budget_renewed(about: Regarding, spent: int, last: int, amount: int) -> Note:
    """A period has begun."""
    text = f"a new period of the budget has begun with ${dollars_text(amount)}; the last one came to "
    text += f"${dollars_text(spent)} of ${dollars_text(last)}, without what is reserved for High"
    return Note(about, EventReason.BUDGET_RENEWED, "Budget", text)


def lease_lost(about: Regarding, lost: int) -> Note:
    """A gateway is gone with money."""
    text = f"a gateway is gone with ${dollars_text(lost)} of the budget that it did not account for; it counts as spent"
    return Note(about, EventReason.LEASE_LOST, "Budget", text, warning=True)
