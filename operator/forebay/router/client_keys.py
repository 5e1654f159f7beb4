"""Who is calling: keys of the Secret `forebay-clients` and each client's highest priority. Keys are kept as hashes."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from forebay.resources.clients import Client, ClientsDocument
from forebay.resources.names import CLIENTS_KEY
from forebay.resources.terms import CloudUse
from forebay.router.http.credential_names import keys_of
from forebay.rules.dialect.parsed_request import ParsedRequest

ANONYMOUS = Client("anonymous")


class Clients:
    """The clients as the mounted file says; a bad file keeps the last good one, and `problem` says why."""

    def __init__(self, folder: Path | None) -> None:
        self.path = folder / CLIENTS_KEY if folder else None
        self.problem = ""
        self.in_flight: dict[str, int] = {}
        self._by_hash: dict[bytes, Client] = {}
        self._stamp: tuple[int, int] | None = None
        self.reload()

    def of(self, fields: Mapping[bytes, bytes]) -> Client:
        """The client behind the first known key of a request's headers. Unknown keys are anonymous: Normal at most."""
        if not self._by_hash:
            return ANONYMOUS
        for key in keys_of(fields):
            if (client := self._by_hash.get(_hash(key))) is not None:
                return client
        return ANONYMOUS

    def named(self, name: str) -> Client:
        """The client that the first router found."""
        return next((client for client in self._by_hash.values() if client.name == name), ANONYMOUS)

    def reload(self) -> None:
        """Read the file again if it changed. Cheap: call it every second."""
        if self.path is None:
            return
        try:
            stat = self.path.stat()
            stamp = (stat.st_mtime_ns, stat.st_ino)
            if stamp == self._stamp:
                return
            document = msgspec.json.decode(self.path.read_bytes(), type=ClientsDocument)
        except FileNotFoundError:
            self._by_hash, self._stamp, self.problem = {}, None, ""
            return
        except (OSError, msgspec.DecodeError) as error:
            # msgspec names the path of a wrong field, never its value: no key gets out.
            self.problem = f"{CLIENTS_KEY} cannot be read: {error}"
            return
        self._by_hash = {
            _hash(e.key.encode()): Client(e.name, e.max_priority, e.cloud, e.max_in_flight)
            for e in document.clients
            if e.key
        }
        self._stamp, self.problem = stamp, ""


def time_allowed(parsed: ParsedRequest, total: float) -> float:
    """Seconds from the first byte of a request to the last one of its answer."""
    return min(parsed.timeout_seconds or total, total)


def allowed(parsed: ParsedRequest, client: Client) -> ParsedRequest:
    """The request as far as its client may ask: priority and the cloud."""
    priority = client.priority(parsed.asked)
    cloud = CloudUse.NEVER if CloudUse.NEVER in (client.cloud, parsed.facts.cloud) else CloudUse.ALLOWED
    if priority is parsed.facts.priority and cloud is parsed.facts.cloud:
        return parsed
    return msgspec.structs.replace(parsed, facts=msgspec.structs.replace(parsed.facts, priority=priority, cloud=cloud))


def _hash(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
