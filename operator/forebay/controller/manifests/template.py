"""The pod of a replica: the engine, and the router in front of it as a native sidecar.

BUILDER_VERSION counts changes of what this module makes. Replicas do not follow such a change by themselves: the
template that a pool runs is recorded in its StatefulSet (see statefulset.py).
"""

from math import ceil
from typing import Any, Final

from forebay.controller.cluster import Object
from forebay.controller.manifests.common import (
    http_get,
    pool_labels,
    restricted,
    router_container,
    router_volumes,
)
from forebay.controller.settings import Images
from forebay.resources import names
from forebay.resources.pool import Cache, Engine, PoolSpec
from forebay.resources.terms import EngineType

BUILDER_VERSION: Final = 1
GRACE_SECONDS: Final = 30  # after drainSeconds, for the engine to end
CACHE_DIR: Final = "/cache"
CACHE_VOLUME: Final = "cache"
_STARTUP_PERIOD: Final = 2


def pod_template(pool: str, spec: PoolSpec, images: Images) -> Object:
    """Forebay's own template, before the user's podTemplate is merged in."""
    engine = spec.engine
    simulated = engine.type is EngineType.SIMULATED
    security: dict[str, Any] = {"seccompProfile": {"type": "RuntimeDefault"}}
    if simulated:
        security |= {"runAsNonRoot": True, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532}
    return {
        "metadata": {
            "labels": pool_labels(pool),
            "annotations": {
                names.ANNOTATION_ROUTER_IMAGE: images.router,
                "kubectl.kubernetes.io/default-container": names.CONTAINER_ENGINE,
            },
        },
        "spec": {
            "serviceAccountName": pool,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": engine.drain_seconds + GRACE_SECONDS,
            "securityContext": security,
            "initContainers": [_router(pool, images.router)],
            "containers": [_engine(spec, images)],
            "volumes": [
                *router_volumes(names.pool_table_key(pool)),
                {"name": "shm", "emptyDir": {"medium": "Memory"}},
                {"name": "tmp", "emptyDir": {}},
                *_cache_volumes(engine.cache),
            ],
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


def _router(pool: str, image: str) -> Object:
    """A native sidecar: started before the engine, ended after it."""
    args = [
        "--role=sidecar",
        f"--pool={pool}",
        f"--table={names.TABLE_FILE}",
        f"--token-dir={names.TOKEN_DIR}",
        f"--clients-dir={names.CLIENTS_DIR}",
        f"--engine-url=http://127.0.0.1:{names.PORT_ENGINE}",
    ]
    return {**router_container(image, args), "restartPolicy": "Always"}


def _engine(spec: PoolSpec, images: Images) -> Object:
    engine = spec.engine
    simulated = engine.type is EngineType.SIMULATED
    container: Object = {
        "name": names.CONTAINER_ENGINE,
        "image": engine.image or (images.simulator if simulated else images.engine),
        "command": ["forebay-simulator"] if simulated else ["vllm", "serve"],
        "args": engine_args(spec),
        "env": _engine_env(spec),
        # No liveness probe: an engine that dies exits, and one that is slow must not be killed for it.
        "startupProbe": {
            **http_get(names.PATH_STARTED),
            "periodSeconds": _STARTUP_PERIOD,
            "timeoutSeconds": 2,
            "failureThreshold": ceil(engine.startup_seconds / _STARTUP_PERIOD),
        },
        "lifecycle": {"preStop": http_get(names.PATH_DRAINED)},
        "securityContext": restricted() if simulated else _unprivileged(),
        "volumeMounts": [
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - inside the pod
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
            {"name": CACHE_VOLUME, "mountPath": CACHE_DIR},
        ],
    }
    if engine.gpus:
        count = str(engine.gpus)
        name = engine.gpu_resource_name
        container["resources"] = {"limits": {name: count}, "requests": {name: count}}
    return container


def engine_args(spec: PoolSpec) -> list[str]:
    """Arguments of `vllm serve`; the simulator takes the same ones. What `engine.args` say wins."""
    model, engine = spec.model, spec.engine
    source = model.source or model.name
    served = model.served_names or ([model.name] if source != model.name else [])
    args = [source, "--host=127.0.0.1", f"--port={names.PORT_ENGINE}"]
    if served:
        args += ["--served-model-name", *served]
    if model.revision:
        args.append(f"--revision={model.revision}")
    if engine.gpus > 1 and not _says(engine, "--tensor-parallel-size", "-tp"):
        args.append(f"--tensor-parallel-size={engine.gpus}")
    if model.context_tokens and not _says(engine, "--max-model-len"):
        args.append(f"--max-model-len={model.context_tokens}")
    if model.adapters:
        args += ["--enable-lora", "--lora-modules", *(f"{item.name}={item.source}" for item in model.adapters)]
    return [*args, *engine.args]


def _says(engine: Engine, *flags: str) -> bool:
    return any(arg.partition("=")[0] in flags for arg in engine.args)


def _engine_env(spec: PoolSpec) -> list[Object]:
    env: list[Object] = [{"name": "HF_HOME", "value": CACHE_DIR}]
    if (token := spec.model.token_secret_ref) is not None:
        env.append({"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": token.name, "key": token.key}}})
    return env


def _unprivileged() -> Object:
    """For vLLM's image, which runs as root: all of `restricted` but the user. podTemplate may set that."""
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
