"""OpenAI's own client, sync and async, at both doors of a fleet."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import reduce
from typing import Any

import openai

from testing.fleet import PLAIN, Fleet


@dataclass(frozen=True)
class Sdk:
    """One client at one door. A call names its method; a stream comes back as the list of its chunks."""

    client: openai.OpenAI | openai.AsyncOpenAI
    door: str

    async def __call__(self, method: str, *args: Any, **fields: Any) -> Any:
        call = reduce(getattr, method.split("."), self.client)
        if isinstance(self.client, openai.OpenAI):
            return await asyncio.to_thread(_collected, call, *args, **fields)  # type: ignore[arg-type]
        answer = await call(*args, **fields)  # type: ignore[operator]
        return [chunk async for chunk in answer] if isinstance(answer, openai.AsyncStream) else answer

    async def refused(self, method: str, **fields: Any) -> openai.APIStatusError:
        """The exception that the client raises."""
        try:
            answer = await self(method, **fields)
        except openai.APIStatusError as refusal:
            return refusal
        raise AssertionError(f"not refused: {answer}")


def _collected(call: Any, *args: Any, **fields: Any) -> Any:
    answer = call(*args, **fields)
    return list(answer) if isinstance(answer, openai.Stream) else answer


@asynccontextmanager
async def sdk(f: Fleet, base: str = "", *, sync: bool = False, key: str = "sk-vip") -> AsyncIterator[Sdk]:
    """A client that does not try again by itself; `base` is the door's address, by default the gateway's."""
    base = base or f.url(f.gateway)
    settings: dict[str, Any] = {"base_url": f"{base}/v1", "api_key": key, "max_retries": 0, "timeout": 20}
    if sync:
        client = openai.OpenAI(**settings, http_client=openai.DefaultHttpxClient(trust_env=False, verify=PLAIN))
        try:
            yield Sdk(client, base)
        finally:
            client.close()
    else:
        async with openai.AsyncOpenAI(
            **settings, http_client=openai.DefaultAsyncHttpxClient(trust_env=False, verify=PLAIN)
        ) as asynchronous:
            yield Sdk(asynchronous, base)


async def everywhere(f: Fleet) -> AsyncIterator[Sdk]:
    """Both forms of the client at both doors: the gateway's, and that of a pool's own Service."""
    for base in (f.url(f.gateway), f.url(next(iter(f.sidecars.values())))):
        for sync in (False, True):
            async with sdk(f, base, sync=sync) as client:
                yield client
