"""The other objects of a fleet: the door, the gateways' headless Service, identity, budget, token, routing table."""

import secrets
from collections.abc import Mapping, Sequence
from typing import Final

from forebay.controller.cluster.kubernetes_api import Object
from forebay.controller.manifests.common import Owner, gateway_selector, of_fleet
from forebay.resources import names


def client_service(namespace: str, owners: Sequence[Owner]) -> Object:
    """What clients use: OPENAI_BASE_URL is http://forebay.<namespace>/v1."""
    body = of_fleet("Service", "v1", names.CLIENT_SERVICE, namespace, owners)
    body["spec"] = {
        "type": "ClusterIP",
        "selector": gateway_selector(),
        "ports": [
            {
                "name": "http",
                "port": names.PORT_CLIENTS,
                "targetPort": names.PORT_REQUEST,
                "protocol": "TCP",
                "appProtocol": "http",
            }
        ],
    }
    return body


def gateways_service(namespace: str, owners: Sequence[Owner]) -> Object:
    """Headless: gives sidecars the address of each gateway."""
    body = of_fleet("Service", "v1", names.GATEWAY, namespace, owners)
    body["spec"] = {
        "type": "ClusterIP",
        "clusterIP": "None",
        "selector": gateway_selector(),
        "ports": [{"name": "control", "port": names.PORT_CONTROL, "targetPort": names.PORT_CONTROL, "protocol": "TCP"}],
    }
    return body


def gateway_service_account(namespace: str, owners: Sequence[Owner]) -> Object:
    """An identity without any right."""
    body = of_fleet("ServiceAccount", "v1", names.GATEWAY, namespace, owners)
    return {**body, "automountServiceAccountToken": False}


def gateway_disruption_budget(namespace: str, owners: Sequence[Owner], replicas: int) -> Object:
    """One gateway that serves always stays; a single one may be moved, or its node could never be drained. Nor do
    gateways that do not serve keep theirs."""
    body = of_fleet("PodDisruptionBudget", "policy/v1", names.GATEWAY, namespace, owners)
    bound = {"minAvailable": 1} if replicas > 1 else {"maxUnavailable": 1}
    body["spec"] = {
        **bound,
        "selector": {"matchLabels": gateway_selector()},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    return body


def control_token(namespace: str, owners: Sequence[Owner]) -> Object:
    """The Secret's head. It is applied without data, so that no later apply touches the token."""
    return of_fleet("Secret", "v1", names.CONTROL_TOKEN_SECRET, namespace, owners)


def with_token(secret: Object, lost: Object | None = None) -> Object:
    """The Secret with a new random token, to be created once; with the tokens of one that somebody deleted.

    Routers get another token one after the other, and refuse each other in between. Whoever wants another one asks for
    it by an annotation (rotation.py); how far that was goes on, too.
    """
    if lost is None:
        return {**secret, "type": "Opaque", "stringData": {names.TOKEN_CURRENT_KEY: secrets.token_urlsafe(32)}}
    notes = {key: value for key, value in (lost["metadata"].get("annotations") or {}).items() if key in _ROTATION}
    annotations = {**(secret["metadata"].get("annotations") or {}), **notes}
    return {**secret, "type": "Opaque", "metadata": {**secret["metadata"], "annotations": annotations},
            "data": dict(lost["data"])}  # fmt: skip


def budget_configmap(namespace: str, owners: Sequence[Owner], ledgers: Mapping[str, str]) -> Object:
    """The ledgers of the fleet's budgets, which gateways mount."""
    return {**of_fleet("ConfigMap", "v1", names.BUDGET_CONFIGMAP, namespace, owners), "data": dict(ledgers)}


_ROTATION: Final = (names.ANNOTATION_ROTATE, names.ANNOTATION_ROTATED, names.ANNOTATION_ROTATION)


def routing_configmap(
    namespace: str, owners: Sequence[Owner], tables: Mapping[str, str], resource_version: str | None
) -> Object:
    """The routing table; with the resourceVersion it was computed from, the write is a compare-and-swap."""
    body = of_fleet("ConfigMap", "v1", names.ROUTING_CONFIGMAP, namespace, owners)
    if resource_version is not None:
        body["metadata"]["resourceVersion"] = resource_version
    return {**body, "data": dict(tables)}
