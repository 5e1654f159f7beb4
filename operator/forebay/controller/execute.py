"""Do what the plan says, in order. Too dull for bugs: all it decides is what to leave out after a failure."""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Final

from forebay.controller.cluster.event_recorder import Recorder
from forebay.controller.cluster.kubernetes_api import POD, SECRET, Cluster, ClusterError, Object, kind_of
from forebay.controller.cluster.object_cache import ObjectCache
from forebay.controller.cluster.report_client import ControlTokens
from forebay.controller.observe.memory import TOKEN, Failure, FleetMemory, ObjectKey
from forebay.controller.plan.actions import (
    Action,
    ActionBatch,
    Apply,
    CreateToken,
    Note,
    RotateToken,
    Say,
    Touch,
    WriteStatus,
)
from forebay.controller.plan.desired_vs_live import drift_notes
from forebay.controller.plan.drift import differences
from forebay.resources import names
from forebay.resources.reasons import EventReason

log = logging.getLogger(__name__)

PARALLEL_ACTIONS: Final = 32
"""Calls side by side: one after the other, two hundred pods that are told of a new table take a second."""


@dataclass(slots=True)
class ExecutionResult:
    """What came of a plan: refusals in the API server's words, and how it rewrote what it took."""

    refused: dict[ObjectKey, str] = field(default_factory=dict)
    applied: dict[ObjectKey, frozenset[str]] = field(default_factory=dict)  # paths that differ in the answer
    forbidden: str = ""  # the last call that a right was missing for
    unwritten: set[str] = field(default_factory=set)  # subjects whose status could not be written


