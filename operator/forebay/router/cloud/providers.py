"""All providers of the table, and one try of one request at one of them."""

import asyncio
import contextlib
import ssl
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from forebay.resources.access_log import AccessLogEntry
from forebay.resources.table import BudgetEntry, PolicyEntry
from forebay.resources.terms import OnDisconnect
from forebay.router import metrics
from forebay.router.cloud.budgets import GatewayBudgets, NoMoneyError
from forebay.router.cloud.provider_errors import CloudError, FailedError
from forebay.router.cloud.provider_usage import HUNG_UP, WORKED, account, charge, used_at
from forebay.router.cloud.tls_files import system_tls
from forebay.router.http.exchange import Exchange
from forebay.router.http.values import Headers
from forebay.rules.addresses import Network
from forebay.rules.breaker import CallResult
from forebay.rules.budget.picodollars import in_dollars
from forebay.rules.budget.worst_case import assumed, counted_cost, worst_case
from forebay.rules.dialect.parsed_request import ParsedRequest
from forebay.rules.endpoints import operation
from forebay.rules.facts import USUAL_ANSWER_TOKENS, CloudTarget

if TYPE_CHECKING:
    from forebay.router.cloud.provider import UpstreamProvider
    from forebay.router.cloud.provider_answer import ProviderAnswer

LOOK_SECONDS: Final = 30.0
AGAIN_SECONDS: Final = 3.0
"""While something is wrong: it may have been a moment's."""
_NONE: Final[Mapping[str, str]] = MappingProxyType({})


class ProviderResponse(Struct, frozen=True):
    """A try that reached the client: its status, the loop time of the first byte, and what broke after it, if so."""

    status: int
    first: float
    problem: str = ""


class Paid(Struct, frozen=True):
    """What was put aside for a try: the reservation's number, picodollars, and the bytes of the request."""

    number: int
    worst: int
    size: int


