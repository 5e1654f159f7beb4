"""The pod of a replica: the engine, and the router in front of it as a native sidecar.

BUILDER_VERSION counts changes of what this module makes. Replicas do not follow such a change by themselves: the
template that a pool runs is recorded in its StatefulSet (see statefulset.py).
"""

from math import ceil
from typing import Final

from forebay import engines
from forebay.controller.cluster.kubernetes_api import Object
from forebay.controller.manifests.common import (
    http_get,
    local_volumes,
    pod_security,
    pool_labels,
    pull_policy,
    restricted,
    router_container,
    router_volumes,
)
from forebay.controller.plan.drift import quantity
from forebay.controller.settings import Images
from forebay.engines.dialect import Launch
from forebay.resources import names
from forebay.resources.options import SIDECAR, router_arguments
from forebay.resources.pool import Cache, Engine, PoolSpec

BUILDER_VERSION: Final = 4
GRACE_SECONDS: Final = 30  # after drainSeconds, for the engine to end
STOP_SECONDS: Final = 15  # of those, for what still runs
CACHE_DIR: Final = "/cache"
HOME_DIR: Final = "/tmp"  # noqa: S108 - inside the pod; writable for every user
USER_NAME: Final = "engine"  # for what asks who it is: a user that the cluster chose is in no /etc/passwd
COMPILED: Final = "vllm"
USUAL_ROOM: Final = "10Gi"
CACHE_VOLUME: Final = "cache"
_STARTUP_PERIOD: Final = 2


def pod_template(pool: str, spec: PoolSpec, images: Images, user: int | None = names.USER) -> Object:
    """Forebay's own template, before the user's podTemplate is merged in. What is forebay's in it runs as `user`."""
    engine = spec.engine
    simulated = engines.of(engine.type).simulated
    volumes: list[Object] = [
        *router_volumes(names.pool_table_key(pool)),
        {"name": "shm", "emptyDir": {"medium": "Memory"}},
        {"name": "tmp", "emptyDir": {}},
        *_cache_volumes(engine.cache),
    ]
    return {
        "metadata": {
            "labels": pool_labels(pool),
            "annotations": {
                names.ANNOTATION_ROUTER_IMAGE: images.router,
                "kubectl.kubernetes.io/default-container": names.CONTAINER_ENGINE,
                **local_volumes(volumes),
            },
        },
        "spec": {
            "serviceAccountName": pool,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": engine.drain_seconds + GRACE_SECONDS,
            "securityContext": pod_security(user) if simulated else {"seccompProfile": {"type": "RuntimeDefault"}},
            "initContainers": [_router(pool, images, user)],
            "containers": [_engine(spec, images, user)],
            "volumes": volumes,
        },
    }


def cache_claims(cache: Cache) -> list[Object]:
    """volumeClaimTemplates of the StatefulSet."""
    if cache.per_replica is None:
        return []
    spec: Object = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": cache.per_replica.storage}},
    }
    if cache.per_replica.storage_class_name:
        spec["storageClassName"] = cache.per_replica.storage_class_name
    return [{"metadata": {"name": CACHE_VOLUME}, "spec": spec}]


def _router(pool: str, images: Images, user: int | None) -> Object:
    """A native sidecar: started before the engine, ended after it."""
    args = router_arguments(
        role=SIDECAR,
        pool=pool,
        table=names.TABLE_FILE,
        token_dir=names.TOKEN_DIR,
        clients_dir=names.CLIENTS_DIR,
        engine_url=("127.0.0.1", names.PORT_ENGINE),
    )
    return {**router_container(images, args, user), "restartPolicy": "Always"}


def _engine(spec: PoolSpec, images: Images, user: int | None) -> Object:
    engine = spec.engine
    dialect = engines.of(engine.type)
    simulated = dialect.simulated
    image = engine.image or (images.simulator if simulated else images.engine)
    container: Object = {
        "name": names.CONTAINER_ENGINE,
        "image": image,
        **(pull_policy(images) if simulated and not engine.image else {}),
        "command": [*dialect.command],
        "args": engine_args(spec, image),
        "env": _engine_env(spec),
        # No liveness probe: an engine that dies exits, and one that is slow must not be killed for it.
        "startupProbe": {
            **http_get(names.PATH_STARTED),
            "periodSeconds": _STARTUP_PERIOD,
            "timeoutSeconds": 2,
            "failureThreshold": ceil(engine.startup_seconds / _STARTUP_PERIOD),
        },
        "lifecycle": {"preStop": http_get(names.PATH_DRAINED)},
        "securityContext": restricted(user) if simulated else _unprivileged(),
        "volumeMounts": [
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - inside the pod
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
            {"name": CACHE_VOLUME, "mountPath": CACHE_DIR},
        ],
    }
    container["resources"] = _engine_resources(engine, simulated=simulated)
    return container


