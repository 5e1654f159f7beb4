"""Events of events.k8s.io/v1: what is said again within six minutes is counted in a series, not written anew.

A change of size is never counted with another: a series has the time of its last one alone, and the steps of a pool
that goes up and down again with the same figures would be told out of their order.
Each object has a budget of new Events an hour. What is beyond it is counted, and told with the next that is written.
"""

import asyncio
import logging
import secrets
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from forebay.controller.cluster.kubernetes_api import EVENT, Cluster, ClusterError, Object
from forebay.controller.plan.actions import Note
from forebay.resources import names
from forebay.resources.reasons import EventReason

log = logging.getLogger(__name__)

SERIES_SECONDS: Final = 360.0
REMEMBERED: Final = 1024
BUDGET: Final = 60  # new Events of one object an hour
HOUR: Final = 3600.0
EACH_ALONE: Final = frozenset({EventReason.SCALED_UP, EventReason.SCALED_DOWN, EventReason.REPLICA_WITHDRAWN})
NOTE_BYTES: Final = 1024  # the API's limit; it says characters and counts bytes


@dataclass(slots=True)
class _Series:
    name: str
    count: int
    last: float


@dataclass(slots=True)
class _Budget:
    """New Events that one object may still have; they come back evenly over the hour."""

    left: float
    at: float
    left_out: int = 0

    def spend(self, now: float) -> bool:
        self.left = min(self.left + (now - self.at) * BUDGET / HOUR, BUDGET)
        self.at = now
        if self.left < 1:
            self.left_out += 1
            return False
        self.left -= 1
        return True


class Recorder:
    """Writes Events. A failure to write one is logged and goes no further."""

    def __init__(
        self, cluster: Cluster, instance: str, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._cluster = cluster
        self._instance = instance[:128]
        self._clock = clock
        self._series: dict[tuple[str, str, str], _Series] = {}
        self._budgets: dict[str, _Budget] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)  # by namespace
        self.left_out = 0
        """Events that were beyond a budget."""

    async def write(self, note: Note) -> None:
        """Write the Event, or count it in the series it continues."""
        async with self._locks[note.regarding.namespace]:
            try:
                await self._write(note, self._clock())
            except ClusterError as error:
                log.warning("event %s about %s not written: %s", note.reason, note.regarding.name, error)

    async def _write(self, note: Note, now: datetime) -> None:
        key = (note.regarding.uid, note.reason, note.text)
        counted = self._series.get(key) if note.reason not in EACH_ALONE else None
        if counted is not None and now.timestamp() - counted.last <= SERIES_SECONDS:
            counted.count, counted.last = counted.count + 1, now.timestamp()
            observed = {"series": {"count": counted.count, "lastObservedTime": micro_time(now)}}
            try:
                await self._cluster.patch(EVENT, note.regarding.namespace, counted.name, observed)
                return
            except ClusterError as error:
                if not error.not_found:
                    raise
        budget = self._budgets.setdefault(note.regarding.uid, _Budget(BUDGET, now.timestamp()))
        _bounded(self._budgets)
        if not budget.spend(now.timestamp()):
            self.left_out += 1
            log.info("event %s about %s is beyond its budget", note.reason, note.regarding.name)
            return
        text = f"{note.text} ({budget.left_out} Events before this one were left out)" if budget.left_out else note.text
        body = event_body(replace(note, text=text), self._instance, now)
        await self._cluster.create(body)
        budget.left_out = 0
        self._series.pop(key, None)
        self._series[key] = _Series(body["metadata"]["name"], 1, now.timestamp())
        _bounded(self._series)


def _bounded(known: dict[Any, Any]) -> None:
    """Forget the oldest."""
    while len(known) > REMEMBERED:
        del known[next(iter(known))]


def event_body(note: Note, instance: str, now: datetime) -> Object:
    """The Event as it is created; its name is unlike every other."""
    about = note.regarding
    return {
        "apiVersion": EVENT.api_version,
        "kind": EVENT.kind,
        "metadata": {"name": f"{about.name[:236]}.{secrets.token_hex(8)}", "namespace": about.namespace},
        "eventTime": micro_time(now),
        "reportingController": names.REPORTING_CONTROLLER,
        "reportingInstance": instance,
        "action": note.action,
        "reason": note.reason.value,
        "type": "Warning" if note.warning else "Normal",
        "note": _shortened(note.text),
        "regarding": {
            "apiVersion": about.api_version,
            "kind": about.kind,
            "namespace": about.namespace,
            "name": about.name,
            "uid": about.uid,
        },
    }


def _shortened(text: str) -> str:
    encoded = text.encode()
    if len(encoded) <= NOTE_BYTES:
        return text
    return encoded[: NOTE_BYTES - 3].decode(errors="ignore") + "..."


def micro_time(time: datetime) -> str:
    """A metav1.MicroTime."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
