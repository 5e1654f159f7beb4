"""What all objects have in common: labels, owners, security contexts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from forebay.controller.cluster.kubernetes_api import Object
from forebay.controller.settings import Images
from forebay.resources import names
from forebay.resources.options import USUAL_PULL_POLICY
from forebay.resources.pool import PoolSpec
from forebay.resources.sizes import BODIES_HELD

ROUTER_BYTES: Final = (256 << 20) + 3 * BODIES_HELD
"""Memory that a router may take: the process and its connections; and of the bodies that it holds, what has come, what
is on its way to an engine or provider, and what reading them takes."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A pool or a policy, as an owner reference needs it."""

    kind: str
    name: str
    uid: str

    def reference(self, *, controller: bool) -> Object:
        """The owner reference; a controller is the only one of its object."""
        bare: Object = {"apiVersion": names.API_VERSION, "kind": self.kind, "name": self.name, "uid": self.uid}
        return {**bare, "controller": True, "blockOwnerDeletion": True} if controller else bare


def fleet_labels(component: str) -> dict[str, str]:
    """Labels of an object of the fleet."""
    return {
        names.LABEL_NAME: "forebay",
        names.LABEL_COMPONENT: component,
        names.LABEL_MANAGED_BY: names.MANAGED_BY,
    }


def pool_labels(pool: str) -> dict[str, str]:
    """Labels of an object of a pool, its pods included; also the selector of its Services."""
    return {**fleet_labels(names.COMPONENT_REPLICA), names.LABEL_POOL: pool}


def pool_selector(pool: str) -> dict[str, str]:
    """What selects the pods of a pool."""
    return {names.LABEL_COMPONENT: names.COMPONENT_REPLICA, names.LABEL_POOL: pool}


def gateway_selector() -> dict[str, str]:
    """What selects the gateways of a fleet."""
    return {names.LABEL_NAME: "forebay", names.LABEL_COMPONENT: names.COMPONENT_GATEWAY}


def of_pool(kind: str, api_version: str, name: str, namespace: str, pool: Owner) -> Object:
    """Head of an object that belongs to one pool."""
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": pool_labels(pool.name),
            "ownerReferences": [pool.reference(controller=True)],
        },
    }


def of_fleet(kind: str, api_version: str, name: str, namespace: str, owners: Iterable[Owner]) -> Object:
    """Head of an object that every pool and policy of the namespace owns; the last one takes it along."""
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": fleet_labels(names.COMPONENT_GATEWAY),
            "ownerReferences": [
                owner.reference(controller=False) for owner in sorted(owners, key=lambda owner: owner.uid)
            ],
        },
    }


def with_metadata(obj: Object, metadata: Mapping[str, Mapping[str, str]]) -> Object:
    """The object with labels and annotations of users beside ours, which go before."""
    said = {field: {**values, **(obj["metadata"].get(field) or {})} for field, values in metadata.items() if values}
    return {**obj, "metadata": {**obj["metadata"], **said}}


def said_metadata(spec: PoolSpec) -> Mapping[str, Mapping[str, str]]:
    """Labels and annotations that a pool's author wants on its objects."""
    said = spec.metadata
    return {} if said is None else {"labels": said.labels, "annotations": said.annotations}


def with_pull_secrets(account: Object, secrets: Iterable[str]) -> Object:
    """The ServiceAccount with the names of Secrets that the images of its pods are pulled with."""
    references = [{"name": name} for name in secrets]
    return {**account, "imagePullSecrets": references} if references else account


def local_volumes(volumes: Iterable[Object]) -> dict[str, str]:
    """Annotation of a pod that lets Cluster Autoscaler remove its node although it has these volumes on that node's
    disk. What they hold can be had again."""
    local = [
        item["name"]
        for item in volumes
        if "hostPath" in item or item.get("emptyDir", _IN_MEMORY).get("medium") != "Memory"
    ]
    return {names.ANNOTATION_LOCAL_VOLUMES: ",".join(local)}


