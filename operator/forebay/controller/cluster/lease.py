"""One operator acts on a namespace at a time: a Lease that it holds as long as it lives.

An operator for the whole cluster holds one in a namespace that every installation agrees on, and leaves alone the
namespaces in which another one holds its own; an operator with a list of namespaces holds one in each of them. One that
finds its Lease held waits and says so. One that loses it waits again, and forgets what it remembers of the namespaces
that it is for. Each Lease is kept by itself: what is refused in one namespace stops the work there alone.
"""

import asyncio
import contextlib
import logging
import time
from collections import Counter
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
class LeaseScope:
    """One Lease that an operator wants. Times are of its clock."""

    namespace: str  # where it lies
    held: asyncio.Event = field(default_factory=asyncio.Event)
    back: asyncio.Event = field(default_factory=asyncio.Event)  # the API server answers again
    problem: str = "the Lease is not held yet"
    losses: int = 0  # how often it went to somebody else
    known: SeenLease | None = None
    renewed: float | None = None  # when it was last ours; None while it is not
    told: str = ""  # the holder that was already spoken of

    async def wait_back(self, seconds: float) -> None:
        """Until the API server answers after a time in which it did not, but no longer than `seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.back.wait()

    def lose(self) -> None:
        """It is somebody else's, or was meanwhile."""
        if self.renewed is not None:
            log.warning("the Lease %s in %s was lost", names.LEASE, self.namespace)
            self.renewed, self.losses = None, self.losses + 1
        self.held.clear()


@dataclass(slots=True)
class Leases:
    """The Leases of one operator. `me` tells it from every other."""

    cluster: Cluster
    recorder: Recorder
    me: str
    namespaces: tuple[str, ...]  # that it is for; empty: the whole cluster
    common: str = "kube-system"  # where operators for the whole cluster hold theirs
    clock: Callable[[], float] = time.monotonic
    scopes: dict[str, LeaseScope] = field(default_factory=dict)
    """By the namespace that it is for; empty: all."""
    _others: frozenset[str] = frozenset()
    _seen_others: dict[str, SeenLease] = field(default_factory=dict)
    _left: Counter[str] = field(default_factory=Counter)  # how often a namespace was left to an operator of its own

    def __post_init__(self) -> None:
        self.scopes = {name: LeaseScope(name or self.common) for name in self.namespaces or ("",)}

    def scope(self, namespace: str) -> LeaseScope | None:
        """The Lease that a namespace is under; None for one that this operator is not for."""
        return self.scopes.get(namespace) or self.scopes.get("")

    def may_act(self, namespace: str) -> bool:
        """Whether this operator may change things in a namespace now."""
        scope = self.scope(namespace)
        return scope is not None and self._age(scope) < DURATION_SECONDS and namespace not in self._others

    def losses(self, namespace: str) -> int:
        """How often somebody else was to act in a namespace: what is remembered from before is of no use."""
        scope = self.scope(namespace)
        return (scope.losses if scope else 0) + self._left[namespace]

    def problem(self, namespace: str) -> str:
        """Why this operator does not act under the Lease for a namespace; empty when it does."""
        scope = self.scopes[namespace]
        return "" if self._age(scope) < DURATION_SECONDS else scope.problem or "the API server does not answer"

    @property
    def age(self) -> float:
        """Seconds since one of the Leases was last renewed; infinite while none is held."""
        return min(self._age(scope) for scope in self.scopes.values())

    def _age(self, scope: LeaseScope) -> float:
        held = scope.held.is_set() and scope.renewed is not None
        return self.clock() - scope.renewed if held and scope.renewed is not None else float("inf")

    async def run(self) -> None:
        """Take the Leases, then renew them for ever."""
        async with asyncio.TaskGroup() as group:
            for name in self.scopes:
                group.create_task(self._keep(name), name=f"lease {name}")

    async def release(self) -> None:
        """Let another operator, or this one's successor, begin at once."""
        await asyncio.gather(*(self._release(scope) for scope in self.scopes.values() if scope.renewed is not None))

    async def _release(self, scope: LeaseScope) -> None:
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                lease = await self.cluster.get(LEASE, scope.namespace, names.LEASE)
                if (lease.get("spec") or {}).get("holderIdentity") == self.me:
                    await self._write(scope, lease, {"holderIdentity": ""})
        except (ClusterError, TimeoutError) as error:
            log.info("the Lease in %s was not released: %s", scope.namespace, error)

    async def _keep(self, name: str) -> None:
        scope = self.scopes[name]
        while True:
            pause = 1.0
            try:
                await self.turn(name)
            except ClusterError as error:
                words = f"the Lease {names.LEASE} in {scope.namespace} could not be renewed: {error}"
                if scope.problem != words:
                    log.warning("%s", words)
                scope.problem = words
                pause = RENEW_SECONDS if error.status else pause
            except Exception:
                log.exception("lease in %s", scope.namespace)
            await asyncio.sleep(RENEW_SECONDS if scope.held.is_set() else pause)

    async def turn(self, name: str = "") -> None:
        """Take or renew one Lease. Raises ClusterError."""
        scope = self.scopes[name]
        await self._take_or_renew(scope)
        if not self.namespaces:
            self._look_at_others(*await self.cluster.list(LEASE, fields=f"metadata.name={names.LEASE}"))
        if scope.renewed is None:
            return
        if self.namespaces and not scope.held.is_set():
            await asyncio.sleep(YIELD_SECONDS)
        if scope.problem and scope.held.is_set():
            scope.back.set()
        scope.problem = ""
        scope.held.set()

    async def _take_or_renew(self, scope: LeaseScope) -> None:
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
            case Stand.FREE:
                log.info("taking the Lease in %s, which %s left", scope.namespace, scope.known.holder or "nobody")
                scope.lose()
                await self._write(scope, lease, self._word(new=True))
            case Stand.TAKEN:
                scope.lose()
                await self._taken(scope, lease, scope.known.holder)
                return
        scope.renewed = now

    async def _write(self, scope: LeaseScope, lease: Object, spec: dict[str, Any]) -> None:
        """By compare-and-swap: of two that find it free, one gets it."""
        version = lease["metadata"]["resourceVersion"]
        await self.cluster.patch(
            LEASE, scope.namespace, names.LEASE, {"metadata": {"resourceVersion": version}, "spec": spec}
        )

    async def _taken(self, scope: LeaseScope, lease: Object, holder: str) -> None:
        scope.problem = (
            f"another operator is at work: {holder} holds the Lease {names.LEASE} in {scope.namespace}; this one does "
            "nothing until that is gone. Uninstall one of the two, or give them different namespaces"
        )
        if scope.told != holder:
            scope.told = holder
            log.warning("%s", scope.problem)
            about = object_ref({**lease, "kind": LEASE.kind, "apiVersion": LEASE.api_version})
            text = f"{self.me} waits: {scope.problem}"
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
        self._left.update(others - self._others)
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
