"""One operator acts on a namespace at a time: a Lease that it holds as long as it lives.

An operator for the whole cluster holds one in a namespace that every installation agrees on, and leaves alone the
namespaces in which another one holds its own; an operator with a list of namespaces holds one in each of them. One that
finds its Lease held waits and says so. One that loses it ends: what it remembers is of no use any more.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from forebay.controller.cluster.event_recorder import Recorder, micro_time
from forebay.controller.cluster.kubernetes_api import LEASE, Cluster, ClusterError, Object
from forebay.controller.plan.actions import Note
from forebay.controller.report.event_messages import object_ref
from forebay.resources import names
from forebay.resources.reasons import EventReason
from forebay.word_enum import WordEnum

log = logging.getLogger(__name__)

DURATION_SECONDS: Final = 15.0
RENEW_SECONDS: Final = 5.0
YIELD_SECONDS: Final = RENEW_SECONDS + 1  # until an operator of the whole cluster has seen it, and keeps out
RELEASE_SECONDS: Final = 2.0


class LeaseLostError(Exception):
    """Somebody else holds the Lease that was ours."""


class Stand(WordEnum):
    """Whose a Lease is."""

    MINE = "Mine"
    FREE = "Free"
    TAKEN = "Taken"


@dataclass(frozen=True, slots=True)
class SeenLease:
    """A Lease as it was first seen with this content. `since` is the reader's own clock, in seconds."""

    holder: str
    renewed: str
    seconds: float
    since: float


def seen(lease: Object, before: SeenLease | None, now: float) -> SeenLease:
    """The Lease as read at `now`; what has not changed keeps the time at which it was first seen."""
    spec = lease.get("spec") or {}
    holder, renewed = str(spec.get("holderIdentity") or ""), str(spec.get("renewTime") or "")
    if before is not None and (before.holder, before.renewed) == (holder, renewed):
        return before
    return SeenLease(holder, renewed, float(spec.get("leaseDurationSeconds") or DURATION_SECONDS), now)


def stand(known: SeenLease, me: str, now: float) -> Stand:
    """Whose it is. `now` is the reader's own clock.

    A holder that stays silent for a whole duration, counted from when its last word was first seen, is gone. When it
    says that it wrote that word is of its own clock, and is compared with nothing but its other words.
    """
    if known.holder == me:
        return Stand.MINE
    if not known.holder or now - known.since > known.seconds:
        return Stand.FREE
    return Stand.TAKEN


@dataclass(slots=True)
class _Scope:
    """One Lease that this operator wants."""

    namespace: str
    known: SeenLease | None = None
    renewed: float | None = None  # when it was last ours
    told: str = ""  # the holder that was already spoken of


