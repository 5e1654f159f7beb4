"""The one adapter to the Kubernetes API: plain objects in and out, a time limit on every call, one kind of error."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import aiohttp
import msgspec
from kubernetes.aio import client, config
from kubernetes.aio.client.exceptions import ApiException

from forebay.resources import names

Object = dict[str, Any]
"""A Kubernetes object as JSON has it. Builders make them, the drift check compares them, nobody else looks inside."""

TIMEOUT_SECONDS: Final = 15.0
SILENT_SECONDS: Final = 75.0  # a watch that says nothing for so long is dead: bookmarks come every minute
WATCH_SECONDS: Final = 240  # after which the API server ends a watch, and a new one goes on where it ended
PAGE: Final = 250  # objects read at a time: ten thousand at once would take ten times the memory that they need


@dataclass(frozen=True, slots=True)
class ObjectKind:
    """Where objects of one kind live."""

    kind: str
    api_version: str
    plural: str

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """URL path of a collection, an object or a subresource."""
        root = f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        scope = f"/namespaces/{namespace}" if namespace else ""
        return "/".join(part for part in (root + scope, self.plural, name, subresource) if part)


POOL: Final = ObjectKind(names.POOL_KIND, names.API_VERSION, names.POOL_PLURAL)
POLICY: Final = ObjectKind(names.POLICY_KIND, names.API_VERSION, names.POLICY_PLURAL)
POD: Final = ObjectKind("Pod", "v1", "pods")
SECRET: Final = ObjectKind("Secret", "v1", "secrets")
CONFIG_MAP: Final = ObjectKind("ConfigMap", "v1", "configmaps")
EVENT: Final = ObjectKind("Event", "events.k8s.io/v1", "events")
STATEFUL_SET: Final = ObjectKind("StatefulSet", "apps/v1", "statefulsets")
DEPLOYMENT: Final = ObjectKind("Deployment", "apps/v1", "deployments")
NODE: Final = ObjectKind("Node", "v1", "nodes")
LEASE: Final = ObjectKind("Lease", "coordination.k8s.io/v1", "leases")
NETWORK_POLICY: Final = ObjectKind("NetworkPolicy", "networking.k8s.io/v1", "networkpolicies")

OWNED: Final = (
    ObjectKind("Service", "v1", "services"),
    ObjectKind("ServiceAccount", "v1", "serviceaccounts"),
    CONFIG_MAP,
    ObjectKind("PodDisruptionBudget", "policy/v1", "poddisruptionbudgets"),
    NETWORK_POLICY,
    STATEFUL_SET,
    DEPLOYMENT,
)
"""Kinds that the operator makes and watches by label."""

_by_kind: Final = {kind.kind: kind for kind in (*OWNED, POOL, POLICY, POD, SECRET, EVENT, LEASE)}


def kind_of(obj: Object) -> ObjectKind:
    """The Kind of an object that carries `kind`."""
    return _by_kind[obj["kind"]]


class ClusterError(Exception):
    """A call that the API server refused or did not answer; `str()` is in its own words.

    `status` is the HTTP status, 0 when there was no answer.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    @property
    def not_found(self) -> bool:
        """The object does not exist."""
        return self.status == 404

    @property
    def forbidden(self) -> bool:
        """A right is missing; not that a policy, a quota or a namespace that ends is in the way."""
        return self.status == 403 and ' is forbidden: User "' in str(self)

    @property
    def conflict(self) -> bool:
        """Somebody else was quicker: the object exists already, or its resourceVersion moved on."""
        return self.status == 409


