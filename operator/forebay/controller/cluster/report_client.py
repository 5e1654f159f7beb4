"""What the routers say of themselves: one GET a router, in parallel, with the fleet's token."""

import asyncio
import base64
import hmac
import logging
from collections.abc import Mapping
from typing import Final

import aiohttp
import msgspec
from yarl import URL

from forebay.controller.cluster.kubernetes_api import SECRET, Cluster, ClusterError, Object
from forebay.resources import names
from forebay.resources.report import Report, decode

log = logging.getLogger(__name__)

TIMEOUT_SECONDS: Final = 2.0
PARALLEL: Final = 64
LONGEST_BYTES: Final = 4 * 1024 * 1024  # a gateway's report of 1,000 pools is a tenth of that
KEEP_SECONDS: Final = 30.0  # a connection that is not used for so long is closed


class ControlTokens:
    """The control token of each fleet: the one Secret that the operator reads. Never logged, never written anew."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._secrets: dict[str, tuple[float, Object]] = {}
        self._last: dict[str, Object] = {}  # the last one with a token, whatever became of it

    async def secret(self, namespace: str) -> Object | None:
        """The Secret, read again every minute; None when it does not exist. Raises ClusterError."""
        now = asyncio.get_running_loop().time()
        known = self._secrets.get(namespace)
        if known is not None and now - known[0] < 60:
            return known[1]
        try:
            found = await self._cluster.get(SECRET, namespace, names.CONTROL_TOKEN_SECRET)
        except ClusterError as error:
            if not error.not_found:
                raise
            self._secrets.pop(namespace, None)
            return None
        self._secrets[namespace] = (now, found)
        if (found.get("data") or {}).get(names.TOKEN_CURRENT_KEY):
            self._last[namespace] = found
        return found

    def lost(self, namespace: str) -> Object | None:
        """The Secret as it was when it last had a token, for one that has none now; None after a restart."""
        return self._last.get(namespace)

    def value(self, namespace: str) -> str:
        """The current token; empty when there is none."""
        known = self._secrets.get(namespace)
        encoded = (known[1].get("data") or {}).get(names.TOKEN_CURRENT_KEY, "") if known else ""
        return base64.b64decode(encoded).decode().strip()

    def admits(self, namespace: str, token: str) -> bool:
        """Whether this is a token of the fleet: the current one, or the one before."""
        known = self._secrets.get(namespace)
        data = (known[1].get("data") or {}) if known else {}
        valid = [
            base64.b64decode(data.get(key, "")).strip() for key in (names.TOKEN_CURRENT_KEY, names.TOKEN_PREVIOUS_KEY)
        ]
        return any(hmac.compare_digest(token.encode(), secret) for secret in valid if secret)

    def forget(self, namespace: str) -> None:
        """Read the Secret again next time: it was just written, or it is gone."""
        self._secrets.pop(namespace, None)

    def drop(self, namespace: str) -> None:
        """There is no fleet any more."""
        self.forget(namespace)
        self._last.pop(namespace, None)


def rotating(secret: Object | None) -> bool:
    """Whether the token is being changed, so that every router must say how far it is."""
    notes = (secret["metadata"].get("annotations") or {}) if secret else {}
    return names.ANNOTATION_ROTATION in notes


class ReportClient:
    """Asks routers for their reports."""

    def __init__(self, port: int = names.PORT_CONTROL) -> None:
        self._port = port
        self._sessions: dict[bool, aiohttp.ClientSession] = {}  # by whether connections stay open

    async def close(self) -> None:
        """Close the connections."""
        for session in self._sessions.values():
            await session.close()

    async def fetch(self, token: str, addresses: Mapping[str, str], *, keep: bool = False) -> dict[str, Report]:
        """Reports by pod name, of those who answered in time. `addresses` are pod IPs by pod name.

        `keep`: leave connections open for the next time. Sidecars are too many for that: each would be an open file.
        """
        if not token:
            return {}
        headers, session = {"Authorization": f"Bearer {token}"}, self._session(keep=keep)
        slots = asyncio.Semaphore(PARALLEL)  # of this fleet: routers that do not answer are its own business
        answers = await asyncio.gather(*(self._one(session, slots, headers, pod, ip) for pod, ip in addresses.items()))
        return {pod: report for pod, report in zip(addresses, answers, strict=True) if report is not None}

    async def _one(
        self, session: aiohttp.ClientSession, slots: asyncio.Semaphore, headers: Mapping[str, str], pod: str, ip: str
    ) -> Report | None:
        url = URL.build(scheme="http", host=ip, port=self._port, path=names.PATH_REPORT)
        try:
            async with slots, session.get(url, headers=headers, allow_redirects=False) as answer:
                if answer.status != 200:
                    log.info("router %s answers its report with %d", pod, answer.status)
                    return None
                report: Report = decode(await _body(answer))
                return report
        except (aiohttp.ClientError, OSError, TimeoutError, msgspec.DecodeError) as error:
            log.debug("router %s: no report: %s", pod, str(error) or type(error).__name__)
            return None

    def _session(self, *, keep: bool) -> aiohttp.ClientSession:
        """No proxy stands between operator and pods. Nothing is redirected: the token is for one address alone."""
        if keep not in self._sessions:
            connector = (
                aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_SECONDS)
                if keep
                else aiohttp.TCPConnector(limit=0, force_close=True)
            )
            timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
            self._sessions[keep] = aiohttp.ClientSession(timeout=timeout, connector=connector, trust_env=False)
        return self._sessions[keep]


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    """The whole body. Raises aiohttp.ClientError for one that is too long to be a report."""
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > LONGEST_BYTES:
            raise aiohttp.ClientPayloadError(f"longer than {LONGEST_BYTES} bytes")
    return bytes(body)