@dataclass(slots=True)
class Leases:
    """The Leases of one operator. `me` tells it from every other; times are of the event loop."""

    cluster: Cluster
    recorder: Recorder
    me: str
    namespaces: tuple[str, ...]  # that it is for; empty: the whole cluster
    common: str = "kube-system"  # where operators for the whole cluster hold theirs
    clock: Callable[[], float] = time.monotonic
    held: asyncio.Event = field(default_factory=asyncio.Event)
    back: asyncio.Event = field(default_factory=asyncio.Event)  # the API server answers again
    problem: str = "the Lease is not held yet"
    _scopes: list[_Scope] = field(default_factory=list)
    _others: frozenset[str] = frozenset()
    _seen_others: dict[str, SeenLease] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._scopes = [_Scope(namespace) for namespace in self.namespaces or (self.common,)]

    def may_act(self, namespace: str) -> bool:
        """Whether this operator may change things in a namespace now."""
        return self.held.is_set() and self.age < DURATION_SECONDS and namespace not in self._others

    @property
    def age(self) -> float:
        """Seconds since every Lease was last renewed; infinite before the first time."""
        times = [scope.renewed for scope in self._scopes]
        return self.clock() - min(t for t in times if t is not None) if None not in times else float("inf")

    async def run(self) -> None:
        """Take the Leases, then renew them for ever. Raises LeaseLostError."""
        while True:
            try:
                await self._round()
            except ClusterError as error:
                self.problem = f"the Lease {names.LEASE} could not be renewed: {error}"
                log.warning("%s", self.problem)
            await asyncio.sleep(RENEW_SECONDS if self.held.is_set() else 1.0)

    async def wait_back(self, seconds: float) -> None:
        """Until the API server answers after a time in which it did not, but no longer than `seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.back.wait()

    async def release(self) -> None:
        """Let another operator, or this one's successor, begin at once."""
        for scope in self._scopes:
            if scope.renewed is None:
                continue
            try:
                async with asyncio.timeout(RELEASE_SECONDS):
                    lease = await self.cluster.get(LEASE, scope.namespace, names.LEASE)
                    if (lease.get("spec") or {}).get("holderIdentity") == self.me:
                        await self._write(scope, lease, {"holderIdentity": ""})
            except (ClusterError, TimeoutError) as error:
                log.info("the Lease in %s was not released: %s", scope.namespace, error)

    async def _round(self) -> None:
        for scope in self._scopes:
            await self._take_or_renew(scope)
        if not self.namespaces:
            self._look_at_others(*await self.cluster.list(LEASE, fields=f"metadata.name={names.LEASE}"))
        if any(scope.renewed is None for scope in self._scopes):
            return
        if self.namespaces and not self.held.is_set():
            await asyncio.sleep(YIELD_SECONDS)
        if self.problem and self.held.is_set():
            self.back.set()
        self.problem = ""
        self.held.set()

    async def _take_or_renew(self, scope: _Scope) -> None:
        now = self.clock()
        try:
            lease = await self.cluster.get(LEASE, scope.namespace, names.LEASE)
        except ClusterError as error:
            if not error.not_found:
                raise
            await self.cluster.create(_lease(scope.namespace, self._word(new=True)))
            scope.renewed = now
            return
        scope.known = seen(lease, scope.known, now)
        match stand(scope.known, self.me, now):
            case Stand.MINE:
                await self._write(scope, lease, self._word(new=scope.renewed is None))
            case Stand.FREE if scope.renewed is None:
                log.info("taking the Lease in %s, which %s left", scope.namespace, scope.known.holder or "nobody")
                await self._write(scope, lease, self._word(new=True))
            case Stand.FREE | Stand.TAKEN:
                await self._taken(scope, lease, scope.known.holder)
                return
        scope.renewed = now

    async def _write(self, scope: _Scope, lease: Object, spec: dict[str, Any]) -> None:
        """By compare-and-swap: of two that find it free, one gets it."""
        version = lease["metadata"]["resourceVersion"]
        await self.cluster.patch(
            LEASE, scope.namespace, names.LEASE, {"metadata": {"resourceVersion": version}, "spec": spec}
        )

    async def _taken(self, scope: _Scope, lease: Object, holder: str) -> None:
        if scope.renewed is not None:
            raise LeaseLostError(f"the Lease {names.LEASE} in {scope.namespace} is held by {holder or 'nobody'} now")
        self.problem = (
            f"another operator is at work: {holder} holds the Lease {names.LEASE} in {scope.namespace}; this one does "
            "nothing until that is gone. Uninstall one of the two, or give them different namespaces"
        )
        if scope.told != holder:
            scope.told = holder
            log.warning("%s", self.problem)
            about = object_ref({**lease, "kind": LEASE.kind, "apiVersion": LEASE.api_version})
            text = f"{self.me} waits: {self.problem}"
            await self.recorder.write(Note(about, EventReason.OPERATOR_WAITS, "Wait", text, warning=True))

    def _word(self, *, new: bool) -> dict[str, Any]:
        now = micro_time(datetime.now(UTC))
        word: dict[str, Any] = {
            "holderIdentity": self.me, "leaseDurationSeconds": int(DURATION_SECONDS), "renewTime": now,
        }  # fmt: skip
        return {**word, "acquireTime": now} if new else word

    def _look_at_others(self, leases: Iterable[Object], _: str) -> None:
        """Namespaces in which an operator of their own is alive."""
        now, known = self.clock(), {}
        for lease in leases:
            if (namespace := lease["metadata"]["namespace"]) != self.common:
                known[namespace] = seen(lease, self._seen_others.get(namespace), now)
        self._seen_others = known
        others = {name for name, it in known.items() if stand(it, self.me, now) is Stand.TAKEN}
        for name in sorted(others ^ self._others):
            whose = "has an operator of its own and is left to it" if name in others else "is ours again"
            log.info("namespace %s %s", name, whose)
        self._others = frozenset(others)


def _lease(namespace: str, spec: dict[str, Any]) -> Object:
    return {
        "apiVersion": LEASE.api_version,
        "kind": LEASE.kind,
        "metadata": {
            "name": names.LEASE,
            "namespace": namespace,
            "labels": {names.LABEL_NAME: "forebay", names.LABEL_COMPONENT: "operator"},
        },
        "spec": spec,
    }