class Cluster:
    """A connection to one API server. Use as an async context manager."""

    def __init__(self, api: client.ApiClient) -> None:
        self._api = api

    @classmethod
    async def connect(cls) -> Self:
        """Connect with the pod's service account, or else with the kubeconfig."""
        settings = client.Configuration()
        try:
            config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
        except config.ConfigException:
            await config.load_kube_config(client_configuration=settings)  # type: ignore[no-untyped-call]
        settings.retries = None
        settings.connection_pool_maxsize = 0  # no bound: each watch of a list of namespaces holds a connection
        return cls(client.ApiClient(settings))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._api.close()  # type: ignore[no-untyped-call]

    async def get(self, kind: ObjectKind, namespace: str, name: str) -> Object:
        """Read one object. Raises ClusterError."""
        return _with_kind(await self._call("GET", kind.path(namespace, name)), kind)

    async def list(
        self, kind: ObjectKind, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> tuple[list[Object], str]:
        """Read all objects of a kind, and the resourceVersion of the list. Raises ClusterError."""
        query = {"labelSelector": labels, "fieldSelector": fields}
        answer = await self._call("GET", kind.path(namespace), query=query)
        items = [_with_kind(item, kind) for item in answer.get("items") or ()]
        return items, str(answer["metadata"].get("resourceVersion", "0"))

    async def pages(
        self, kind: ObjectKind, namespace: str = "", *, labels: str = ""
    ) -> AsyncIterator[tuple[Iterator["Listed"], str]]:
        """Read all objects of a kind, so many at a time, each time with the list's resourceVersion. Raises
        ClusterError; 410 when reading took so long that the list has to be begun anew."""
        following = ""
        while True:
            query = {"labelSelector": labels, "limit": str(PAGE), "continue": following}
            page = _page.decode(await self._read("GET", kind.path(namespace), query=query))
            yield (Listed(kind, _item.decode(item).metadata, item) for item in page.items or ()), page.revision
            if not (following := page.following):
                return

    async def watch(
        self, kind: ObjectKind, namespace: str, revision: str, *, labels: str = ""
    ) -> AsyncIterator[Object]:
        """Events since `revision`, as the API server sends them, bookmarks included; ends after some minutes.

        Raises ClusterError, 410 when the API server has forgotten that revision.
        """
        query = {
            "watch": "true", "resourceVersion": revision, "labelSelector": labels, "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_SECONDS),
        }  # fmt: skip
        try:
            response = await self._send("GET", kind.path(namespace), query=query, seconds=WATCH_SECONDS + 60)
            if not 200 <= response.status <= 299:
                raise ClusterError(response.status, _words(await response.read(), f"HTTP {response.status}"))
            with closing(response.response):
                async for line in _lines(response.response.content, SILENT_SECONDS):
                    event: Object = msgspec.json.decode(line)
                    if event["type"] == "ERROR":
                        status = event["object"]
                        raise ClusterError(int(status.get("code") or 0), str(status.get("message")))
                    yield event
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ClusterError(0, f"the API server does not answer: {str(error) or type(error).__name__}") from error

    async def create(self, obj: Object, manager: str = names.FIELD_MANAGER) -> Object:
        """Create an object that does not exist yet. Raises ClusterError (conflict when it does)."""
        kind = kind_of(obj)
        answer = await self._call(
            "POST", kind.path(obj["metadata"]["namespace"]), body=obj, query={"fieldManager": manager}
        )
        return _with_kind(answer, kind)

    async def apply(self, obj: Object) -> Object:
        """Server-side apply, forced: our fields are ours. With a resourceVersion it is a compare-and-swap."""
        kind, meta = kind_of(obj), obj["metadata"]
        answer = await self._call(
            "PATCH",
            kind.path(meta["namespace"], meta["name"]),
            body=as_yaml(obj),
            query={"fieldManager": names.FIELD_MANAGER, "force": "true"},
            content_type="application/apply-patch+yaml; charset=utf-8",  # so that the client takes the text as it is
        )
        return _with_kind(answer, kind)

    async def patch(self, kind: ObjectKind, namespace: str, name: str, patch: Object, subresource: str = "") -> Object:
        """Merge-patch an object or its status. Raises ClusterError."""
        answer = await self._call(
            "PATCH",
            kind.path(namespace, name, subresource),
            body=patch,
            query={"fieldManager": names.FIELD_MANAGER},
            content_type="application/merge-patch+json",
        )
        return _with_kind(answer, kind)

    async def annotate(self, kind: ObjectKind, namespace: str, name: str, annotations: Mapping[str, str]) -> None:
        """Set annotations. The object, which may be long, is not answered. Raises ClusterError."""
        await self._read(
            "PATCH",
            kind.path(namespace, name),
            body={"metadata": {"annotations": dict(annotations)}},
            query={"fieldManager": names.FIELD_MANAGER},
            content_type="application/strategic-merge-patch+json",  # the cheapest for the API server
            accept="application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
        )

    async def _call(self, method: str, path: str, **more: Any) -> Object:
        answer: Object = msgspec.json.decode(await self._read(method, path, **more))
        return answer

    async def _read(self, method: str, path: str, **more: Any) -> bytes:
        """The body of the answer. Raises ClusterError."""
        try:
            response = await self._send(method, path, **more)
            raw: bytes = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ClusterError(0, f"the API server does not answer: {str(error) or type(error).__name__}") from error
        if not 200 <= response.status <= 299:
            raise ClusterError(response.status, _words(raw, f"HTTP {response.status}"))
        return raw

    async def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | str | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        seconds: float = TIMEOUT_SECONDS,
    ) -> Any:
        """The response before its body is read. Raises ClusterError where the client library does."""
        try:
            request = await self._api.param_serialize(
                method,
                path,
                query_params=[(key, value) for key, value in (query or {}).items() if value],
                header_params={"Accept": accept, "Content-Type": content_type},
                body=body,
                auth_settings=["BearerToken"],
            )
            return await self._api.call_api(*request, _request_timeout=seconds)
        except ApiException as error:
            raise ClusterError(error.status or 0, _words(error.body, str(error.reason))) from error


