"""The gateways of a fleet."""

from collections.abc import Sequence
from typing import Any

from forebay.controller.cluster.kubernetes_api import Object
from forebay.controller.manifests.common import (
    Owner,
    fleet_labels,
    gateway_selector,
    of_fleet,
    router_container,
    router_volumes,
)
from forebay.controller.settings import Settings
from forebay.resources import names
from forebay.resources.options import GATEWAY, handed_on, router_arguments
from forebay.resources.policy import PolicySpec

GRACE_SECONDS = 90


def gateway_deployment(
    namespace: str, owners: Sequence[Owner], policies: Sequence[tuple[str, PolicySpec]], settings: Settings
) -> Object:
    """Two or more gateways; a new one serves before an old one goes."""
    body = of_fleet("Deployment", "apps/v1", names.GATEWAY, namespace, owners)
    keys = _provider_keys(policies)
    body["spec"] = {
        "replicas": settings.gateway_replicas,
        "revisionHistoryLimit": 5,
        "selector": {"matchLabels": gateway_selector()},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "template": {
            "metadata": {"labels": fleet_labels(names.COMPONENT_GATEWAY)},
            "spec": {
                "serviceAccountName": names.GATEWAY,
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "terminationGracePeriodSeconds": GRACE_SECONDS,
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": 65532,
                    "runAsGroup": 65532,
                    "fsGroup": 65532,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "affinity": _spread(),
                "containers": [_router(settings, with_keys=bool(keys))],
                "volumes": [
                    *router_volumes(names.GATEWAY_TABLE_KEY),
                    {"name": "tmp", "emptyDir": {}},
                    *([{"name": "providers", "projected": {"sources": keys}}] if keys else []),
                ],
            },
        },
    }
    return body


def _router(settings: Settings, *, with_keys: bool) -> Object:
    keys = [{"name": "providers", "mountPath": names.PROVIDERS_DIR, "readOnly": True}] if with_keys else []
    args = router_arguments(
        role=GATEWAY,
        table=names.TABLE_FILE,
        token_dir=names.TOKEN_DIR,
        clients_dir=names.CLIENTS_DIR,
        providers_dir=names.PROVIDERS_DIR,
    )
    return router_container(settings.images.router, [*args, *handed_on(settings.gateway)], keys)


def _spread() -> Object:
    """On different nodes where there are some."""
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": gateway_selector()}}
    preferred = [{"weight": 100, "podAffinityTerm": term}]
    return {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}


def _provider_keys(policies: Sequence[tuple[str, PolicySpec]]) -> list[Object]:
    """Sources of one projected volume; a missing Secret does not keep a gateway from starting, it is reported."""
    sources: list[Object] = []
    for policy, spec in sorted(policies, key=lambda item: item[0]):
        for provider in spec.providers:
            if (ref := provider.api_key_secret_ref) is None:
                continue
            path = names.provider_key_path(policy, provider.name).removeprefix(f"{names.PROVIDERS_DIR}/")
            item: dict[str, Any] = {"name": ref.name, "items": [{"key": ref.key, "path": path}], "optional": True}
            sources.append({"secret": item})
    return sources
