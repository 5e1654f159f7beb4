"""The gateways of a fleet."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from forebay.controller.cluster.kubernetes_api import Object
from forebay.controller.manifests.common import (
    Owner,
    fleet_labels,
    gateway_selector,
    local_volumes,
    of_fleet,
    pod_security,
    router_container,
    router_volumes,
    with_metadata,
)
from forebay.controller.manifests.merge import TemplateRefusedError, merged_gateway
from forebay.controller.settings import Settings
from forebay.resources import names
from forebay.resources.options import GATEWAY, handed_on, router_arguments
from forebay.resources.policy import PolicySpec, Provider

GRACE_SECONDS = 90
LOG_STORAGE = "64Mi"
"""Of a node's disk, for the log: a gateway writes nothing else. Where a disk runs full, pods that use more of it than
they requested go first, and those that requested none are among them."""


@dataclass(frozen=True, slots=True)
class GatewayWish:
    """How the gateways of a fleet are to run: what the chart says for all fleets, and what this one says itself."""

    replicas: int
    metadata: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # labels and annotations
    templates: tuple[tuple[str, Object], ...] = ()  # each with the words for where it comes from

    @classmethod
    def of(cls, policies: Sequence[tuple[str, PolicySpec]], settings: Settings) -> "GatewayWish":
        """The fleet's own is in the policy `default`."""
        usual = settings.gateway_spec
        own = next((spec.gateway for name, spec in policies if name == names.DEFAULT_POLICY and spec.gateway), None)
        said = [("the chart's gateway", usual), *([("spec.gateway", own)] if own else [])]
        metadata: dict[str, dict[str, str]] = {}
        for _, spec in said:
            for kind, values in spec.metadata().items():
                metadata[kind] = {**metadata.get(kind, {}), **values}
        return cls(
            (own and own.replicas) or usual.replicas or settings.gateway_replicas,
            metadata,
            tuple((where, part) for where, spec in said for part in spec.templates()),
        )


def gateway_deployment(
    namespace: str, owners: Sequence[Owner], policies: Sequence[tuple[str, PolicySpec]], settings: Settings
) -> Object:
    """Two or more gateways; a new one serves before an old one goes."""
    return wished_deployment(namespace, owners, policies, settings)[0]


def gateway_refusal(policies: Sequence[tuple[str, PolicySpec]], settings: Settings) -> str:
    """What is wrong with what users say of the gateways' pods; empty when nothing is."""
    if not GatewayWish.of(policies, settings).templates:
        return ""
    return wished_deployment("", (), policies, settings)[1]


def wished_deployment(
    namespace: str, owners: Sequence[Owner], policies: Sequence[tuple[str, PolicySpec]], settings: Settings
) -> tuple[Object, str]:
    """The Deployment, and what is wrong with what users say of its pods: that part has no effect."""
    wish = GatewayWish.of(policies, settings)
    body = _deployment(namespace, owners, policies, settings, wish.replicas)
    own = template = body["spec"]["template"]
    refused = ""
    for where, part in wish.templates:
        try:
            template = merged_gateway(own, template, part, where)
        except TemplateRefusedError as error:
            refused = refused or str(error)
    body["spec"]["template"] = template
    return with_metadata(body, wish.metadata), refused


