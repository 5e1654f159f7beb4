"""The one adapter to the API server: plain objects in and out, a time limit on every call, one kind of error.

Who connects, and where to, is what kubectl would do: kubeconfig with its exec plugins and contexts, else the pod's own
service account. Only reads.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Self

from forebay.cli.problem import Problem
from forebay.resources import names

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

Object = dict[str, Any]
TIMEOUT_SECONDS: Final = (5.0, 20.0)
"""To connect, and between two pieces of an answer."""
LOG_BYTES: Final = 32 * 1024 * 1024
_OURS: Final = {names.POOL_PLURAL, names.POLICY_PLURAL}


class ApiServerRefused(Problem):
    """The API server said no. `code` is its HTTP status; 0 when it did not answer."""

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.code = code


class ClusterReader:
    """A connection to one API server. `namespace` is the context's."""

    def __init__(self, api: "ApiClient", namespace: str = "default") -> None:
        self._api = api
        self.namespace = namespace

    @classmethod
    def connect(cls, kubeconfig: str = "", context: str = "") -> Self:
        """Find out where the cluster is, without asking it anything yet. Raises Problem."""
        # A second of imports that `profile` and `--help` need not wait for.
        from kubernetes import client, config  # noqa: PLC0415

        settings = client.Configuration()
        try:
            config.load_kube_config(  # type: ignore[no-untyped-call]
                kubeconfig or None, context or None, settings, persist_config=False
            )
            namespace = _namespace(kubeconfig, context)
        except config.ConfigException as error:
            if kubeconfig or context:
                raise Problem(_no_config(str(error), kubeconfig, context)) from None
            try:
                config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
            except config.ConfigException:
                raise Problem(_no_config(str(error), kubeconfig, context)) from None
            namespace = _own_namespace()
        settings.retries = False
        return cls(client.ApiClient(settings), namespace)

    def list(self, api_version: str, plural: str, namespace: str = "", **query: str) -> list[Object]:
        """All objects of a kind in one namespace, or everywhere. `query` as in `labelSelector`. Raises Refused."""
        where = f"namespaces/{namespace}/" if namespace else ""
        answer = self._get(f"{_root(api_version)}/{where}{plural}", _Asked("list", plural, namespace), query)
        items: list[Object] = json.loads(answer).get("items") or []
        return items

    def get(self, api_version: str, plural: str, namespace: str, name: str) -> Object | None:
        """One object; None where there is none of this name. Raises Refused."""
        path = f"{_root(api_version)}/namespaces/{namespace}/{plural}/{name}"
        try:
            found: Object = json.loads(self._get(path, _Asked("get", plural, namespace, name)))
        except ApiServerRefused as refused:
            if refused.code == 404 and not refused.args[0].startswith(_NO_CRDS):
                return None
            raise
        return found

    def through_service(self, namespace: str, service: str, path: str) -> bytes:
        """GET from a Service, through the API server's proxy. Raises Refused."""
        asked = _Asked("get", "services/proxy", namespace, service)
        return self._get(f"/api/v1/namespaces/{namespace}/services/{service}/proxy/{path}", asked)

    def log(self, namespace: str, pod: str, container: str, lines: int) -> str:
        """The last lines of a container's log, LOG_BYTES at most. Raises Refused."""
        query = {"container": container, "tailLines": str(lines), "limitBytes": str(LOG_BYTES)}
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        return self._get(path, _Asked("get", "pods/log", namespace, pod), query).decode(errors="replace")

    def _get(self, path: str, asked: "_Asked", query: Mapping[str, str] | None = None) -> bytes:
        from kubernetes.client.exceptions import ApiException  # noqa: PLC0415
        from urllib3.exceptions import HTTPError  # noqa: PLC0415

        request = self._api.param_serialize(
            "GET",
            path,
            query_params=list((query or {}).items()),
            header_params={"Accept": "application/json, */*"},
            auth_settings=["BearerToken"],
        )
        try:
            response = self._api.call_api(*request, _request_timeout=TIMEOUT_SECONDS)
            body: bytes = response.read()  # type: ignore[no-untyped-call]
        except ApiException as error:
            raise asked.refused(error.status or 0, error.body) from None
        except (HTTPError, OSError) as error:
            where = self._api.configuration.host
            raise ApiServerRefused(f"the API server {where} does not answer: {_cause(error)}", 0) from None
        if response.status != 200:
            raise asked.refused(response.status, body)
        return body


class _Asked:
    """What was asked for, for the sentence when it is refused."""

    def __init__(self, verb: str, resource: str, namespace: str = "", name: str = "") -> None:
        self.verb, self.resource, self.namespace, self.name = verb, resource, namespace, name

    def refused(self, code: int, body: str | bytes | None) -> ApiServerRefused:
        """The refusal as one sentence."""
        scope = f"in namespace {self.namespace}" if self.namespace else "in all namespaces"
        what = f"{self.resource} {self.name}".strip()
        if code == 401:
            return ApiServerRefused("the API server does not know you: log in again, or choose another --context", code)
        if code == 403:
            where = "" if self.namespace else ", or name a namespace with -n"
            return ApiServerRefused(f"you may not {self.verb} {what} {scope}: ask for that right{where}", code)
        if code == 404 and self.resource in _OURS and _no_status(body):
            return ApiServerRefused(f"{_NO_CRDS}: install forebay's chart first (helm install forebay)", code)
        if code == 404:
            return ApiServerRefused(f"there is no {what} {scope}", code)
        return ApiServerRefused(f"the API server does not {self.verb} {what} {scope}: {_message(body, code)}", code)


_NO_CRDS: Final = f"this cluster has no {names.POOL_KIND} resource"


def _root(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


def _namespace(kubeconfig: str, context: str) -> str:
    from kubernetes import config  # noqa: PLC0415

    contexts, active = config.list_kube_config_contexts(kubeconfig or None)  # type: ignore[no-untyped-call]
    chosen = next((item for item in contexts if item["name"] == context), active)
    return str(chosen["context"].get("namespace") or "default")


def _own_namespace() -> str:
    try:
        with open("/var/run/secrets/kubernetes.io/serviceaccount/namespace") as file:  # noqa: PTH123
            return file.read().strip() or "default"
    except OSError:
        return "default"


def _no_config(error: str, kubeconfig: str, context: str) -> str:
    if context:
        return f"no cluster: the kubeconfig has no usable context {context} ({error})"
    if kubeconfig:
        return f"no cluster: {kubeconfig} is no usable kubeconfig ({error})"
    return "no cluster: there is no kubeconfig; name one with --kubeconfig or in KUBECONFIG"


def _cause(error: Exception) -> str:
    """The innermost words: `connection refused` rather than a pool's life story."""
    reason = getattr(error, "reason", None)
    return str(reason or error or type(error).__name__).rpartition(": ")[2].strip(")'\" ") or type(error).__name__


def _text(body: str | bytes | None) -> str:
    return body.decode(errors="replace") if isinstance(body, bytes) else body or ""


def _no_status(body: str | bytes | None) -> bool:
    """Whether a 404 is about a path that is not served, rather than about an object that does not exist."""
    try:
        return bool(json.loads(_text(body)).get("kind") != "Status")
    except (ValueError, AttributeError):
        return True


def _message(body: str | bytes | None, code: int) -> str:
    """The `message` of the Status that it answered with."""
    try:
        return str(json.loads(_text(body))["message"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {code}"
