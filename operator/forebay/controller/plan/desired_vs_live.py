"""One object as it should be against the same object as it is: whether to apply it, and why. Pure."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from forebay.controller.cluster.kubernetes_api import Object
from forebay.controller.observe.memory import FleetMemory
from forebay.controller.observe.observe import ObservedFleet
from forebay.controller.plan.actions import Apply, Note, Regarding
from forebay.controller.plan.drift import applied_hash, differences, stamped
from forebay.controller.report import event_messages
from forebay.resources import names

_APPLIED = f"metadata.annotations.{names.ANNOTATION_APPLIED}"


def desired_vs_live(
    desired: Object, fleet: ObservedFleet, memory: FleetMemory, about: Regarding, notes: Sequence[Note] = ()
) -> Apply | None:
    """What to apply; None when nothing differs, or when it was refused a moment ago. `about` is told of drift, once
    the answer shows what was put back: see `drift_notes`."""
    key = (desired["kind"], desired["metadata"]["name"])
    obj, live = stamped(desired), fleet.live.get(key)
    failure = memory.failures.get(key)
    if failure is not None and fleet.now < failure.retry:
        return None
    if live is None:
        return Apply(obj, "it does not exist", exists=False, notes=tuple(notes), about=about)
    if live["metadata"].get("deletionTimestamp"):
        return None  # the garbage collector is at it; the watch tells when it is gone
    known = memory.normalised.get(key, frozenset())
    paths = [path for path in differences(obj, live) if path not in known]
    if not paths:
        return None
    if applied_hash(live) == applied_hash(obj):
        # Our wish is what it was, so somebody else changed the object.
        drift = () if notes else tuple(paths)
        return Apply(obj, f"drift: {paths[0]}", exists=True, notes=tuple(notes), about=about, drift=drift)
    changed = next((path for path in paths if path != _APPLIED), "a field is no longer wanted")
    return Apply(obj, changed, exists=True, notes=tuple(notes), about=about)


def compare_and_swap(apply: Apply, live: Object | None) -> Apply:
    """Let the write fail when somebody wrote since what it says was computed."""
    if live is None:
        return apply
    metadata = {**apply.obj["metadata"], "resourceVersion": live["metadata"]["resourceVersion"]}
    return replace(apply, obj={**apply.obj, "metadata": metadata})


def drift_notes(apply: Apply, remaining: Collection[str]) -> Iterable[Note]:
    """What an apply has put back. `remaining`: paths that the API server's answer has otherwise, as where a webhook
    rewrites them: of those nothing was put back, and nobody else need have changed them."""
    back = [path for path in apply.drift if path not in remaining]
    if back and apply.about is not None:
        yield event_messages.drift(apply.about, apply.obj, back[0])


def with_created_note(applies: Iterable[Apply | None], about: Regarding, detail: str = "") -> list[Apply]:
    """The applies that are there; the last object that is new tells of all new ones."""
    found = [apply for apply in applies if apply is not None]
    new = [apply for apply in found if not apply.exists]
    if not new:
        return found
    note = event_messages.created(about, [apply.obj for apply in new], detail)
    last = new[-1]
    return [replace(apply, notes=(note, *apply.notes)) if apply is last else apply for apply in found]