def _deployment(
    namespace: str,
    owners: Sequence[Owner],
    policies: Sequence[tuple[str, PolicySpec]],
    settings: Settings,
    replicas: int,
) -> Object:
    """As forebay makes it by itself."""
    body = of_fleet("Deployment", "apps/v1", names.GATEWAY, namespace, owners)
    files = _provider_files(policies)
    paid = any(spec.budget is not None for _, spec in policies)
    volumes: list[Object] = [
        *router_volumes(names.GATEWAY_TABLE_KEY),
        {"name": "tmp", "emptyDir": {}},
        *([{"name": "providers", "projected": {"sources": files}}] if files else []),
        *(_BUDGET_VOLUMES if paid else ()),
    ]
    body["spec"] = {
        "replicas": replicas,
        "revisionHistoryLimit": 5,
        "selector": {"matchLabels": gateway_selector()},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "template": {
            "metadata": {"labels": fleet_labels(names.COMPONENT_GATEWAY), "annotations": local_volumes(volumes)},
            "spec": {
                "serviceAccountName": names.GATEWAY,
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "terminationGracePeriodSeconds": GRACE_SECONDS,
                "securityContext": pod_security(settings.run_as_user),
                "affinity": _spread(),
                "containers": [_router(settings, with_files=bool(files), paid=paid)],
                "volumes": volumes,
            },
        },
    }
    return body


_BUDGET_VOLUMES: Final[tuple[Object, ...]] = (
    {"name": "budget", "configMap": {"name": names.BUDGET_CONFIGMAP, "optional": True}},
    {"name": "journal", "emptyDir": {"medium": "Memory", "sizeLimit": "2Mi"}},
)
"""A journal is to outlive the container and to end with the node: then the pod's account does, too."""


def _router(settings: Settings, *, with_files: bool, paid: bool) -> Object:
    files: list[Object] = []
    if with_files:
        files.append({"name": "providers", "mountPath": names.PROVIDERS_DIR, "readOnly": True})
    if paid:
        files.append({"name": "budget", "mountPath": names.BUDGET_DIR, "readOnly": True})
        files.append({"name": "journal", "mountPath": names.JOURNAL_DIR})
    more = {"budget_dir": names.BUDGET_DIR, "journal_dir": names.JOURNAL_DIR} if paid else {}
    args = router_arguments(
        role=GATEWAY,
        table=names.TABLE_FILE,
        token_dir=names.TOKEN_DIR,
        clients_dir=names.CLIENTS_DIR,
        providers_dir=names.PROVIDERS_DIR,
        **more,
    )
    container = router_container(settings.images, [*args, *handed_on(settings.gateway)], settings.run_as_user, files)
    container["resources"]["requests"]["ephemeral-storage"] = LOG_STORAGE
    return container


def _spread() -> Object:
    """On different nodes where there are some."""
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": gateway_selector()}}
    preferred = [{"weight": 100, "podAffinityTerm": term}]
    return {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}


def _provider_files(policies: Sequence[tuple[str, PolicySpec]]) -> list[Object]:
    """Sources of one projected volume; what is missing does not keep a gateway from starting, it is reported."""
    return [
        {kind: {"name": name, "items": items, "optional": True}}
        for policy, spec in sorted(policies, key=lambda item: item[0])
        for provider in spec.providers
        for kind, name, items in _files(policy, provider)
    ]


def _files(policy: str, provider: Provider) -> Iterator[tuple[str, str, list[Object]]]:
    """What one provider needs: the kind of source, the object's name, and which key becomes which file."""

    def item(key: str, file: str) -> Object:
        path = names.provider_file(policy, provider.name, file).removeprefix(f"{names.PROVIDERS_DIR}/")
        return {"key": key, "path": path}

    if (ref := provider.api_key_secret_ref) is not None:
        yield "secret", ref.name, [item(ref.key, names.KEY_FILE)]
    for header in provider.headers or ():
        if (ref := header.value_secret_ref) is not None:
            yield "secret", ref.name, [item(ref.key, names.header_file(header.name))]
    if (tls := provider.tls) is None:
        return
    if (ref := tls.ca_secret_ref) is not None:
        yield "secret", ref.name, [item(ref.key, names.CA_FILE)]
    elif (config := tls.ca_config_map_ref) is not None:
        yield "configMap", config.name, [item(config.key, names.CA_FILE)]
    if (pair := tls.client_certificate_secret_ref) is not None:
        files = (names.CERTIFICATE_FILE, names.PRIVATE_KEY_FILE)
        yield "secret", pair.name, [item(file, file) for file in files]
