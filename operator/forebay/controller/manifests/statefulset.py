"""The StatefulSet of a pool, and the record of what its pod template was made from.

A template is rendered anew only when the user's part of it changes, or when `rollout.adoptRouter` says so: an upgrade
of forebay restarts no replica.
"""

import json
from dataclasses import dataclass, replace
from typing import Final

from forebay import engines
from forebay.controller.cluster.kubernetes_api import Object
from forebay.controller.manifests.common import Owner, of_pool, pool_selector
from forebay.controller.manifests.merge import TemplateRefusedError, merged
from forebay.controller.manifests.template import BUILDER_VERSION, adapter_room, cache_claims, pod_template
from forebay.controller.plan.drift import differences, fingerprint
from forebay.controller.settings import Images
from forebay.resources import names
from forebay.resources.pool import Cache, EphemeralCache, PerReplicaCache, PoolSpec
from forebay.resources.terms import AdoptRouter

_OF_CLAIMS: Final = {"persistent_volume_claim_retention_policy"}
"""What a pool says of its claims, and not of its pods."""


@dataclass(frozen=True, slots=True)
class Record:
    """A pod template, and what it was made from."""

    inputs: str  # hash of the user's part
    images: Images
    builder: int
    template: Object
    adapter_room: int = 0  # the largest rank of a LoRA adapter that its engines can load; 0: none, or of an older one

    def encode(self) -> str:
        """As it stands in the annotation."""
        made_from = {"router": self.images.router, "simulator": self.images.simulator, "engine": self.images.engine}
        room = {"adapterRoom": self.adapter_room} if self.adapter_room else {}
        return json.dumps(
            {"inputs": self.inputs, "images": made_from, "builder": self.builder, "template": self.template, **room},
            sort_keys=True,
            separators=(",", ":"),
        )


@dataclass(frozen=True, slots=True)
class TemplateChoice:
    """The template a pool is to run; None when there is none yet and the user's is refused."""

    record: Record | None
    changed: bool = False  # differs from the recorded one
    why: str = ""
    refused: str = ""  # what is wrong with podTemplate, for people


def recorded(statefulset: Object | None) -> Record | None:
    """The record that a StatefulSet carries; None without one that can be read."""
    if statefulset is None:
        return None
    text = (statefulset["metadata"].get("annotations") or {}).get(names.ANNOTATION_TEMPLATE, "")
    try:
        raw = json.loads(text)
        room = int(raw.get("adapterRoom", 0))
        return Record(raw["inputs"], Images(**raw["images"]), int(raw["builder"]), raw["template"], room)
    except (ValueError, KeyError, TypeError):
        return None


def template_inputs(spec: PoolSpec, user: int | None = names.USER) -> str:
    """Hash of the part of a pool's spec that its pods are made from, and of a user that is not the usual one: pods that
    a cluster refuses for their user must not keep it. Adapters are no part of it where engines load them meanwhile."""
    return _inputs(spec, user, []) if _loads_adapters(spec) else _inputs_with_adapters(spec, user)


def _inputs_with_adapters(spec: PoolSpec, user: int | None) -> str:
    """The same of engines that start with their adapters, as all did: pods of then stay as they are."""
    return _inputs(spec, user, [item.model_dump(mode="json", exclude_none=True) for item in spec.model.adapters])


def _inputs(spec: PoolSpec, user: int | None, adapters: list[Object]) -> str:
    model = {**spec.model.model_dump(mode="json", exclude={"task", "inputs"}), "adapters": adapters}
    engine = spec.engine.model_dump(mode="json", exclude={"cache": {"per_replica": _OF_CLAIMS}})
    if (ephemeral := engine["cache"]["ephemeral"]) is not None and ephemeral["request"] is None:
        del ephemeral["request"]
    unusual = {} if user == names.USER else {"user": user}
    return fingerprint({"model": model, "engine": engine, **unusual})


