"""A light client of the API server, for making ten thousand objects and watching them."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml

Object = dict[str, Any]
PARALLEL: Final = 24


class Api:
    """Use as an async context manager."""

    def __init__(self, kubeconfig: Path) -> None:
        document = yaml.safe_load(kubeconfig.read_text())
        cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
        self.server = cluster["server"]
        self._ssl = ssl.create_default_context(cafile=cluster["certificate-authority"])
        self._ssl.load_cert_chain(user["client-certificate"], user["client-key"])
        self._slots = asyncio.Semaphore(PARALLEL)

    async def __aenter__(self) -> "Api":
        connector = aiohttp.TCPConnector(ssl=self._ssl, limit=0)
        self.session = aiohttp.ClientSession(self.server, connector=connector, timeout=aiohttp.ClientTimeout(60))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    async def call(self, method: str, path: str, body: Object | None = None, kind: str = "application/json") -> Object:
        """One call. Raises RuntimeError with the API server's words."""
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": kind, "Accept": "application/json"}
        async with self._slots, self.session.request(method, path, data=data, headers=headers) as answer:
            raw: Object = json.loads(await answer.read())
            if answer.status >= 300:
                raise RuntimeError(f"{method} {path}: {answer.status} {raw.get('message')}")
            return raw

    async def watch(self, path: str) -> AsyncIterator[Object]:
        """Events for ever, from a list on; the list's objects come as ADDED."""
        timeout = aiohttp.ClientTimeout(total=None)
        mark = "&" if "?" in path else "?"
        async with self.session.get(f"{path}{mark}watch=true", timeout=timeout) as answer:
            buffer = b""
            async for chunk in answer.content.iter_any():
                *lines, buffer = (buffer + chunk).split(b"\n")
                for line in lines:
                    yield json.loads(line)


async def each(items: Iterable[Any], work: Callable[[Any], Awaitable[None]], at_once: int = PARALLEL) -> None:
    """Do the work for every item, so many at a time."""
    todo = iter(items)

    async def worker() -> None:
        for item in todo:
            await work(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(worker())
