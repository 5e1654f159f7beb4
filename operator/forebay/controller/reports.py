"""What the routers say of themselves: one GET a router, in parallel, with the fleet's token."""

import asyncio
import base64
import hmac
import logging
from collections.abc import Mapping
from typing import Final

import httpx
import msgspec

from forebay.controller.cluster import SECRET, Cluster, ClusterError, Object
from forebay.resources import names
from forebay.resources.report import Report, decode

log = logging.getLogger(__name__)

TIMEOUT_SECONDS: Final = 2.0
PARALLEL: Final = 64


class Tokens:
    """The control token of each fleet: the one Secret that the operator reads. Never logged, never written anew."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._secrets: dict[str, tuple[float, Object]] = {}

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
        return found

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


class Reports:
    """Asks routers for their reports."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._slots = asyncio.Semaphore(PARALLEL)

    @classmethod
    def over_http(cls) -> "Reports":
        """With connections of its own; no proxy stands between operator and pods."""
        limits = httpx.Limits(max_connections=PARALLEL, keepalive_expiry=30)
        return cls(httpx.AsyncClient(timeout=TIMEOUT_SECONDS, limits=limits, trust_env=False))

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def fetch(self, token: str, addresses: Mapping[str, str]) -> dict[str, Report]:
        """Reports by pod name, of those who answered in time. `addresses` are pod IPs by pod name."""
        if not token:
            return {}
        answers = await asyncio.gather(*(self._one(token, pod, ip) for pod, ip in addresses.items()))
        return {pod: report for pod, report in zip(addresses, answers, strict=True) if report is not None}

    async def _one(self, token: str, pod: str, ip: str) -> Report | None:
        host = f"[{ip}]" if ":" in ip else ip
        url = f"http://{host}:{names.PORT_CONTROL}{names.PATH_REPORT}"
        try:
            async with self._slots:
                response = await self._client.get(url, headers={"Authorization": f"Bearer {token}"})
            if response.status_code != 200:
                log.info("router %s answers its report with %d", pod, response.status_code)
                return None
            report: Report = decode(response.content)
            return report
        except (httpx.HTTPError, msgspec.DecodeError) as error:
            log.debug("router %s: no report: %s", pod, error or type(error).__name__)
            return None
