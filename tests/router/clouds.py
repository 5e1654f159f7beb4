"""A gateway without any pool, so that every request is a gap, between two providers that play what a test says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from dataclasses import replace as replace_fields
from pathlib import Path
from typing import Any

import httpx
from msgspec.structs import replace

from forebay.resources.table import BudgetEntry, ModelEntry, ProviderEntry, TargetEntry
from forebay.router.cloud.provider import LIMITS
from forebay.router.cloud.provider import UpstreamProvider as Standing
from testing.fleet import Fleet, fleet
from tests.router.provider import Provider, Script, answer

KEY = "sk-live-0123456789abcdef"
MODELS = {
    "acme": ModelEntry(name="big", input_price="4", cached_input_price="0.4", output_price="20"),
    "bravo": ModelEntry(name="small"),
}


@dataclass
class Clouds:
    """What a test talks to."""

    fleet: Fleet
    acme: Provider
    bravo: Provider
    keys: Path

    async def ask(self, **more: Any) -> httpx.Response:
        """One request; see Fleet.ask."""
        return await self.fleet.ask(**{"min_tokens": None, **more})

    async def stream(self, **more: Any) -> tuple[bytes, bool]:
        """One streamed request: what came, and whether it ended cleanly."""
        got = b""
        body = {"model": "auto", "stream": True, "messages": [{"role": "user", "content": "hello there"}], **more}
        url = self.fleet.url(self.fleet.gateway) + "/v1/chat/completions"
        try:
            async with self.fleet.http.stream("POST", url, json=body) as response:
                async for piece in response.aiter_raw():
                    got += piece
        except httpx.RemoteProtocolError:
            return got, False
        return got, True

    def standing(self, name: str = "acme") -> Standing:
        return self.fleet.gate.cloud.provider("default", name)

    def age(self, name: str = "acme") -> None:
        """As if it had been failing for as long as opens its breaker."""
        standing = self.standing(name).standing
        standing.breaker = replace_fields(standing.breaker, since=standing.breaker.since - LIMITS.row_seconds)

    def idle(self) -> bool:
        """Whether no place of any provider is taken."""
        return not any(self.standing(name).standing.allowance.running for name in ("acme", "bravo"))

    async def metrics(self) -> dict[str, float]:
        text = (await self.fleet.http.get(self.fleet.url(self.fleet.gateway, "metrics") + "/metrics")).text
        lines = [line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#")]
        return {name: float(value) for name, _, value in lines}

    def retable(self, **acme: Any) -> None:
        """The operator writes a new table, in which acme's entry is another."""
        table = self.fleet.gateway.context.table
        policy = table.table.policies[0]
        entries = (replace(policy.providers[0], **acme), *policy.providers[1:])
        policies = (replace(policy, providers=entries),)
        table.take(replace(table.table, generation=table.table.generation + 1, hash="", policies=policies))


@asynccontextmanager
async def clouds(
    tmp: Path,
    acme: Script,
    bravo: Script | None = None,
    *,
    entry: dict[str, Any] | None = None,
    model: dict[str, Any] | None = None,
    bravo_model: dict[str, Any] | None = None,
    pools: dict[str, Any] | None = None,
    gateway: dict[str, Any] | None = None,
    budget: BudgetEntry | None = None,
) -> AsyncIterator[Clouds]:
    """acme first, then bravo, for every priority. `entry` changes acme's, `model` and `bravo_model` the models'."""
    async with AsyncExitStack() as stack:
        one = await Provider(acme).start(stack)
        two = await Provider(bravo or answer()).start(stack)
        keys = tmp / "providers"
        for name in ("acme", "bravo"):
            (keys / "default" / name).mkdir(parents=True)
            (keys / "default" / name / "key").write_text(KEY)
        entries = tuple(
            ProviderEntry(name=name, base_url=f"http://127.0.0.1:{made.port}/v1", models=(MODELS[name],), has_key=True)
            for name, made in (("acme", one), ("bravo", two))
        )
        changed = replace(entries[0], models=(replace(MODELS["acme"], **(model or {})),))
        changed = replace(changed, **(entry or {}))
        other = replace(entries[1], models=(replace(MODELS["bravo"], **(bravo_model or {})),))
        tier = tuple(TargetEntry(provider=name, model=MODELS[name].name) for name in ("acme", "bravo"))
        policy: dict[str, Any] = {"providers": (changed, other), "primary": tier, "secondary": tier}
        if budget is not None:
            policy["budget"] = budget
        settings = {"providers_dir": keys, **(gateway or {})}
        async with fleet(tmp, pools or {}, policy=policy, gateway=settings) as made:
            yield Clouds(made, one, two, keys)


async def settle() -> None:
    """Let what was started go on."""
    await asyncio.sleep(0.05)


__all__ = ["KEY", "Clouds", "clouds", "settle"]