class CloudProviders:
    """All providers of the table. `folder` holds their files; `allowed` networks and `proxies` are the chart's.

    `budgets`: what policies that have a budget pay from.
    """

    def __init__(
        self,
        folder: Path | None,
        allowed: tuple[Network, ...] = (),
        tls: ssl.SSLContext | None = None,
        proxies: Mapping[str, str] = _NONE,
        budgets: GatewayBudgets | None = None,
    ) -> None:
        self.budgets = budgets
        self._paid: dict[str, BudgetEntry] = {}
        self.folder = folder or Path()  # nothing can be read where there is no folder
        self.proxies = proxies
        self.allowed = allowed
        self._tls = tls
        self._providers: dict[tuple[str, str], UpstreamProvider] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()

    def follow(self, policies: tuple[PolicyEntry, ...]) -> None:
        """Take over the table's providers. Unchanged ones keep their connections; what a provider asked for stays."""
        wanted = {(policy.name, entry.name): entry for policy in policies for entry in policy.providers}
        self._paid = {policy.name: policy.budget for policy in policies if isinstance(policy.budget, BudgetEntry)}
        if not wanted and not self._providers:
            return
        from forebay.router.cloud.provider import UpstreamProvider  # noqa: PLC0415 - httpx: a third of a sidecar's memory

        self._changed.set()
        self._tls = self._tls or _system_tls()
        for name, old in list(self._providers.items()):
            if wanted.get(name) != old.entry:
                del self._providers[name]
                self._close(old)
                if name in wanted:
                    standing = old.standing if wanted[name].base_url == old.entry.base_url else None
                    self._providers[name] = UpstreamProvider(
                        wanted[name], self.folder.joinpath(*name), self.allowed, self._tls, self.proxies, standing
                    )
        for name, entry in wanted.items():
            if name not in self._providers:
                self._providers[name] = UpstreamProvider(
                    entry, self.folder.joinpath(*name), self.allowed, self._tls, self.proxies
                )

    def missing_keys(self) -> tuple[str, ...]:
        """policy/provider of every key that is wanted and absent."""
        now = asyncio.get_running_loop().time()
        return tuple(sorted("/".join(name) for name, item in self._providers.items() if item.key.missing(now)))

    def problems(self) -> tuple[str, ...]:
        """policy/provider and why nothing can be sent to it."""
        found = ((name, provider.problem) for name, provider in self._providers.items())
        return tuple(sorted(f"{'/'.join(name)}: {problem}" for name, problem in found if problem))

    def provider(self, policy: str, name: str) -> "UpstreamProvider":
        """One provider. Raises KeyError."""
        return self._providers[policy, name]

    async def run(self) -> None:
        """Look at the providers' addresses now and then, so that a policy's status tells before a request does."""
        while True:
            self._changed.clear()
            for provider in list(self._providers.values()):
                await provider.look()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(AGAIN_SECONDS if self.problems() else LOOK_SECONDS):
                    await self._changed.wait()

    async def send(
        self,
        target: CloudTarget,
        parsed: ParsedRequest,
        exchange: Exchange,
        headers: Headers,
        record: AccessLogEntry,
        deadline: float,
        *,
        trace: Headers,
        size: int = 0,
    ) -> ProviderResponse:
        """Serve a request of `size` bytes by a provider, until `deadline` (loop time) at most.

        Raises CloudError while the client has heard nothing. A stream that breaks later has ended with an error event.
        `trace`: the headers of the request's trace.
        """
        provider, loop = self._providers.get((target.policy, target.provider)), asyncio.get_running_loop()
        begun = loop.time()
        if provider is None or begun >= deadline:
            raise CloudError(f"{target}: {'unknown' if provider is None else 'Deadline'}")
        from forebay.router.cloud.provider_answer import ProviderAnswer  # noqa: PLC0415

        answer = ProviderAnswer(provider, target, parsed, exchange, headers, trace=trace)
        await provider.ready()
        paid = self._reserve(target, parsed, record, size)
        try:
            place = provider.begin(_tokens(parsed), begun)
        except FailedError as failed:
            self._pay(paid, 0)
            metrics.CLOUD_ERRORS.labels(target.provider, failed.word).inc()
            raise CloudError(f"{target}: {failed.word}") from None
        gauge = metrics.OVERFLOW_RUNNING.labels(target.provider)
        gauge.inc()
        outcome: CallResult | None = None
        pause, word = 0.0, "ClientGone"
        try:
            await answer.fetch(min(deadline, begun + provider.entry.total_seconds))
            outcome, word = answer.outcome, answer.problem
        except FailedError as failed:
            outcome, pause, word = failed.outcome, failed.pause, failed.word
            if failed.refusal is not None:
                outcome = provider.refused(failed.request, pause)
            raise CloudError(f"{target}: {failed.word}", sent=True, refusal=failed.refusal) from None
        finally:
            gauge.dec()
            used = self._settle(answer, record, word, loop.time() - begun, paid)
            provider.over(place, used, outcome, pause, loop.time(), begun=answer.first > 0)
        return ProviderResponse(answer.status, answer.first or loop.time(), answer.problem)

    def shown(self, failed: tuple[CloudTarget, ...]) -> None:
        """These failed what another provider has answered."""
        for target in failed:
            if (provider := self._providers.get((target.policy, target.provider))) is not None:
                provider.shown(asyncio.get_running_loop().time())

    def _reserve(self, target: CloudTarget, parsed: ParsedRequest, record: AccessLogEntry, size: int) -> "Paid | None":
        """Put aside what it may cost, where its policy has a budget. Raises CloudError."""
        terms = self._paid.get(target.policy)
        if terms is None or self.budgets is None:
            return None
        worst = worst_case(parsed.facts, target.model, size, parsed.document)
        try:
            number = self.budgets.reserve(target.policy, terms, parsed.facts.priority, worst, record.request_id)
        except NoMoneyError as lack:
            raise CloudError(f"{target}: {lack.reason}", no_money=lack.reason) from None
        return Paid(number, worst or 0, size)

    def _pay(self, paid: "Paid | None", cost: int) -> None:
        if paid is not None and self.budgets is not None:
            self.budgets.settle(paid.number, cost)

    def _bill(self, answer: "ProviderAnswer", paid: "Paid | None", word: str, output: int) -> None:
        """Settle an answer, whole or in part: as it was counted, else as it may have been at its provider."""
        if paid is None:
            return
        target, facts, usage = answer.target, answer.parsed.facts, answer.usage
        if usage is not None and (word not in HUNG_UP or usage.money is not None):
            self._pay(paid, counted_cost(usage, target.model, paid.worst))
            return
        left = word in HUNG_UP and not answer.parsed.stream
        manner = OnDisconnect.CONTINUES if left else answer.provider.entry.on_disconnect or OnDisconnect.STOPS
        seen = max(output, usage.output if usage is not None else 0)
        cost = assumed(facts, target.model, paid.size, seen, manner, paid.worst)
        metrics.BUDGET_ASSUMED.add((target.provider, target.model.name), in_dollars(cost))
        self._pay(paid, cost)

    def _settle(
        self, answer: "ProviderAnswer", record: AccessLogEntry, word: str, seconds: float, paid: "Paid | None" = None
    ) -> int:
        """Count a try; returns its tokens."""
        target, parsed = answer.target, answer.parsed
        record.provider_request_id = answer.request_id
        metrics.OPERATION.observe((operation(parsed.path), target.provider, target.model.name, word), seconds)
        if word:
            metrics.CLOUD_ERRORS.labels(target.provider, word).inc()
        if not answer.first and answer.usage is None and not (answer.sent and (word in WORKED or answer.filtered)):
            self._pay(paid, 0)
            return 0
        self._bill(answer, paid, word, answer.output)
        goes_on = answer.provider.entry.on_disconnect is OnDisconnect.CONTINUES
        used, counted = used_at(parsed, word, answer.usage, answer.output, goes_on)
        if answer.first:
            account(target, parsed, record, used, counted=counted)
        else:
            charge(target, record, used, counted=counted)
        return used.total

    def _close(self, provider: "UpstreamProvider") -> None:
        task = asyncio.get_running_loop().create_task(provider.close_later())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """End all connections."""
        for task in list(self._closing):
            task.cancel()
        for provider in self._providers.values():
            await provider.close()


def _tokens(parsed: ParsedRequest) -> int:
    """What a request is taken to use until the provider has counted."""
    facts = parsed.facts
    return facts.prompt_tokens + (USUAL_ANSWER_TOKENS if facts.max_tokens is None else facts.max_tokens)


@cache
def _system_tls() -> ssl.SSLContext:
    return system_tls()