_IN_MEMORY: Final[Object] = {"medium": "Memory"}


def no_root(user: int | None) -> Object:
    """Of a pod or container: never as root; as this user and its group, or as the cluster chooses."""
    return {"runAsNonRoot": True} | ({} if user is None else {"runAsUser": user, "runAsGroup": user})


def pod_security(user: int | None) -> Object:
    """Security context of a pod whose every container is `restricted`."""
    group = {} if user is None else {"fsGroup": user}
    return {**no_root(user), **group, "seccompProfile": {"type": "RuntimeDefault"}}


def restricted(user: int | None) -> Object:
    """Security context of a container as Pod Security's `restricted` wants it."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        **no_root(user),
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def http_get(path: str) -> Object:
    """A probe or hook on the router's health port."""
    return {"httpGet": {"path": path, "port": names.PORT_HEALTH}}


def router_ports() -> list[Object]:
    """The four ports of a router, engine excluded."""
    return [
        {"name": "request", "containerPort": names.PORT_REQUEST, "protocol": "TCP"},
        {"name": "control", "containerPort": names.PORT_CONTROL, "protocol": "TCP"},
        {"name": "metrics", "containerPort": names.PORT_METRICS, "protocol": "TCP"},
        {"name": "health", "containerPort": names.PORT_HEALTH, "protocol": "TCP"},
    ]


def router_volumes(table_key: str) -> list[Object]:
    """Volumes of a router: its part of the routing table, the fleet's token, the clients' keys."""
    return [
        {
            "name": "table",
            "configMap": {
                "name": names.ROUTING_CONFIGMAP,
                "items": [{"key": table_key, "path": "table.json"}],
                "optional": True,
            },
        },
        {"name": "token", "secret": {"secretName": names.CONTROL_TOKEN_SECRET, "optional": True}},
        {"name": "clients", "secret": {"secretName": names.CLIENTS_SECRET, "optional": True}},
    ]


def router_mounts() -> list[Object]:
    """Mounts of `router_volumes`."""
    return [
        {"name": "table", "mountPath": names.TABLE_DIR, "readOnly": True},
        {"name": "token", "mountPath": names.TOKEN_DIR, "readOnly": True},
        {"name": "clients", "mountPath": names.CLIENTS_DIR, "readOnly": True},
    ]


def pod_name_env() -> list[Object]:
    """The pod's name and namespace for the router's reports."""
    return [
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}},
        {"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}},
    ]


def pull_policy(images: Images) -> Object:
    """When the kubelet pulls an image of forebay; nothing where it is as usual."""
    return {} if images.pull_policy == USUAL_PULL_POLICY else {"imagePullPolicy": images.pull_policy}


def router_container(images: Images, args: list[str], user: int | None, more_mounts: Iterable[Object] = ()) -> Object:
    """The container of a router of either role: it differs in its arguments only."""
    return {
        "name": names.CONTAINER_ROUTER,
        "image": images.router,
        **pull_policy(images),
        "command": ["forebay-router"],
        "args": args,
        "env": pod_name_env(),
        "ports": router_ports(),
        "startupProbe": {**http_get(names.PATH_LIVE), "periodSeconds": 1, "failureThreshold": 60},
        "livenessProbe": {
            **http_get(names.PATH_LIVE),
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
        "readinessProbe": {
            **http_get(names.PATH_READY),
            "periodSeconds": 2,
            "timeoutSeconds": 2,
            "failureThreshold": 2,
        },
        "lifecycle": {"preStop": {"exec": {"command": ["forebay-router", "drain"]}}},
        "resources": {
            "requests": {"cpu": "50m", "memory": "64Mi"},
            "limits": {"memory": f"{ROUTER_BYTES >> 20}Mi"},
        },
        "securityContext": restricted(user),
        "volumeMounts": [*router_mounts(), {"name": "tmp", "mountPath": "/tmp"}, *more_mounts],  # noqa: S108
    }
