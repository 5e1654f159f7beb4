"""Every name that two parts of forebay must agree on: API group, labels, object names, ports, paths."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

GROUP: Final = "forebay.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
POOL_KIND: Final = "LocalModelPool"
POOL_PLURAL: Final = "localmodelpools"
POLICY_KIND: Final = "CloudFallbackPolicy"
POLICY_PLURAL: Final = "cloudfallbackpolicies"

FIELD_MANAGER: Final = "forebay"
REPORTING_CONTROLLER: Final = f"{GROUP}/operator"

# Labels. MANAGED_SELECTOR is what the operator watches and lists by.
LABEL_NAME: Final = "app.kubernetes.io/name"
LABEL_COMPONENT: Final = "app.kubernetes.io/component"
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
LABEL_POOL: Final = f"{GROUP}/pool"
MANAGED_BY: Final = "forebay"
MANAGED_SELECTOR: Final = f"{LABEL_MANAGED_BY}={MANAGED_BY}"
COMPONENT_REPLICA: Final = "replica"
COMPONENT_GATEWAY: Final = "gateway"
COMPONENT_OPERATOR: Final = "operator"  # as the chart labels it

# Annotations.
ANNOTATION_TEMPLATE: Final = (
    f"{GROUP}/pod-template"  # on the StatefulSet: the recorded template and what it was made from
)
ANNOTATION_APPLIED: Final = f"{GROUP}/applied"  # on every object: hash of what the operator applied last
ANNOTATION_REPLICAS: Final = f"{GROUP}/replicas"  # on the StatefulSet: the size the operator decided on
ANNOTATION_GENERATION: Final = f"{GROUP}/table-generation"  # on router pods: makes the kubelet sync the table now
ANNOTATION_ROUTER_IMAGE: Final = f"{GROUP}/router-image"  # on replica pods: the router they run

ANNOTATION_LOCAL_VOLUMES: Final = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"  # on pods
ANNOTATION_ROTATE: Final = f"{GROUP}/rotate"  # on the control token: a new value asks for another token
ANNOTATION_ROTATED: Final = f"{GROUP}/rotated"  # the value that was last followed
ANNOTATION_ROTATION: Final = f"{GROUP}/rotation"  # how far a rotation is, and since when (Unix seconds)

# Objects of a fleet (one namespace).
CLIENT_SERVICE: Final = "forebay"
GATEWAY: Final = "forebay-gateway"  # Deployment, ServiceAccount, PodDisruptionBudget, headless Service
CONTROL_TOKEN_SECRET: Final = "forebay-control-token"  # noqa: S105 - a name
CLIENTS_SECRET: Final = "forebay-clients"  # noqa: S105 - a name
ROUTING_CONFIGMAP: Final = "forebay-routing"
BUDGET_CONFIGMAP: Final = "forebay-budget"
GATEWAY_TABLE_KEY: Final = "gateway.json"
LEASE: Final = "forebay-operator"  # who acts on a namespace, or on the whole cluster
DEFAULT_POLICY: Final = "default"

# Keys of the control token's Secret. Two tokens are valid at a time, so that it can rotate.
TOKEN_CURRENT_KEY: Final = "current"  # noqa: S105 - a name
TOKEN_PREVIOUS_KEY: Final = "previous"  # noqa: S105 - a name


def pool_table_key(pool: str) -> str:
    """Key of the routing ConfigMap that holds one pool's part of the table."""
    return f"pool-{pool}.json"


def replicas_service(pool: str) -> str:
    """Name of a pool's headless Service, which gives gateways the addresses of its replicas."""
    return f"{pool}-replicas"


# Containers of a replica, and the one of a gateway pod.
CONTAINER_ENGINE: Final = "engine"
CONTAINER_ROUTER: Final = "router"

# Ports, one purpose each.
USER: Final = 65532  # of every process that forebay starts, where the chart does not say otherwise; the image's own

