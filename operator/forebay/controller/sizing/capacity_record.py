"""What was learnt of a pool's engines as its status holds it: for people, and for the next operator. Pure."""

from datetime import datetime

from forebay.controller.report.conditions import rfc3339
from forebay.controller.sizing.capacity_learning import Learning, wished
from forebay.resources.capacity_status import CapacityStatus, CurveStatus
from forebay.resources.pool import PoolSpec
from forebay.resources.reasons import CapacityBound
from forebay.rules.capacity import ReplicaCapacity
from forebay.rules.curve import Bin, Curve, fit


def restored(kept: CapacityStatus) -> Learning:
    """After a restart: C moves on from where it was."""
    bins = tuple(found for text in kept.seen if (found := _bin(text)) is not None)
    bound = next((word for word in CapacityBound if word == kept.learnt_bound), None)
    return Learning(
        engine=kept.engine,
        kv_tokens=kept.kv_tokens,
        bins=bins,
        curve=fit(bins),
        live_tokens=kept.live_tokens,
        target=ReplicaCapacity(kept.target, bound) if bound is not None else None,
        exact=_number(kept.exact) or float(kept.learnt),
        slots=kept.learnt if bound is not None else 0,
        since=_time(kept.since),
    )


def capacity_status(learning: Learning, spec: PoolSpec) -> CapacityStatus:
    """As it stands in the pool's status, complete enough to go on from."""
    found, curve, target = learning.capacity(spec), learning.curve, learning.target
    aim = wished(spec)
    seconds = curve.target(aim) if curve is not None else aim
    return CapacityStatus(
        slots=found.slots if found.bound is not CapacityBound.UNKNOWN else 0,
        bound=found.bound.value,
        unknown=learning.unknown(spec) or "",
        learnt=learning.slots,
        learnt_bound=target.bound.value if target is not None else "",
        exact=f"{learning.exact:.3f}",
        target=target.slots if target is not None else 0,
        since=rfc3339(learning.since) if learning.since else "",
        kv_tokens=learning.kv_tokens,
        live_tokens=learning.live_tokens,
        target_milliseconds=f"{1e3 * seconds:.1f}" if seconds is not None else "",
        curve=_curve_status(curve) if curve is not None else None,
        samples=sum(item.windows for item in learning.bins),
        engine=learning.engine,
        seen=[_text(item) for item in learning.bins],
    )


def _curve_status(curve: Curve) -> CurveStatus:
    return CurveStatus(
        base_milliseconds=f"{1e3 * curve.base:.3f}",
        per_request_milliseconds=f"{1e3 * curve.per_request:.4f}",
        per_fill_milliseconds=f"{1e3 * curve.per_fill:.3f}",
        fill_per_request=f"{curve.fill_per_request:.5f}",
        most_running=f"{curve.most:.1f}",
        error_percent=f"{100 * curve.error:.1f}",
    )


def _text(item: Bin) -> str:
    return f"{item.running:.2f} {item.fill:.3f} {1e3 * item.seconds:.3f} {item.windows}"


def _bin(text: str) -> Bin | None:
    """None for what does not parse: somebody else's writing is no reason to stop."""
    numbers = [_number(word) for word in text.split()]
    if len(numbers) != 4 or min(numbers[0], numbers[2]) <= 0 or numbers[3] < 1:
        return None
    running, fill, milliseconds, windows = numbers
    return Bin(running, fill, milliseconds / 1e3, int(windows))


def _number(text: str) -> float:
    try:
        return max(0.0, float(text))
    except ValueError:
        return 0.0


def _time(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0
