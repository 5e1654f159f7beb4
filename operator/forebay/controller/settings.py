"""Settings of the operator, read once from the environment."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from forebay.resources import names
from forebay.rules.addresses import networks


class SettingsError(ValueError):
    """An environment variable is missing or makes no sense; the message names it."""


@dataclass(frozen=True, slots=True)
class Images:
    """Container images that new templates are made from."""

    router: str
    simulator: str
    engine: str


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that the chart can tell the operator."""

    images: Images
    gateway_replicas: int = 2
    namespaces: tuple[str, ...] = ()  # empty: the whole cluster
    resync_seconds: float = 5.0  # how often a fleet is looked at, because demand must be sampled
    relist_seconds: float = 300.0  # how often the cache is compared with full lists
    concurrency: int = 4  # fleets worked on at a time
    network_policies: bool = True
    provider_networks: tuple[str, ...] = ()  # CIDR: where cloud providers may be besides public addresses
    health_port: int = 8082
    metrics_port: int = 9090
    control_port: int = names.PORT_CONTROL  # of the routers; tests put another one here
    host: str = "0.0.0.0"  # noqa: S104 - a pod's own address is not known beforehand
    instance: str = "forebay"
    own_namespace: str = ""
    operator: str = ""  # its Service as gateways reach it, a DNS name; empty: nobody is told
    wake_port: int = names.PORT_OPERATOR
    lease_namespace: str = "kube-system"  # where operators for the whole cluster hold their Lease
    log_level: str = "INFO"

    @property
    def identity(self) -> str:
        """What tells this operator from every other, in its Lease."""
        return f"{self.own_namespace}/{self.instance}" if self.own_namespace else self.instance

    @property
    def stale_seconds(self) -> float:
        """A report older than this no longer says how a router is: three periods."""
        return 3 * self.resync_seconds


def load(env: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings. Raises SettingsError with the variable's name."""
    router = env.get("FOREBAY_ROUTER_IMAGE", "")
    if not router:
        raise SettingsError("FOREBAY_ROUTER_IMAGE is not set: name the image that holds forebay-router")
    return Settings(
        images=Images(
            router=router,
            simulator=env.get("FOREBAY_SIMULATOR_IMAGE") or router,
            engine=env.get("FOREBAY_ENGINE_IMAGE") or "vllm/vllm-openai:latest",
        ),
        gateway_replicas=int(_number(env, "FOREBAY_GATEWAY_REPLICAS", 2, least=1)),
        namespaces=tuple(name for part in env.get("FOREBAY_NAMESPACES", "").split(",") if (name := part.strip())),
        resync_seconds=_number(env, "FOREBAY_RESYNC_SECONDS", 5, least=0.2),
        provider_networks=_networks(env, "FOREBAY_PROVIDER_NETWORKS"),
        network_policies=env.get("FOREBAY_NETWORK_POLICIES", "true").lower() != "false",
        health_port=int(_number(env, "FOREBAY_HEALTH_PORT", 8082, least=0)),
        metrics_port=int(_number(env, "FOREBAY_METRICS_PORT", 9090, least=0)),
        control_port=int(_number(env, "FOREBAY_CONTROL_PORT", names.PORT_CONTROL, least=1)),
        instance=env.get("POD_NAME") or socket.gethostname(),
        own_namespace=env.get("POD_NAMESPACE", ""),
        operator=_service(env.get("FOREBAY_SERVICE", ""), env.get("POD_NAMESPACE", "")),
        wake_port=int(_number(env, "FOREBAY_WAKE_PORT", names.PORT_OPERATOR, least=0)),
        lease_namespace=env.get("FOREBAY_LEASE_NAMESPACE") or "kube-system",
        log_level=env.get("FOREBAY_LOG_LEVEL", "INFO").upper(),
    )


def _service(name: str, namespace: str) -> str:
    return f"{name}.{namespace}.svc" if name and namespace else ""


def _networks(env: Mapping[str, str], name: str) -> tuple[str, ...]:
    words = tuple(word for part in env.get(name, "").split(",") if (word := part.strip()))
    try:
        return tuple(str(network) for network in networks(words))
    except ValueError as error:
        raise SettingsError(f"{name}: {error}") from error


def _number(env: Mapping[str, str], name: str, default: float, *, least: float) -> float:
    text = env.get(name, "")
    try:
        value = float(text) if text else default
    except ValueError as error:
        raise SettingsError(f"{name} is {text!r}: it must be a number") from error
    if value < least:
        raise SettingsError(f"{name} is {text}: it must be at least {least:g}")
    return value
