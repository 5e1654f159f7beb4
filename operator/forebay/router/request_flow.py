"""One request on its way through a gateway: does what its lifecycle says (rules/lifecycle.py), and tells how it ended.

Nearly every request goes the short way, by callbacks alone: one decision, one attempt, one answer. What has to wait,
to be tried elsewhere or to leave for a provider goes on as a coroutine.
"""

import asyncio
from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from forebay.resources import headers as names
from forebay.resources.access_log import AccessLogEntry
from forebay.resources.clients import Client
from forebay.resources.reasons import Reason
from forebay.router import metrics
from forebay.router.attempt import Attempt
from forebay.router.attempt_result import broke_off, judge, result_of
from forebay.router.client_keys import ANONYMOUS, time_allowed
from forebay.router.cloud import CloudError, ProviderResponse, Refusal
from forebay.router.dialect import trace_context
from forebay.router.dialect.answers import decision_headers, refusal, sentence
from forebay.router.dialect.error_shapes import body_of
from forebay.router.http.call import Address
from forebay.router.http.exchange import Exchange
from forebay.router.http.message import RETRY_SOON, json_reply
from forebay.router.http.values import Headers, Request
from forebay.router.placement.gateway_queue import SlotBinding
from forebay.router.placement.pool_replicas import FINE, PoolReplicas, Replica
from forebay.rules.affinity import digest
from forebay.rules.dialect.parsed_request import ParsedRequest
from forebay.rules.dialect.session import session_of
from forebay.rules.endpoints import ENDPOINTS
from forebay.rules.facts import CloudTarget
from forebay.rules.lifecycle import Lifecycle
from forebay.rules.queue import Waiter
from forebay.rules.retry import patience
from forebay.rules.senders import sender_at, suspects
from forebay.rules.steps import (
    AttemptOutcome,
    AttemptResult,
    Demand,
    DemandKind,
    Dispatch,
    Done,
    LocateState,
    ProviderResult,
    Reject,
    SendToProvider,
    Step,
    WaitForSlot,
)

if TYPE_CHECKING:
    from forebay.router.gateway import Gateway


