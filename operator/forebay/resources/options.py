"""Every option of operator and routers, once: one row says its name, type, default, bounds and what it is for.

From here come the operator's settings (`FOREBAY_...`), the router's flags (`--...`), what the operator hands on to
gateways, the chart's schema and environment (`make options`) and the tables of docs/reference.md (`make docs`). By hand
is only the default in the chart's values.yaml with its comment. The names follow from the field's: `resync_seconds` is
FOREBAY_RESYNC_SECONDS or `--resync-seconds`.
"""

import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from forebay.resources import names
from forebay.resources.option import Address, Form, Rules, argument, group, option, rows
from forebay.resources.terms import TaskSource
from forebay.sockets import EVERY_ADDRESS


def _proxy(word: str) -> str:
    """A proxy in its one spelling. Raises ValueError for one that nobody could be reached at."""
    name, _, url = word.partition("=")
    parts = urlsplit(url)
    if not parts.hostname or parts.port == 0:
        raise ValueError(f"{url} names no host and port")
    return f"{name}={url.rstrip('/')}"


IMAGE: Final = Form("an image, like registry/name:tag")
NAMESPACE: Final = Form("the name of a namespace", r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", 63)
NETWORK: Final = Form(
    "a network in CIDR notation, like 10.96.0.0/12",
    r"^[0-9a-fA-F:.]+/[0-9]{1,3}$",
    49,
    lambda word: str(ip_network(word)),
)
PROXY: Final = Form(
    "a name and a URL, like corp=http://proxy.example:3128, without a user",
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?=https?://[-.A-Za-z0-9_\[\]:]+/?$",
    320,
    _proxy,
)
ORIGIN: Final = Form("an origin, like https://chat.example.com, or *", r"^(\*|[a-z][a-z0-9+.-]*://[^/\s,]+)$", 255)
DAY: Final = 86_400
LAST_PORT: Final = 65_535
PULL_POLICIES: Final = ("Always", "IfNotPresent", "Never")
USUAL_PULL_POLICY: Final = "IfNotPresent"
SECRET: Final = Form("the name of a Secret", r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", 253)
GATEWAY: Final = "gateway"
SIDECAR: Final = "sidecar"


def _port(description: str, default: int) -> Any:
    return option(f"{description}; 0: a free one.", default=default, least=0, most=LAST_PORT)


def _patience(description: str, default: float, value: str) -> Any:
    return option(description, default=default, unit="seconds", least=0.001, most=DAY, value=value)


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    """What the operator takes from its environment and hands on to every gateway as a flag.

    There is no such class for sidecars: the pod template of a replica is recorded and follows the pool's spec alone.
    """

    provider_networks: tuple[str, ...] = option(
        "Networks in CIDR notation that cloud providers may be in besides public addresses, over http too.",
        default=(), form=NETWORK, most=64, value="cloud.allowedNetworks",
    )  # fmt: skip
    provider_proxies: tuple[str, ...] = option(
        "Egress proxies that a policy may name for a provider, each a name and a URL.",
        default=(), form=PROXY, most=16, value="cloud.proxies",
    )  # fmt: skip
    cors_origins: tuple[str, ...] = option(
        "Origins of web pages that browsers let use a gateway (CORS).",
        default=(), form=ORIGIN, most=64, value="cors.origins",
    )  # fmt: skip
    task_source: str = option(
        "Where the classifier looks for what a request asks for: in the user's words, the system prompt, the tools and"
        " the schema of the answer, or in the user's words alone.",
        default=TaskSource.ANYWHERE, choices=tuple(TaskSource), value="classifier.taskSource",
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class RouterTimeouts:
    """How long a router waits for another router or an engine, in seconds.

    To routers of a fleet these come with the routing table: what a pool says itself, else what the operator was told.
    """

    connect: float = _patience(
        "Longest wait for a connection to another router or an engine.", 2.0, "timeouts.connectSeconds"
    )
    first_token: float = _patience(
        "Least patience for the first content byte; a gateway learns how long its pools need.",
        60.0, "timeouts.firstTokenSeconds",
    )  # fmt: skip
    between_chunks: float = _patience(
        "Longest silence within an answer whose engine makes no tokens.", 30.0, "timeouts.betweenChunksSeconds"
    )
    silence: float = _patience(
        "Longest silence before or within an answer whose engine makes tokens.", 300.0, "timeouts.silenceSeconds"
    )
    total: float = _patience("Longest time for a whole request.", 600.0, "timeouts.totalSeconds")
    idle: float = _patience(
        "Longest time that a connection to another router or an engine is kept without a request.",
        4.0, "timeouts.idleSeconds",
    )  # fmt: skip
    ping: float = option(
        "How long a stream waits for its first token, in the queue or at an engine, until its head and then pings are"
        " sent; 0: it waits in silence.",
        default=0.0, unit="seconds", least=0, most=3600, value="timeouts.pingSeconds",
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Images:
    """Container images that new templates are made from."""

    router: str = option("Image of the routers; the chart's default is the operator's own.", form=IMAGE,
                         value="routerImage")  # fmt: skip
    simulator: str = option("Image of simulated engines; the chart's default is the operator's own.", default="",
                            form=IMAGE, shown="the image of the routers", value="simulatorImage")  # fmt: skip
    engine: str = option("Image of vLLM for pools that name none.", default="vllm/vllm-openai:v0.32.0", form=IMAGE,
                         value="engineImage")  # fmt: skip
    pull_policy: str = option("When forebay's own images are pulled.", default=USUAL_PULL_POLICY, name="pull_policy",
                              choices=PULL_POLICIES, value="image.pullPolicy")  # fmt: skip


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """Where the NetworkPolicies of gateways and replicas let connections go besides each other."""

    dns_ports: tuple[int, ...] = option(
        "Ports that DNS servers listen on; those of kube-dns in kube-system are reached on any.",
        default=(53, 5353), least=1, most=LAST_PORT, value="networkPolicies.dnsPorts",
    )  # fmt: skip
    model_ports: tuple[int, ...] = option(
        "Ports on which replicas fetch models from anywhere.",
        default=(443,), least=1, most=LAST_PORT, value="networkPolicies.modelPorts",
    )  # fmt: skip
    gateway_egress: Rules = option(
        "More egress rules of gateways, as a NetworkPolicy has them.", default=(), value="networkPolicies.gatewayEgress"
    )
    replica_egress: Rules = option(
        "More egress rules of replicas, as a NetworkPolicy has them.", default=(), value="networkPolicies.replicaEgress"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorOptions:
    """What the operator's environment can say; the chart writes it in this order."""

    images: Images = group(name="{}_image")
    pull_secrets: tuple[str, ...] = option(
        "Secrets of each fleet's namespace that images of gateways and replicas are pulled with.",
        default=(), form=SECRET, most=16, value="fleetPullSecrets",
    )  # fmt: skip
    gateway_replicas: int = option("Gateways of each fleet.", default=2, least=1, most=20, value="gatewayReplicas")
    gateway_pods: dict[str, Any] = option(
        "How gateways run where a fleet's policy `default` does not say it, with the fields of its `spec.gateway`.",
        factory=dict, value="gateway", shown="none",
    )  # fmt: skip
    namespaces: tuple[str, ...] = option(
        "Namespaces to watch; empty: all of the cluster.", default=(), form=NAMESPACE, value="namespaces"
    )
    lease_namespace: str = option(
        "Where an operator for the whole cluster holds its Lease.",
        default="kube-system", form=NAMESPACE, value="leaseNamespace",
    )  # fmt: skip
    resync_seconds: float = option(
        "How often each fleet is looked at; demand is sampled that often.",
        default=5.0, unit="seconds", least=1, most=60, value="resyncSeconds",
    )  # fmt: skip
    gateway: GatewayOptions = group(GatewayOptions, role=GATEWAY)
    timeouts: RouterTimeouts = group(RouterTimeouts, name="{}_seconds")
    network_policies: bool = option(
        "Whether there are NetworkPolicies for gateways and replicas.", default=True, value="networkPolicies.enabled"
    )
    network: NetworkOptions = group(NetworkOptions)
    run_as_user: int | None = option(
        "User and group of operator, gateways and sidecars; none: the cluster chooses, as OpenShift does.",
        default=names.USER, least=1, most=2**31 - 1, value="securityContext.runAsUser",
    )  # fmt: skip
    log_level: str = option(
        "The least level that the operator's log shows.",
        default="INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"), value="logLevel",
    )  # fmt: skip
    service: str = option(
        "The operator's own Service, at which gateways ask for a pool at zero.", default="", shown="none: nobody asks"
    )
    instance: str = option(
        "The operator's own name in Lease and Events.",
        env="POD_NAME", factory=socket.gethostname, shown="the host's name",
    )  # fmt: skip
    own_namespace: str = option(
        "The namespace that the operator runs in.", default="", env="POD_NAMESPACE", shown="unknown"
    )
    health_port: int = _port("The operator's port for probes", names.PORT_HEALTH)
    metrics_port: int = _port("The operator's port for Prometheus and the summary", names.PORT_METRICS)
    control_port: int = option(
        "The port at which routers are asked for reports.", default=names.PORT_CONTROL, least=1, most=LAST_PORT
    )
    wake_port: int = _port("The operator's port at which gateways ask for a pool at zero", names.PORT_OPERATOR)


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the four ports of a router listen; 0 takes a free one."""

    request: int = _port("Port for clients", names.PORT_REQUEST)
    control: int = _port("Port for routers and the operator", names.PORT_CONTROL)
    metrics: int = _port("Port for Prometheus to scrape", names.PORT_METRICS)
    health: int = _port("Port for the kubelet's probes", names.PORT_HEALTH)


def _pod_or_host() -> str:
    return os.environ.get("POD_NAME") or socket.gethostname()


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterOptions:
    """What the flags of a router can say. Folders are None where nothing is mounted."""

    role: str = option("What the router is, in front of a fleet or of one engine.", choices=(GATEWAY, SIDECAR))
    table: Path = option("File with the routing table, JSON, which is watched.")
    pool: str = option("Pool of the replica that the sidecar is part of.", default="", role=SIDECAR, shown="none")
    replica: str = option(
        "The router's own name in reports and logs.", factory=_pod_or_host, shown="POD_NAME, else the host's name"
    )
    engine: Address = option(
        "Where the sidecar's engine listens.",
        default=("127.0.0.1", names.PORT_ENGINE), name="engine_url", role=SIDECAR,
    )  # fmt: skip
    host: str = option("Address that all four ports listen on; `::` is every one, of IPv4 too.", default=EVERY_ADDRESS)
    ports: Ports = group(Ports, name="{}_port")
    timeouts: RouterTimeouts = group(RouterTimeouts, name="{}_seconds")
    token_dir: Path | None = option(
        "Folder with the fleet's control token.", default=None, secret=True, shown="none: loopback alone may come in"
    )
    clients_dir: Path | None = option(
        "Folder with the keys of clients.", default=None, secret=True, shown="none: every client is anonymous"
    )
    providers_dir: Path | None = option(
        "Folder with the keys of cloud providers.", default=None, secret=True, role=GATEWAY, shown="none"
    )
    budget_dir: Path | None = option(
        "Folder with the ledgers of the policies' budgets.", default=None, role=GATEWAY,
        shown="none: nothing is paid from a budget",
    )  # fmt: skip
    journal_dir: Path | None = option(
        "Folder in memory-backed storage for the journal of what is spent.", default=None, role=GATEWAY,
        shown="none: a restart forgets it",
    )  # fmt: skip
    gateway: GatewayOptions = group(GatewayOptions, role=GATEWAY)
    access_log: bool = option("Whether each request gets a line of JSON on stdout.", default=True)


def router_arguments(**values: Any) -> list[str]:
    """Arguments of forebay-router by the options' names, in the order given."""
    by_name = {row.name: row for row in rows(RouterOptions)}
    return [argument(by_name[name], value) for name, value in values.items()]


def proxies(words: Iterable[str]) -> dict[str, str]:
    """URLs of the chart's proxies by their names."""
    return {name: url for name, _, url in (word.partition("=") for word in words)}


def handed_on(gateway: GatewayOptions) -> list[str]:
    """Arguments that tell a gateway what is not as usual."""
    values = ((row, getattr(gateway, row.name)) for row in rows(GatewayOptions))
    return [argument(row, value) for row, value in values if value != row.default]