def _engine_resources(engine: Engine, *, simulated: bool) -> Object:
    """What an engine needs at least to be placed: its GPUs, a core and the memory of its process for each, and room for
    weights that are kept on the node. It has no limit but its GPUs: one that is short of memory must not be killed."""
    share = max(1, engine.gpus)
    requests = {"cpu": "50m", "memory": "64Mi"} if simulated else {"cpu": str(share), "memory": f"{4 * share}Gi"}
    if (room := _room(engine.cache, simulated=simulated)) is not None:
        requests["ephemeral-storage"] = room
    if not engine.gpus:
        return {"requests": requests}
    counted = {engine.gpu_resource_name: str(engine.gpus)}
    return {"limits": counted, "requests": {**counted, **requests}}


def _room(cache: Cache, *, simulated: bool) -> str | None:
    """Ephemeral storage to request. A size limit is no need: nodes that hold the weights may be smaller than that."""
    if cache.ephemeral is None:
        return None
    if cache.ephemeral.request is not None:
        return cache.ephemeral.request
    limit = quantity(cache.ephemeral.size_limit)
    least = quantity(USUAL_ROOM)
    if simulated or isinstance(limit, str) or isinstance(least, str):
        return None
    return cache.ephemeral.size_limit if limit < least else USUAL_ROOM


def engine_args(spec: PoolSpec, image: str = "") -> list[str]:
    """Arguments of the engine in this image. What `engine.args` say wins."""
    return engines.of(spec.engine.type).arguments(_launch(spec, image))


def adapter_room(spec: PoolSpec) -> int:
    """The largest rank of a LoRA adapter that engines of this spec can load without a restart; 0: none."""
    return engines.of(spec.engine.type).adapter_room(_launch(spec, ""))


def _launch(spec: PoolSpec, image: str) -> Launch:
    model, engine = spec.model, spec.engine
    source = model.source or model.name
    served = model.served_names or ([model.name] if source != model.name else [])
    return Launch(
        source=source,
        port=names.PORT_ENGINE,
        served_names=tuple(served),
        revision=model.revision,
        gpus=engine.gpus,
        context_tokens=model.context_tokens,
        adapters=tuple((adapter.name, adapter.source) for adapter in model.adapters),
        adapter_rank=max((adapter.rank or 0 for adapter in model.adapters), default=0),
        image=image,
        stop_seconds=STOP_SECONDS,
        args=tuple(engine.args),
    )


def _engine_env(spec: PoolSpec) -> list[Object]:
    dialect = engines.of(spec.engine.type)
    # Many pods write to a shared claim, or none may.
    beside = HOME_DIR if spec.engine.cache.shared_claim is not None else CACHE_DIR
    env: list[Object] = [
        {"name": "HOME", "value": HOME_DIR},
        {"name": "USER", "value": USER_NAME},
        {"name": dialect.cache_variable, "value": CACHE_DIR},
        {"name": dialect.compiled_variable, "value": f"{beside}/{COMPILED}"},
    ]
    if spec.model.adapters and dialect.loads_adapters(spec.engine.args):
        env.append({"name": dialect.adapter_routes.variable, "value": "1"})
    if (token := spec.model.token_secret_ref) is not None:
        source = {"secretKeyRef": {"name": token.name, "key": token.key}}
        env.append({"name": dialect.token_variable, "valueFrom": source})
    return env


def _unprivileged() -> Object:
    """For an engine's own image, which runs as root: all of `restricted` but the user. podTemplate may set that."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _cache_volumes(cache: Cache) -> list[Object]:
    """The cache's volume; a claim for each replica comes from the StatefulSet instead."""
    if cache.per_replica is not None:
        return []
    if cache.shared_claim is not None:
        source: Object = {"persistentVolumeClaim": {"claimName": cache.shared_claim.claim_name}}
    elif cache.host_path is not None:
        source = {"hostPath": {"path": cache.host_path.path, "type": "DirectoryOrCreate"}}
    else:
        source = {"emptyDir": {"sizeLimit": cache.ephemeral.size_limit if cache.ephemeral else "100Gi"}}
    return [{"name": CACHE_VOLUME, **source}]