@dataclass(frozen=True, slots=True)
class Executor:
    """The hands of the operator."""

    cluster: Cluster
    cache: ObjectCache
    recorder: Recorder
    tokens: ControlTokens
    slots: defaultdict[str, asyncio.Semaphore] = field(
        default_factory=lambda: defaultdict(lambda: asyncio.Semaphore(PARALLEL_ACTIONS))
    )
    """By namespace: slow calls in one delay no other."""

    async def run(self, namespace: str, batches: Iterable[ActionBatch]) -> ExecutionResult:
        """Carry out all batches: first what the fleet shares, then all of its pools and policies side by side."""
        outcome = ExecutionResult()
        for shared, group in groupby(batches, key=lambda batch: not batch.subject):
            if shared:
                for batch in group:
                    await self._batch(namespace, batch, outcome)
                continue
            async with asyncio.TaskGroup() as tasks:
                for batch in group:
                    tasks.create_task(self._batch(namespace, batch, outcome))
        return outcome

    async def _batch(self, namespace: str, batch: ActionBatch, outcome: ExecutionResult) -> None:
        """One batch. After a failure it goes on with its applies and leaves out the rest."""
        failed = False
        for step in _steps(batch.actions):
            if failed and isinstance(step[0], (Touch, WriteStatus)):
                outcome.unwritten.add(batch.subject)
                continue
            errors = await asyncio.gather(*(self._try(namespace, action, outcome) for action in step))
            for action, error in zip(step, errors, strict=True):
                if error is not None:
                    failed = True
                    await self._failed(namespace, action, batch.subject, error, outcome)

    async def _try(self, namespace: str, action: Action, outcome: ExecutionResult) -> ClusterError | None:
        try:
            async with self.slots[namespace]:
                await self._do(namespace, action, outcome)
        except ClusterError as error:
            return error
        return None

    async def _do(self, namespace: str, action: Action, outcome: ExecutionResult) -> None:
        match action:
            case Apply():
                await self._apply(action, outcome)
            case CreateToken(obj=obj, exists=True):
                patch: Object = {key: obj[key] for key in ("data", "stringData") if key in obj}
                await self.cluster.patch(SECRET, namespace, obj["metadata"]["name"], patch)
                self.tokens.forget(namespace)
                outcome.applied[TOKEN] = frozenset()
            case CreateToken(obj=obj):
                # With another field manager, so that applying the Secret's head never owns its data.
                await self.cluster.create(obj, manager=f"{names.FIELD_MANAGER}-token")
                self.tokens.forget(namespace)
                outcome.applied[TOKEN] = frozenset()
            case RotateToken(patch=patch, why=why):
                await self.cluster.patch(SECRET, namespace, names.CONTROL_TOKEN_SECRET, patch)
                self.tokens.forget(namespace)
                log.info("control token of %s: %s", namespace, why)
            case Touch(pod=pod, value=value):
                await self.cluster.annotate(POD, namespace, pod, {names.ANNOTATION_GENERATION: value})
            case WriteStatus(kind=kind, name=name, status=status):
                self.cache.put(await self.cluster.patch(kind, namespace, name, {"status": status}, "status"))
            case Say(note=note):
                await self._say(note)

    async def _apply(self, action: Apply, outcome: ExecutionResult) -> None:
        kind, name = action.key
        if not action.exists:
            await self._check_not_taken(action.obj)
        answer = await self.cluster.apply(action.obj)
        outcome.applied[action.key] = frozenset(differences(action.obj, answer))
        log.info("applied %s %s/%s: %s", kind, action.obj["metadata"]["namespace"], name, action.why)
        if kind != "Secret":
            self.cache.put(answer)
        for note in (*action.notes, *drift_notes(action, outcome.applied[action.key])):
            await self._say(note)

    async def _check_not_taken(self, obj: Object) -> None:
        """Server-side apply would quietly take over what somebody else made under the same name."""
        kind, namespace, name = kind_of(obj), obj["metadata"]["namespace"], obj["metadata"]["name"]
        try:
            found = await self.cluster.get(kind, namespace, name)
        except ClusterError as error:
            if error.not_found:
                return
            raise
        if (found["metadata"].get("labels") or {}).get(names.LABEL_MANAGED_BY) != names.MANAGED_BY:
            raise ClusterError(
                422, f"{kind.kind} {name} exists already and is not forebay's: rename the pool, or remove that object"
            )

    async def _say(self, note: Note) -> None:
        log.info("event %s %s/%s: %s", note.reason, note.regarding.namespace, note.regarding.name, note.text)
        await self.recorder.write(note)

    async def _failed(
        self,
        namespace: str,
        action: Action,
        subject: str,
        error: ClusterError,
        outcome: ExecutionResult,
    ) -> None:
        log.warning("%s %s/%s: %s", type(action).__name__, namespace, subject, error)
        if error.forbidden:
            outcome.forbidden = str(error)
        if not isinstance(action, Apply):
            if isinstance(action, WriteStatus):
                outcome.unwritten.add(subject)
            if isinstance(action, CreateToken) and not error.conflict:
                outcome.refused[TOKEN] = f"Secret {names.CONTROL_TOKEN_SECRET}: {error}"
            self.tokens.forget(namespace)
            return
        kind, name = action.key
        if kind == SECRET.kind:
            self.tokens.forget(namespace)  # what was known of it may be of another Secret
            return
        outcome.refused[action.key] = f"{kind} {name}: {error}"
        ends = "being terminated" in str(error)
        if action.about is not None and error.status not in (0, 409) and not ends:
            words = f"{kind} {name} was refused: {error}"
            await self._say(Note(action.about, EventReason.APPLY_FAILED, "Apply", words, warning=True))


def _steps(actions: Iterable[Action]) -> Iterator[Sequence[Action]]:
    """One action after the other; but touches side by side."""
    for touching, group in groupby(actions, key=lambda action: isinstance(action, Touch)):
        if touching:
            yield list(group)
        else:
            yield from ([action] for action in group)


def remember(memory: FleetMemory, outcome: ExecutionResult, now: float | None = None) -> FleetMemory:
    """The memory with what came of the plan."""
    at = time.time() if now is None else now
    failures = {key: item for key, item in memory.failures.items() if key not in outcome.applied}
    for key, words in outcome.refused.items():
        failures[key] = failures.get(key, Failure("", 0, 0.0)).again(words, at)
    pools = {
        name: replace(item, written=0.0) if name in outcome.unwritten else item for name, item in memory.pools.items()
    }
    return replace(memory, failures=failures, normalised=_normalised(memory, outcome), pools=pools)


def _normalised(memory: FleetMemory, outcome: ExecutionResult) -> Mapping[ObjectKey, frozenset[str]]:
    return {**memory.normalised, **outcome.applied}