def choose_template(
    pool: str, spec: PoolSpec, images: Images, old: Record | None, user: int | None = names.USER
) -> TemplateChoice:
    """The recorded template, or a new one where the user's spec changed or a newer router is to be adopted."""
    inputs, room = template_inputs(spec, user), adapter_room(spec)
    same = old is not None and _serves(old, spec, user, inputs, room)
    adopt = spec.rollout.adopt_router is AdoptRouter.ALWAYS
    newer = old is not None and (old.images.router != images.router or old.builder != BUILDER_VERSION)
    if old is not None and same and not (adopt and newer):
        return TemplateChoice(old)
    if old is not None and same:  # a newer router is adopted; the engine stays as it is
        images = replace(images, engine=old.images.engine, simulator=old.images.simulator)
    try:
        template = pod_template(pool, spec, images, user)
        if spec.engine.pod_template:
            template = merged(template, spec.engine.pod_template)
    except TemplateRefusedError as error:
        return TemplateChoice(old, refused=str(error))
    why = "the pool is new" if old is None else "the router is newer" if same else "the pool's spec changed"
    return TemplateChoice(Record(inputs, images, BUILDER_VERSION, template, room), changed=True, why=why)


def _serves(old: Record, spec: PoolSpec, user: int | None, inputs: str, room: int) -> bool:
    """Whether the recorded template's pods can serve this spec without a restart."""
    if spec.model.adapters and _loads_adapters(spec) and not old.adapter_room:
        return old.inputs == _inputs_with_adapters(spec, user)
    return old.inputs == inputs and room <= old.adapter_room


def _loads_adapters(spec: PoolSpec) -> bool:
    return engines.of(spec.engine.type).loads_adapters(spec.engine.args)


def outdated(record: Record | None, images: Images) -> str:
    """What is older in the recorded template than what new ones are made from; empty when nothing is."""
    if record is None:
        return ""
    if record.images.router != images.router:
        return f"replicas run the router {record.images.router}, new ones would run {images.router}"
    if record.builder != BUILDER_VERSION:
        return f"replicas run a pod template of version {record.builder}, new ones would run {BUILDER_VERSION}"
    return ""


def kept_cache(cache: Cache, live: Object | None) -> tuple[Cache, str]:
    """The cache that a pool can have beside its StatefulSet, and what to tell where that is not the one it asks for.

    Claim templates cannot be changed: an apply with others would be refused as a whole, size and image included. The
    API refuses to change the fields that they come from; what was stored before it did must not stop a pool either.
    """
    if live is None:
        return cache, ""
    claims = live["spec"].get("volumeClaimTemplates") or []
    wanted = cache_claims(cache)
    if len(claims) == len(wanted) and not any(differences(wanted, claims)) and _class(wanted) == _class(claims):
        return cache, ""
    words = "engine.cache.perReplica cannot be changed: replicas keep the volumes that they have; make another pool"
    if not claims:
        return Cache(ephemeral=EphemeralCache()), words
    storage = str(claims[0]["spec"]["resources"]["requests"]["storage"])
    return Cache(per_replica=PerReplicaCache(storage=storage, storage_class_name=_class(claims))), words


def _class(claims: list[Object]) -> str:
    return str(claims[0]["spec"].get("storageClassName") or "") if claims else ""


def statefulset(namespace: str, owner: Owner, spec: PoolSpec, record: Record, replicas: int) -> Object:
    """The StatefulSet; every apply of it is complete, the size included."""
    pool = owner.name
    body = of_pool("StatefulSet", "apps/v1", pool, namespace, owner)
    body["metadata"]["annotations"] = {
        names.ANNOTATION_TEMPLATE: record.encode(),
        names.ANNOTATION_REPLICAS: str(replicas),
    }
    body["spec"] = {
        "replicas": replicas,
        "serviceName": names.replicas_service(pool),
        "podManagementPolicy": "Parallel",
        "revisionHistoryLimit": 5,
        "selector": {"matchLabels": pool_selector(pool)},
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
        "template": record.template,
    }
    if claims := cache_claims(spec.engine.cache):
        body["spec"]["volumeClaimTemplates"] = claims
    retention = spec.engine.cache.per_replica and spec.engine.cache.per_replica.persistent_volume_claim_retention_policy
    if retention:
        body["spec"]["persistentVolumeClaimRetentionPolicy"] = retention.model_dump(mode="json", by_alias=True)
    return body


def decided_replicas(live: Object | None) -> int | None:
    """The size that the operator decided on; None when there is no StatefulSet."""
    if live is None:
        return None
    text = (live["metadata"].get("annotations") or {}).get(names.ANNOTATION_REPLICAS, "")
    return int(text) if text.isdecimal() else int(live["spec"].get("replicas", 1))