PORT_REQUEST: Final = 8080  # clients: the OpenAI API
PORT_CONTROL: Final = 8081  # routers and the operator, with the fleet's token
PORT_METRICS: Final = 9090  # Prometheus
PORT_HEALTH: Final = 8082  # kubelet: probes, /drained
PORT_ENGINE: Final = 8000  # the engine, on loopback only
PORT_CLIENTS: Final = 80  # the Services that clients use
PORT_OPERATOR: Final = 8081  # the operator's own: gateways, with their fleet's token

PORTS: Final[Mapping[str, tuple[int, str]]] = MappingProxyType({
    "request": (PORT_REQUEST, "clients: the OpenAI API. The Services `forebay` and those of the pools listen on port "
                              f"{PORT_CLIENTS}"),
    "control": (PORT_CONTROL, "routers and the operator, with the fleet's token"),
    "metrics": (PORT_METRICS, "Prometheus: `/metrics`"),
    "health": (PORT_HEALTH, "the kubelet: probes and the two halves of a drain"),
})  # fmt: skip
"""Ports of a router by name, with who uses them."""

# Where things are mounted in router containers.
TABLE_DIR: Final = "/etc/forebay/table"
TABLE_FILE: Final = f"{TABLE_DIR}/table.json"
TOKEN_DIR: Final = "/etc/forebay/token"  # noqa: S105 - a path
BUDGET_DIR: Final = "/etc/forebay/budget"
JOURNAL_DIR: Final = "/var/run/forebay/journal"
CLIENTS_DIR: Final = "/etc/forebay/clients"
PROVIDERS_DIR: Final = "/etc/forebay/providers"  # one folder a policy and provider, see provider_key_path
CLIENTS_KEY: Final = "clients.json"  # key of the clients Secret


KEY_FILE: Final = "key"
CA_FILE: Final = "ca.crt"
CERTIFICATE_FILE: Final = "tls.crt"  # as in a Secret of type kubernetes.io/tls
PRIVATE_KEY_FILE: Final = "tls.key"


def provider_file(policy: str, provider: str, file: str) -> str:
    """Where a gateway pod has one of a provider's files: one of those above, or a header's."""
    return f"{PROVIDERS_DIR}/{policy}/{provider}/{file}"


def header_file(header: str) -> str:
    """File that holds the value of one of a provider's headers."""
    return f"header-{header.lower()}"


def provider_key_path(policy: str, provider: str) -> str:
    """File that holds one provider's API key in a gateway pod."""
    return provider_file(policy, provider, KEY_FILE)


# Paths of the control port (bearer token) and of the health port.
PATH_REPORT: Final = "/forebay/v1/report"  # GET: SidecarReport or GatewayReport
PATH_SLOTS: Final = (
    "/forebay/v1/slots"  # upgraded to lines: SlotReport and SlotOffer down, WaitingWord and OfferAnswer up
)
PATH_STATE: Final = "/forebay/v1/state/"  # GET, with a response's id: 200 from the replica that stores it
PATH_WAKE: Final = "/forebay/v1/wake/"  # operator's port, POST with fleet/pool: requests want a pool without replicas
PATH_DRAIN: Final = "/drain"  # health port, loopback only: POST stops admission
PATH_DRAINED: Final = "/drained"  # health port: answers once nothing runs, or at the drain deadline
PATH_LIVE: Final = "/livez"
PATH_READY: Final = "/readyz"
PATH_STARTED: Final = "/startupz"  # the engine answers /v1/models
HEALTH_PATHS: Final[Mapping[str, str]] = MappingProxyType({
    f"GET {PATH_LIVE}": "the process answers",
    f"GET {PATH_READY}": "clients may be sent here",
    f"GET {PATH_STARTED}": "the engine answered for the first time",
    f"POST {PATH_DRAIN}": "from inside the pod only: takes nothing new",
    f"GET {PATH_DRAINED}": "answers once nothing runs, or at the end of `engine.drainSeconds`",
})  # fmt: skip