class Listed(NamedTuple):
    """An item of a list. What is known already is not decoded, nor are there two of them decoded at a time."""

    kind: ObjectKind
    metadata: "_Metadata"
    raw: msgspec.Raw

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name."""
        return self.metadata.namespace, self.metadata.name

    @property
    def revision(self) -> int:
        """resourceVersion."""
        return int(self.metadata.resourceVersion or 0)

    def read(self) -> Object:
        """The object."""
        return _with_kind(msgspec.json.decode(self.raw), self.kind)


class _Metadata(msgspec.Struct):
    name: str
    namespace: str = ""
    resourceVersion: str = "0"  # noqa: N815 - the API's name


class _Item(msgspec.Struct):
    metadata: _Metadata


class _Page(msgspec.Struct):
    """A part of a list, with its items as they came."""

    metadata: dict[str, Any]
    items: list[msgspec.Raw] | None = None

    @property
    def revision(self) -> str:
        return str(self.metadata["resourceVersion"])

    @property
    def following(self) -> str:
        return str(self.metadata.get("continue") or "")


_page: Final = msgspec.json.Decoder(_Page)
_item: Final = msgspec.json.Decoder(_Item)

_NOT_BARE: Final = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")


def as_yaml(obj: Object) -> str:
    """JSON that is YAML as well, which server-side apply asks for: a pair of escaped surrogates is none, and neither is
    a bare control character or line break."""
    text = json.dumps(obj, ensure_ascii=False, separators=(",", ":"))
    return _NOT_BARE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


async def _lines(content: aiohttp.StreamReader, silence: float) -> AsyncIterator[bytes]:
    """Lines of any length. Raises TimeoutError when nothing comes for `silence` seconds."""
    pieces: list[bytes] = []
    while True:
        async with asyncio.timeout(silence):
            chunk = await content.readany()
        if not chunk:
            return
        first, *more = chunk.split(b"\n")
        pieces.append(first)
        for piece in more:
            yield b"".join(pieces)
            pieces = [piece]


def _words(body: str | bytes | None, otherwise: str) -> str:
    """The `message` of the Status that the API server answered with."""
    try:
        return str(json.loads(body or "")["message"])
    except (ValueError, KeyError, TypeError):
        return otherwise


def _with_kind(obj: Object, kind: ObjectKind) -> Object:
    """Items of a list come without kind and apiVersion."""
    return {**obj, "kind": kind.kind, "apiVersion": kind.api_version}