class RequestFlow:
    """Drives one lifecycle with sockets. Times are of the event loop, in seconds."""

    __slots__ = (
        "_bound",
        "_deaths",
        "_failed",
        "_launched",
        "_loop",
        "_place",
        "_refusal",
        "_task",
        "_told",
        "client",
        "course",
        "exchange",
        "gate",
        "inside",
        "parsed",
        "record",
        "request",
        "sender",
    )

    def __init__(
        self,
        gate: "Gateway",
        request: Request,
        exchange: Exchange,
        parsed: ParsedRequest,
        record: AccessLogEntry,
        client: Client,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._bound: SlotBinding | None = None  # the replica that holds a slot for it
        self._deaths = 0  # engines that broke off with it
        self._launched = 0.0  # loop time of the latest attempt
        self.inside = False  # it is counted as a newcomer's
        self._failed: tuple[CloudTarget, ...] = ()  # providers
        self._refusal: tuple[SendToProvider, Refusal] | None = None  # what a provider said to it
        self._told = ""  # of its cost, in US dollars
        self._place = 0  # in queues, kept while it comes back to them
        self.gate = gate
        self.request = request
        self.exchange = exchange
        self.parsed = parsed
        self.record = record
        self.client = client
        self.sender = client.name if client is not ANONYMOUS else sender_at(request.peer)
        arrived = request.seen or self._loop.time()
        self.course = Lifecycle(
            parsed.facts,
            digest(session_of(parsed)),
            arrived,
            arrived + time_allowed(parsed, gate.longest(parsed.facts.model)),
            previous=parsed.previous,
            repeated=request.fields.get(_RETRY_COUNT, b"0") != b"0",
        )

    def begin(self) -> None:
        """Set out: the short way where there is one."""
        if self.gate.senders and self._held_back():
            return
        if self.client is ANONYMOUS or not self.parsed.stream:
            self.gate.newcomers.saw(self.client.name, self._loop.time())
        else:
            self.inside = self.gate.newcomers.admits(self.client.name, self._loop.time())
            if not self.inside:
                self._spawn(self._knock())
                return
        step = self.course.start(self.gate.fleet, self._loop.time())
        if isinstance(step, Dispatch):
            self._count(step.demand)
            self._launch(step).on_outcome = self._came_back
        else:
            self._go_on(step)

    async def _knock(self) -> None:
        """Wait at the door, as a newcomer's further request does."""
        now = self._loop.time()
        self.inside = await self.gate.newcomers.wait(self.client.name, self.course.deadline - now)
        if self.inside:
            await self._carry(self.course.start(self.gate.fleet, self._loop.time()))
        else:
            text = "none of this client's requests before was answered in time; try again"
            self.exchange.reply(refusal(self.record, 503, Reason.DEADLINE_EXCEEDED, text, [RETRY_SOON]))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Go on as a task. One that is cancelled before its first step runs no `finally` of its own."""
        self._task = self.gate.context.spawn(work)
        self._task.add_done_callback(self._over)
        self.exchange.on_lost = self._task.cancel

    def _over(self, _: "asyncio.Task[None]") -> None:
        self._count(self.course.abandoned(self._loop.time(), self.record.cost_usd).demand)
        self.gate.finish(self)

    def _held_back(self) -> bool:
        """Whether it is refused because engines broke off with requests like it."""
        senders, now = self.gate.senders, self._loop.time()
        senders.requested(self.sender)
        seconds = senders.held_back(self._suspects(), now) if senders.suspicious else 0.0
        if not seconds:
            return False
        text = "the engines that were sent requests like this one broke off; one is let through now and then"
        headers = [(b"retry-after", b"%d" % (seconds + 1))]
        self.exchange.reply(refusal(self.record, 503, Reason.REPLICA_FAILED, text, headers))
        self.gate.finish(self)
        return True

    def _suspects(self) -> tuple[str, ...]:
        return suspects(self.request.body, "" if self.client is ANONYMOUS else self.sender)

    def _blame(self, attempt: Attempt, pool: PoolReplicas, outcome: AttemptOutcome, now: float) -> AttemptResult:
        """A fault: as far as others are served where it failed, it is this sender's own."""
        assert attempt.bound is not None
        replica, senders = attempt.bound.replica, self.gate.senders
        again, may_retry = senders.failed(self.sender, now)
        again = again and not self.course.failed  # its own faults before are one with this
        fatal = False
        if broke_off(attempt):
            self._deaths += 1
            fatal = senders.died(self._suspects(), replica.name, now) or self._deaths > 1
        own = not pool.fails_others(replica, now)
        own_fault, final = own and (again or fatal), fatal or (own and not may_retry)
        return result_of(attempt, outcome, own_fault=own_fault, final=final)

    def _came_back(self, attempt: Attempt) -> None:
        """The short way has come to its end."""
        step = self._settle(attempt)
        if isinstance(step, Done):
            self._count(step.demand)
            self.gate.finish(self)
        else:
            self._go_on(step)

    def _go_on(self, step: Step) -> None:
        self._spawn(self._carry(step))

    async def _carry(self, step: Step) -> None:
        """Take step by step, until there is an answer."""
        try:
            self._count(step.demand)
            while not (isinstance(step, Done) or self.exchange.ended):
                if isinstance(step, Reject):
                    self._refuse(step)
                    break
                if self._task is not None:
                    self.exchange.on_lost = self._task.cancel
                step = await self._take(step)
                self._count(step.demand)
        except asyncio.CancelledError:
            if not self.exchange.ended:  # not the client: this router ends
                self.exchange.abort()
        except Exception as problem:  # a bug must not leave a client hanging
            self._loop.call_exception_handler({"message": "a request failed", "exception": problem})
            self._broken()

    def _broken(self) -> None:
        if self.exchange.started or self.exchange.ended:
            self.exchange.abort()
        else:
            self.exchange.reply(
                json_reply(
                    body_of(self.parsed.path, 500, "forebay failed to answer this request", "internal_error"), 500
                )
            )

    async def _take(self, step: Dispatch | WaitForSlot | SendToProvider | LocateState) -> Step:
        """Do what the step says; the next one."""
        match step:
            case Dispatch():
                return await self._attempt(step)
            case WaitForSlot():
                return await self._wait(step)
            case SendToProvider():
                return await self._send(step)
            case LocateState():
                return await self._locate(step)

    def _count(self, demand: Demand) -> None:
        if not demand:
            return
        gate = self.gate
        gate.accounting.count(demand, gate.context.unix(self._loop.time()))
        for event in demand:
            if event.kind is DemandKind.WANTED:
                gate.wake(event.pool)

    def _note_decision(self) -> None:
        if (decision := self.course.decision) is not None:
            self.record.reason, self.record.decision_inputs = decision.reason, decision.inputs

    # Replicas.

    def _launch(self, step: Dispatch) -> Attempt:
        """Send it to a replica."""
        self._note_decision()
        gate, course = self.gate, self.course
        pool = gate.replicas.pools[step.pool]
        bound, self._bound = self._bound or SlotBinding(pool.by_name[step.replica]), None
        self.record.destination, self.record.tries = step.pool, course.tries
        now = self._launched = self._loop.time()
        facts = course.facts
        pool.take(bound.replica, bound.offer is not None, facts.prompt_tokens, now)
        body = gate.body_for(pool.entry, self.parsed, self.request.body)
        head = gate.head_for_sidecar(self, bound, len(body), now)
        headers = self._headers if bound.replica.breaker is FINE else self._headers_of_a_probe(pool, bound.replica)
        sizes = (facts.likely_tokens, pool.context_at(bound.replica))
        path = self.parsed.path
        attempt = Attempt(
            self.exchange, headers, _nobody, pool.entry.dialect, look_for_length=sizes, bound=bound, path=path
        )
        replica, end = bound.replica, min(course.deadline, course.arrived + pool.timeouts.total)
        first_seconds = patience(pool.first_token_seconds, facts, self.parsed.stream, end - now)
        attempt.start(
            gate.context.upstream, replica.address, head, body, first_seconds, end, pool.waits, replica.at_work
        )
        return attempt

    async def _attempt(self, step: Dispatch) -> Step:
        done: asyncio.Future[Attempt] = self._loop.create_future()
        self._launch(step).on_outcome = lambda attempt: None if done.done() else done.set_result(attempt)
        return self._settle(await done)

    def _settle(self, attempt: Attempt) -> Step:
        """Learn of the replica from an attempt, and tell the lifecycle."""
        assert attempt.bound is not None
        now = self._loop.time()
        pool = self.gate.replicas.pools.get(attempt.bound.replica.pool)
        outcome = judge(attempt, pool, self._first_token(attempt), now, self.sender)
        if attempt.outcome is AttemptOutcome.ANSWERED or attempt.outcome is AttemptOutcome.BROKEN:
            self._served(attempt)
        elif attempt.first:  # the client left after it had begun
            self._answered(attempt.status, attempt.first)
        elif outcome is AttemptOutcome.FAULT:
            self.record.problem = attempt.problem[:200]
            if pool is not None:
                return self.course.attempt_ended(self._blame(attempt, pool, outcome, now), self.gate.fleet, now)
        return self.course.attempt_ended(result_of(attempt, outcome), self.gate.fleet, now)

    def _first_token(self, attempt: Attempt) -> float | None:
        """Seconds that a replica took for its first token, where that was streamed."""
        return attempt.first - self._launched if attempt.stream else None

    def _served(self, attempt: Attempt) -> None:
        """The client has had an answer, or the beginning of one."""
        assert attempt.bound is not None
        self.record.status, self.record.problem = attempt.status, attempt.problem
        self.gate.waiting.served(attempt.bound.replica.pool)
        if self.gate.senders.suspicious and attempt.outcome is AttemptOutcome.ANSWERED:
            self.gate.senders.answered(self._suspects())
        self._answered(attempt.status, attempt.first)

    async def _locate(self, step: LocateState) -> Step:
        """Stored state lives in one replica: nothing else will do."""
        gate = self.gate
        keeper = await gate.keepers.find(step.response)
        others: frozenset[Address] | None = None
        if keeper is not None:
            known = {replica.address for pool in gate.replicas.pools.values() for replica in pool.all.values()}
            others = frozenset(known - {keeper.address})
        return self.course.state_located(others, gate.fleet, self._loop.time())

    # Waiting.

    async def _wait(self, step: WaitForSlot) -> Step:
        self._note_decision()
        gate, course = self.gate, self.course
        self._place = self._place or gate.waiting.new_id()
        waiter = Waiter(
            self._place, course.facts.priority, course.since, step.deadline, len(self.request.body), step.prefers,
            step.away_penalty,
        )  # fmt: skip
        excluded = gate.fleet.excluded(step.pool, course)
        try:
            bound = await gate.waiting.wait(step.pool, waiter, step.reconsider_at, excluded, step.home)
        except OverflowError:
            waiting = gate.waiting.count(step.pool, course.facts.priority)
            return course.queue_full(waiting, gate.fleet, self._loop.time())
        if bound is None:
            return course.wait_over(gate.fleet, self._loop.time())
        self._bound = bound
        granted = course.slot_granted(bound.replica.name, self._loop.time())
        if not step.home:
            metrics.QUEUE_WAIT.labels(step.pool).observe(course.waited)
        return granted

    # Providers.

    async def _send(self, step: SendToProvider) -> Step:
        """Send it to one provider."""
        self._note_decision()
        record, course = self.record, self.course
        record.tries, record.destination, record.reason = course.tries, str(step.target), step.reason
        headers = decision_headers(record, course.waited)
        sent = trace_context.context(self.request)
        for name in ENDPOINTS[self.parsed.path].passed:
            if (value := self.request.fields.get(name.encode())) is not None:
                sent.append((name.encode(), value))
        try:
            served = await self.gate.cloud.send(
                step.target, self.parsed, self.exchange, headers, record, course.deadline, trace=sent,
                size=len(self.request.body),
            )  # fmt: skip
        except CloudError as problem:
            record.problem = str(problem)
            refused = self._note_refusal(step, problem.refusal)
            self._failed += (step.target,) if problem.sent else ()
            result = ProviderResult(
                taken=False, sent=problem.sent, cost=self._new_cost(), refused=refused, no_money=problem.no_money
            )
        else:
            self._taken(step, served)
            if not served.problem:
                self.gate.cloud.shown(self._failed)
            result = ProviderResult(taken=True, cost=self._new_cost())
        return course.provider_ended(result, self.gate.fleet, self._loop.time())

    def _new_cost(self) -> str:
        """Of the request's cost at providers, what the course has not been told yet."""
        before, self._told = Decimal(self._told or 0), self.record.cost_usd
        new = Decimal(self._told or 0) - before
        return format(new, "f") if new else ""

    def _note_refusal(self, step: SendToProvider, refusal: Refusal | None) -> bool:
        """Keep what a provider said to the request, the best of it. Whether there is something to tell."""
        if refusal is not None and refusal.tell and (self._refusal is None or refusal.tell > self._refusal[1].tell):
            self._refusal = (step, refusal)
        return self._refusal is not None

    def _taken(self, step: SendToProvider, served: ProviderResponse) -> None:
        self.record.status, self.record.problem = served.status, served.problem
        target = step.target
        metrics.OVERFLOW.labels(
            step.pool or "", str(step.tier), target.provider, target.model.name, step.reason
        ).inc()  # fmt: skip
        self._answered(served.status, served.first)

    # Answers.

    def _headers(self) -> Headers:
        """Asked for with the first content of a replica's answer."""
        if self.inside:
            self.gate.newcomers.answered(self.client.name, self._loop.time())
        return decision_headers(self.record, self.course.waited)

    def _headers_of_a_probe(self, pool: PoolReplicas, replica: Replica) -> Callable[[], Headers]:
        """Asked for with the first content byte: a replica that was in doubt answers."""

        def headers() -> Headers:
            pool.answering(replica, self._loop.time())
            return self._headers()

        return headers

    def _refuse(self, step: Reject) -> None:
        """Answer with an error, and with the time after which there may be room where that makes sense."""
        self._note_decision()
        self.record.tries = self.course.tries
        if step.refused and self._refusal is not None:
            self._tell_refusal(*self._refusal)
            return
        text = step.text or sentence(step.reason, self.course.facts)
        headers = self.gate.retry_after_headers(self, step.reason) if step.retry_after else []
        self.exchange.reply(refusal(self.record, step.status, step.reason, text, headers))

    def _tell_refusal(self, step: SendToProvider, refusal: Refusal) -> None:
        """Nobody takes it: what a provider said is what is wrong with it."""
        record = self.record
        record.destination, record.reason, record.status = str(step.target), step.reason, refusal.status
        record.provider_request_id = refusal.request_id
        self.exchange.reply(json_reply(refusal.body, refusal.status, self._headers()))

    def _answered(self, status: int, first: float) -> None:
        """Note the time to the first content byte."""
        seconds = max(0.0, first - self.course.arrived)
        self.record.first_token_ms = int(seconds * 1000)
        if status == 200 and self.record.stream:
            metrics.first_token(self.record, seconds)


_RETRY_COUNT = names.RETRY_COUNT.encode()


def _nobody(_: Attempt) -> None:
    """Set right after."""
