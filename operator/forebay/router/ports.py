"""The four ports of a router, and the order in which it ends."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Final

from forebay.resources.names import PATH_DRAIN, PATH_DRAINED, PATH_LIVE, PATH_READY, PATH_STARTED
from forebay.router import metrics
from forebay.router.context import VERSION, Context
from forebay.router.dialect.error_shapes import body_of
from forebay.router.exposition import of_engine
from forebay.router.gateway import Gateway
from forebay.router.http.exchange import Budget, Exchange
from forebay.router.http.message import error, text_reply
from forebay.router.http.server import Handler, Server
from forebay.router.http.values import Reply, Request
from forebay.router.sidecar import Sidecar

NOTICED_SECONDS: Final = 4.0
"""How long a gateway goes on after it said it is not ready, so that no Service sends clients to it any more."""
GATEWAY_FINISH_SECONDS: Final = 60.0


@dataclass(slots=True)
class Router:
    """A running router of either role."""

    context: Context
    role: Gateway | Sidecar
    request: Server
    control: Server
    health: Server
    metrics: Server = field(init=False)

    @classmethod
    def of(cls, context: Context) -> "Router":
        """Build one, not yet listening."""
        role = Gateway(context) if context.settings.role == "gateway" else Sidecar(context)
        bodies = Budget()
        request = Server(role.request_port, bodies, shape=body_of)
        upgrade = role.upgrade if isinstance(role, Sidecar) else None
        control = Server(role.control_port, bodies, upgrade, shape=body_of)
        return cls(context, role, request, control, Server(_health(role)))

    def __post_init__(self) -> None:
        self.metrics = Server(self._answer_scrape)

    def _answer_scrape(self, request: Request, exchange: Exchange) -> None:
        if request.target != "/metrics":
            exchange.reply(error(404, "only /metrics is here", "not_found"))
            return
        self.refresh_metrics()
        body = metrics.render()
        if isinstance(self.role, Sidecar):
            engine = self.role.engine
            body += of_engine(engine.text, engine.dialect.metrics.family).encode()
        kind = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")
        exchange.reply(Reply(200, [kind], body))

    def refresh_metrics(self) -> None:
        """Set what is read when somebody scrapes."""
        table = self.context.table
        self.role.refresh_metrics()
        metrics.used(self.context.usage)
        metrics.BUILD.labels(VERSION, self.context.settings.role).set(1)
        metrics.TABLE_GENERATION.set(table.table.generation)
        metrics.TABLE_REFUSED.set((), table.refused_total)
        metrics.CONNECTIONS.set(len(self.request.connections))
        metrics.BODY_BYTES.set(self.request.budget.used)
        metrics.UPSTREAM_CALLS.set(len(self.context.upstream.active))
        metrics.LOG_DROPPED.set((), self.context.log.dropped)

    async def start(self) -> None:
        """Listen, and begin to watch."""
        settings = self.context.settings
        self.context.table.look()
        self.context.spawn(self.context.watch_files())
        self.context.spawn(self.context.log.run())
        self.context.spawn(self.role.run())
        await self.health.listen(settings.host, settings.ports.health)
        await self.control.listen(settings.host, settings.ports.control)
        await self.metrics.listen(settings.host, settings.ports.metrics)
        await self.request.listen(settings.host, settings.ports.request)

    async def finish(self) -> None:
        """Take nothing new, let what runs end within its bound, then stop."""
        await drain(self.role)
        self.request.stop_listening()
        self.control.stop_listening()
        if isinstance(self.role, Sidecar):
            await self.role.drained()
        else:
            self.role.budgets.close()
            await _until_idle(self.role)
            await self.role.cloud.close()
            self.role.budgets.say_last_words()
        for server in (self.request, self.control, self.metrics, self.health):
            server.close()
        if isinstance(self.role, Sidecar):
            self.role.offering.close()
        await self.context.stop()


async def drain(role: Gateway | Sidecar) -> None:
    """Stop admission. For a gateway: until Services have noticed."""
    if isinstance(role, Sidecar):
        role.drain()
        return
    if not role.draining:
        role.draining = True
        await asyncio.sleep(NOTICED_SECONDS)


async def _until_idle(gateway: Gateway) -> None:
    end = time.monotonic() + GATEWAY_FINISH_SECONDS
    while gateway.in_flight and time.monotonic() < end:
        await asyncio.sleep(0.1)


def _health(role: Gateway | Sidecar) -> Handler:
    """Probes for the kubelet, and the two halves of a drain."""

    async def answer(request: Request, exchange: Exchange) -> None:
        match request.target:
            case target if target == PATH_LIVE:
                exchange.reply(text_reply("ok\n"))
            case target if target == PATH_READY:
                exchange.reply(text_reply("ok\n") if role.ready else text_reply("not ready\n", 503))
            case target if target == PATH_STARTED:
                started = not isinstance(role, Sidecar) or role.engine.answered
                exchange.reply(text_reply("ok\n") if started else text_reply("the engine does not answer yet\n", 503))
            case target if target == PATH_DRAIN and request.method == "POST":
                if request.peer.startswith("127.") or request.peer == "::1":
                    await drain(role)
                    exchange.reply(text_reply("draining\n"))
                else:
                    exchange.reply(error(403, "only from inside the pod", "forbidden"))
            case target if target == PATH_DRAINED and isinstance(role, Sidecar):
                await role.drained()
                exchange.reply(text_reply("drained\n"))
            case _:
                exchange.reply(error(404, "unknown health path", "not_found"))

    return answer
