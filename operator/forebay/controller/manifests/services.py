"""The other objects of a pool: two Services, a ServiceAccount, a PodDisruptionBudget."""

from forebay.controller.cluster.kubernetes_api import Object
from forebay.controller.manifests.common import Owner, of_pool, pool_selector
from forebay.resources import names
from forebay.resources.pool import PoolSpec


def replicas_service(namespace: str, pool: Owner) -> Object:
    """Headless: gives gateways the address of each replica, also of those that start or drain."""
    body = of_pool("Service", "v1", names.replicas_service(pool.name), namespace, pool)
    body["spec"] = {
        "type": "ClusterIP",
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": pool_selector(pool.name),
        "ports": [{"name": "control", "port": names.PORT_CONTROL, "targetPort": names.PORT_CONTROL, "protocol": "TCP"}],
    }
    return body


def pool_service(namespace: str, pool: Owner, spec: PoolSpec) -> Object:
    """What clients of this one pool use; keeps a client at its replica."""
    body = of_pool("Service", "v1", pool.name, namespace, pool)
    body["spec"] = {
        "type": "ClusterIP",
        "selector": pool_selector(pool.name),
        "sessionAffinity": "ClientIP",
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": spec.session.affinity_seconds}},
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


def pool_service_account(namespace: str, pool: Owner) -> Object:
    """An identity without any right."""
    body = of_pool("ServiceAccount", "v1", pool.name, namespace, pool)
    return {**body, "automountServiceAccountToken": False}


def pool_disruption_budget(namespace: str, pool: Owner) -> Object:
    """Evictions take one replica at a time."""
    body = of_pool("PodDisruptionBudget", "policy/v1", pool.name, namespace, pool)
    body["spec"] = {
        "maxUnavailable": 1,
        "selector": {"matchLabels": pool_selector(pool.name)},
        # A replica that does not serve must not keep its node from being drained.
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    return body
