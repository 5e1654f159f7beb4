"""One replica in simulated time: a sidecar's slots, its engine, and what gateways have heard of it."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from forebay.replay.engines import ReplayEngine
from forebay.replay.quick import QuickBatch
from forebay.resources.reasons import Priority
from forebay.resources.report import ReplicaState
from forebay.rules.admission import Admission
from forebay.rules.slot_reports import REPORT_SECONDS, urgent
from forebay.simulator.batch import Batch, Sequence

if TYPE_CHECKING:
    from forebay.replay.pools import Pool

Ended = Callable[["Job", bool], None]
"""Hears of a job that is over, and whether it was served to its end."""


@dataclass(slots=True, eq=False)
class Job:
    """One request at a replica. `first`: the clock when it had its first token."""

    sequence: Sequence
    size: int  # slots
    session: int | None
    ended: Ended
    replica: str = ""
    first: float = 0.0


class Replica:
    """A sidecar's slots and its engine."""

    __slots__ = ("_jobs", "_reported", "_untold", "admission", "ahead", "born", "clock", "engine", "name", "ordinal",
                 "placed", "pool", "seen")  # fmt: skip

    def __init__(self, pool: "Pool", ordinal: int) -> None:
        setup, clock = pool.setup, pool.clock
        self.pool, self.clock, self.ordinal = pool, clock, ordinal
        self.name = f"{pool.name}-{ordinal}"
        self.placed, self.born = False, clock.now  # when a node took it, else when it was asked for
        self.seen = (0, 0)  # free and free_high as the pool's sums have them
        self.admission = Admission(pool.found.slots, setup.entry.high_reserved_percent)
        batch = Batch if pool.exact else QuickBatch
        self.engine = ReplayEngine(clock, batch(setup.limits, setup.times, setup.slow), self._first, self._end)
        self.ahead = 0  # prompt tokens that wait for their first token, as gateways know it
        self._untold: deque[Job] = deque()  # those that have had it, and no report has said so yet
        self._reported = (0, 0)  # free and free_high as last reported
        self._jobs: dict[Sequence, Job] = {}
        self.admission.on_change = self._changed

    def take(self, job: Job, priority: Priority) -> None:
        """A request comes; there is a slot for it."""
        admitted = self.admission.admit(priority, job.size)
        assert admitted, f"{self.name} had no slot"
        job.replica = self.name
        self._jobs[job.sequence] = job
        self.ahead += job.sequence.prompt
        self.engine.add(job.sequence)

    @property
    def news_since(self) -> float:
        """When the first token was made that nobody has heard of."""
        return self._untold[0].first if self._untold else float("inf")

    def hear(self, now: float) -> None:
        """Gateways hear of first tokens REPORT_SECONDS after the first that is news, all in one report."""
        untold = self._untold
        while untold and untold[0].first + REPORT_SECONDS <= now:
            due = untold[0].first + REPORT_SECONDS
            while untold and untold[0].first <= due:
                self._tell(untold.popleft())
        if not untold:
            self.pool.untold.pop(self, None)

    def _tell(self, job: Job) -> None:
        self.ahead -= job.sequence.prompt
        if job.session is not None:
            self.pool.sessions.serve(job.session, self.name, job.sequence.prompt, self.clock.now)

    @property
    def state(self) -> ReplicaState:
        """As its sidecar says."""
        return self.admission.state

    @property
    def idle(self) -> bool:
        """Whether nothing runs here."""
        return not self._jobs

    def cut(self) -> None:
        """The drain has lasted too long: what still runs is given up."""
        for job in list(self._jobs.values()):
            self.engine.remove(job.sequence)
            if not job.first:
                self.ahead -= job.sequence.prompt
            self._over(job, served=False)

    def _first(self, sequence: Sequence) -> None:
        job = self._jobs[sequence]
        job.first = self.clock.now
        self._untold.append(job)
        self.pool.untold[self] = None

    def _end(self, sequence: Sequence) -> None:
        self._over(self._jobs[sequence], served=True)

    def _over(self, job: Job, *, served: bool) -> None:
        del self._jobs[job.sequence]
        seconds = self.clock.now - job.sequence.arrived
        if served:
            self.pool.finished += 1
            self.pool.service_seconds += seconds
        self.admission.release(seconds, served, job.size)
        job.ended(job, served)
        self.pool.look_after(self)

    def _changed(self) -> None:
        """Keep the pool's sums."""
        a, (free, free_high) = self.admission, self.seen
        self.seen = now_free, now_free_high = a.free, a.free_high
        if urgent(self._reported, self.seen):
            self._reported = self.seen
            while self._untold and self._untold[0].first < self.clock.now:  # who came to an end now came first
                self._tell(self._untold.popleft())
        pool = self.pool
        pool.free += now_free - free
        pool.free_high += now_free_high - free_high
        if pool.queued and (now_free > free or now_free_high > free_high):
            pool.freed[self] = None
