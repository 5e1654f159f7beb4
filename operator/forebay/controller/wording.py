"""The sentences of the Events. Each carries the figures that led to what happened."""

from forebay.controller.actions import Note, Regarding
from forebay.controller.capacity import Learning
from forebay.controller.cluster import Object
from forebay.controller.demand import Count
from forebay.controller.manifests.common import Owner
from forebay.controller.sizing import PoolNumbers
from forebay.resources import names
from forebay.resources.reasons import EventReason
from forebay.rules.capacity import Capacity
from forebay.rules.scale import ScaleDecision


def owner_ref(owner: Owner, namespace: str) -> Regarding:
    """A pool or policy as the subject of an Event."""
    return Regarding(names.API_VERSION, owner.kind, namespace, owner.name, owner.uid)


def object_ref(obj: Object) -> Regarding:
    """An existing object as the subject of an Event."""
    metadata = obj["metadata"]
    return Regarding(obj["apiVersion"], obj["kind"], metadata["namespace"], metadata["name"], metadata["uid"])


def scaled(about: Regarding, before: int, decision: ScaleDecision) -> Note:
    """The size changes."""
    up = decision.replicas > before
    reason = EventReason.SCALED_UP if up else EventReason.SCALED_DOWN
    text = f"replicas {before} -> {decision.replicas}: {_figures(decision)}, reason {decision.reason}"
    return Note(about, reason, "Scale", text)


def limited(about: Regarding, decision: ScaleDecision, maximum: int) -> Note:
    """Demand asks for more than the maximum."""
    return Note(
        about,
        EventReason.SCALE_LIMITED,
        "Scale",
        f"demand {decision.demand:.1f} asks for {decision.need} replicas of {decision.capacity} slots, "
        f"scaling.maxReplicas is {maximum}: raise it, or leave the rest to queue and cloud",
        warning=True,
    )


def advised(about: Regarding, before: int, decision: ScaleDecision) -> Note:
    """What mode Advisory would do."""
    return Note(
        about,
        EventReason.SCALE_ADVISED,
        "Scale",
        f"would change replicas {before} -> {decision.advised}: {_figures(decision)}, reason {decision.reason}",
    )


def capacity_changed(about: Regarding, before: int, found: Capacity, learning: Learning) -> Note:
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


def overflow_started(about: Regarding, count: Count, numbers: PoolNumbers) -> Note:
    """Requests leave for the cloud."""
    return Note(
        about,
        EventReason.OVERFLOW_STARTED,
        "Overflow",
        f"requests overflow to the cloud{_by_reason(count)}: {numbers.running} of {numbers.slots} slots run, "
        f"{numbers.queued} wait",
    )


def overflow_stopped(about: Regarding, count: Count, seconds: float, quiet: float) -> Note:
    """No request has left for a while."""
    return Note(
        about,
        EventReason.OVERFLOW_STOPPED,
        "Overflow",
        f"no overflow for {quiet:.0f} s, after {seconds:.0f} s with {count.overflowed} requests{_by_reason(count)}",
    )


def programmed(about: Regarding, generation: int, routers: int, seconds: float) -> Note:
    """Every ready router has the table."""
    return Note(
        about,
        EventReason.ROUTERS_PROGRAMMED,
        "Program",
        f"generation {generation} of the routing table acknowledged by {routers} router{'s' * (routers != 1)} in "
        f"{seconds:.1f} s",
    )


def refused(about: Regarding, reason: EventReason, words: str) -> Note:
    """Something cannot be done; in the words of whoever says so."""
    return Note(about, reason, "Apply", words, warning=True)


def _figures(decision: ScaleDecision) -> str:
    capacity = f"{decision.capacity} a replica (Normal)" if decision.capacity else "unknown"
    return f"demand {decision.demand:.1f}, capacity {capacity}, window {decision.window:.0f} s"


def _by_reason(count: Count) -> str:
    counts = [f"{reason} {n}" for reason, n in sorted(count.by_reason.items()) if n]
    return f" ({', '.join(counts)})" if counts else ""
