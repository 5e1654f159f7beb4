"""`LocalModelPool`: one model served by N vLLM replicas on the cluster's own GPUs."""

from typing import Annotated, Any, ClassVar, Final

from pydantic import Field

from forebay import engines
from forebay.engines import EngineType
from forebay.engines.dialect import Refused
from forebay.resources.fields import (
    LIST_ATOMIC,
    LIST_SET,
    ModelName,
    ModelSource,
    Money,
    Name,
    NameRef,
    Quantity,
    Resource,
    Rule,
    Seconds,
    SecretKey,
    Text,
    list_map,
)
from forebay.resources.kubernetes_fields import Metadata
from forebay.resources.reasons import Capability
from forebay.resources.terms import (
    AdoptRouter,
    CloudUse,
    Modality,
    Permission,
    RetentionPolicy,
    ScalingMode,
    Task,
    WakeAfter,
)


class Adapter(Resource):
    """One LoRA adapter that the pool's engines load in addition to the model, while they run."""

    name: ModelName
    """Name of the LoRA adapter; clients put it in `model` to use it."""
    source: Text
    """Path or repository of the LoRA adapter, as vLLM's lora_path. Another one is loaded in place of the one before."""
    rank: Annotated[int, Field(ge=1, le=512)] | None = None
    """Rank of the LoRA adapter: `r` of its adapter_config.json. The pool's largest one sets --max-lora-rank, and one
    above that replaces the pods. Empty: 16 at most."""


class Model(Resource):
    """The model that the pool serves."""

    name: ModelSource
    """Model to load: a repository name or a path in the container, as `vllm serve` takes it."""
    served_names: Annotated[list[ModelName], Field(max_length=16, json_schema_extra=LIST_SET)] = []
    """Names that clients may put in `model`. Empty: only the value of `name`."""
    source: Annotated[str, Field(max_length=1024)] = ""
    """Where the weights are loaded from if not from `name`: a path on the cache volume, or another repository."""
    revision: Annotated[str, Field(max_length=253)] = ""
    """Branch, tag or commit of the model's repository. Empty: the repository's default."""
    token_secret_ref: SecretKey | None = None
    """Secret key that holds the token for gated models. The engine gets it as HF_TOKEN."""
    adapters: Annotated[list[Adapter], Field(max_length=32, json_schema_extra=list_map("name"))] = []
    """LoRA adapters that engines load and unload as this list changes, without a restart. The first one of a pool
    replaces its pods, for --enable-lora. As many as there are when a template is made fit one batch (--max-loras);
    later ones take turns with them."""
    task: Task = Task.GENERATE
    """API that the pool serves: Generate for chat and completions, Embed for embeddings,
    Score for reranking, Transcribe for audio files."""
    inputs: Annotated[list[Modality], Field(min_length=1, max_length=3, json_schema_extra=LIST_SET)] = [Modality.TEXT]
    """Kinds of input that the pool's model accepts."""
    context_tokens: Annotated[int, Field(ge=1, le=100_000_000)] | None = None
    """Longest context of the pool's model, in tokens. It sets --max-model-len. Empty: what the engine reports."""

    def names(self) -> tuple[str, ...]:
        """Every name a client may use, adapters included; the first one is what the engine calls itself."""
        return (*(self.served_names or [self.name]), *(adapter.name for adapter in self.adapters))


class EphemeralCache(Resource):
    """Weights in an emptyDir: downloaded again by each new pod."""

    size_limit: Quantity = "100Gi"
    """Size limit of the emptyDir that holds the weights."""
    request: Quantity | None = None
    """Ephemeral storage that the engine requests for the weights, so that it gets a node with room. Empty: 10Gi, or the
    size limit where that is less, and nothing for Simulated."""


class SharedClaimCache(Resource):
    """Weights on one PersistentVolumeClaim that all replicas mount (ReadWriteMany or ReadOnlyMany)."""

    claim_name: Name
    """Name of the PersistentVolumeClaim that all replicas mount."""


class ClaimRetention(Resource):
    """What becomes of the replicas' claims, named and meant as in a StatefulSet."""

    when_deleted: RetentionPolicy = RetentionPolicy.RETAIN
    """What becomes of all claims when the pool is deleted: Retain, or Delete."""
    when_scaled: RetentionPolicy = RetentionPolicy.RETAIN
    """What becomes of a replica's claim when the pool shrinks: Retain, or Delete, after which a new replica loads the
    weights again."""


class PerReplicaCache(Resource):
    """A PersistentVolumeClaim for each replica."""

    storage: Quantity
    """Storage that the PersistentVolumeClaim of each replica requests."""
    storage_class_name: Annotated[str, Field(max_length=253)] = ""
    """StorageClass of the replicas' PersistentVolumeClaims. Empty: the default of the cluster."""
    persistent_volume_claim_retention_policy: ClaimRetention | None = None
    """What becomes of the replicas' claims when the pool shrinks or goes. Empty: they stay."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.storage == oldSelf.storage",
            "cache.perReplica.storage cannot be changed, as a StatefulSet's volumeClaimTemplates cannot: enlarge the "
            "PersistentVolumeClaims themselves, or make another pool",
        ),
        Rule(
            "self.storageClassName == oldSelf.storageClassName",
            "cache.perReplica.storageClassName cannot be changed, as a StatefulSet's volumeClaimTemplates cannot: make "
            "another pool",
        ),
    )


class HostPathCache(Resource):
    """A folder of the node."""

    path: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^/")]
    """Absolute path of the folder on the node."""


class Cache(Resource):
    """Where model weights are kept: exactly one of the four."""

    ephemeral: EphemeralCache | None = None
    """Keep weights in an emptyDir; each new pod downloads them again."""
    shared_claim: SharedClaimCache | None = None
    """Keep weights on one PersistentVolumeClaim that all replicas mount (ReadWriteMany or ReadOnlyMany)."""
    per_replica: PerReplicaCache | None = None
    """Keep weights on one PersistentVolumeClaim for each replica."""
    host_path: HostPathCache | None = None
    """Keep weights in a folder of the node."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "(has(self.ephemeral) ? 1 : 0) + (has(self.sharedClaim) ? 1 : 0) + (has(self.perReplica) ? 1 : 0)"
            " + (has(self.hostPath) ? 1 : 0) == 1",
            "set exactly one of ephemeral, sharedClaim, perReplica and hostPath",
        ),
        Rule(
            "has(self.perReplica) == has(oldSelf.perReplica)",
            "cache.perReplica can be neither added nor removed, as a StatefulSet's volumeClaimTemplates cannot: make "
            "another pool",
        ),
    )


def _must_not(refused: Refused) -> Rule:
    """The arguments that engines must not be given; what not all of them refuse is only asked of those that do."""
    given = " || ".join(f"a.startsWith('{beginning}')" for beginning in refused.beginnings)
    kinds = [kind for kind, dialect in engines.DIALECTS.items() if refused in dialect.refused]
    others = "" if len(kinds) == len(engines.DIALECTS) else f"!(self.type in {[str(kind) for kind in kinds]}) || "
    return Rule(f"{others}!self.args.exists(a, {given})", refused.message)


class Engine(Resource):
    """How the model is served."""

    type: EngineType = engines.DEFAULT
    """Engine that serves the model: VLLM, or Simulated, which needs no GPU and is for trying forebay out."""
    image: Annotated[str, Field(max_length=1024)] = ""
    """Container image of the engine. Empty: the chart's default for the engine's type."""
    args: Annotated[
        list[Annotated[str, Field(max_length=4096)]], Field(max_length=128, json_schema_extra=LIST_ATOMIC)
    ] = []
    """Additional arguments for `vllm serve`. They override what forebay sets, except host and port."""
    gpus: Annotated[int, Field(ge=0, le=64)] = 1
    """Number of GPUs of one replica: tensor times pipeline times data parallel size. It sets --tensor-parallel-size to
    what the others in `args` leave, unless `args` say that as well."""
    gpu_resource_name: Annotated[str, Field(min_length=1, max_length=253)] = "nvidia.com/gpu"
    """Extended resource that counts GPUs, such as nvidia.com/gpu or the resource of a MIG slice."""
    startup_seconds: Annotated[int, Field(ge=10, le=14_400)] = 1800
    """Longest time the engine may take to load the model, in seconds. Then the container is restarted."""
    drain_seconds: Annotated[int, Field(ge=0, le=7_200)] = 300
    """Longest time that running requests may take to finish when a replica ends, in seconds."""
    cache: Cache = Cache(ephemeral=EphemeralCache())
    """Where model weights are kept: exactly one of `ephemeral`, `sharedClaim`, `perReplica` and `hostPath`."""
    pod_template: Annotated[
        dict[str, Any] | None,
        Field(json_schema_extra={"type": "object", "x-kubernetes-preserve-unknown-fields": True}),
    ] = None
    """Partial PodTemplateSpec, merged under forebay's own. Containers `engine` and `router` are merged by name."""

    RULES: ClassVar[tuple[Rule, ...]] = tuple(map(_must_not, engines.refused()))


class ScalingRules(Resource):
    """One direction of `behavior`, named and meant as in a HorizontalPodAutoscaler."""

    stabilization_window_seconds: Annotated[int, Field(ge=0, le=3600)] | None = None
    """Stabilization window in seconds. Scaling up averages demand over it; scaling down needs lower demand for all of
    it. 0: at once."""


class Behavior(Resource):
    """Stabilization windows, named and meant as in a HorizontalPodAutoscaler."""

    scale_up: ScalingRules = ScalingRules()
    """How replicas are added. Without a window, demand is averaged over a minute or two requests' time. It is 30
    seconds where nothing may overflow, 3 minutes where prices decide."""
    scale_down: ScalingRules = ScalingRules()
    """How replicas are removed. Without a window, demand must be lower for 30 minutes, or three cold starts if
    longer."""


class Scaling(Resource):
    """How the number of replicas is decided."""

    mode: ScalingMode = ScalingMode.AUTOMATIC
    """Who decides the number of replicas. Automatic: forebay does. Advisory: it only reports what it would do. Manual:
    `spec.replicas` holds."""
    min_replicas: Annotated[int, Field(ge=0, le=1000)] = 1
    """Fewest replicas that scaling may ask for."""
    max_replicas: Annotated[int, Field(ge=1, le=1000)] = 1
    """Most replicas that scaling may ask for."""
    idle_seconds_to_zero: Seconds | None = None
    """Time without a request after which the pool scales to zero, in seconds; needs `minReplicas: 0`. Empty: never."""
    wake_after: WakeAfter | None = None
    """What starts a replica of a pool at zero. FirstRequest: any request. Sustained: a minute of requests. BreakEven:
    the cloud has cost as much as a cold start, or does not take a request. Empty: BreakEven where `gpuHourPrice` is set
    and the cloud may be used, else FirstRequest."""
    pending_seconds: Annotated[int, Field(ge=10, le=86_400)] = 900
    """How long a replica that no node takes stays, in seconds, so that a cluster autoscaler can add a node. Then it is
    withdrawn. It is asked for again after 5, 10, ... 60 minutes, or when a node has more GPUs. Where other replicas
    have a node, one that demand no longer needs is withdrawn after a minute."""
    behavior: Behavior = Behavior()
    """Stabilization windows, named and meant as in a HorizontalPodAutoscaler."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.minReplicas <= self.maxReplicas",
            "minReplicas must not be above maxReplicas: lower minReplicas or raise maxReplicas",
        ),
        Rule(
            "!has(self.idleSecondsToZero) || self.minReplicas == 0",
            "idleSecondsToZero needs minReplicas: 0; set it, or remove idleSecondsToZero",
        ),
        Rule(
            "!has(self.wakeAfter) || self.minReplicas == 0",
            "wakeAfter needs minReplicas: 0; set it, or remove wakeAfter",
        ),
    )


class Capacity(Resource):
    """How many requests one replica runs at a time."""

    slots_per_replica: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Number of requests that one replica runs at a time. Empty: learnt from the engine."""
    time_per_output_token_milliseconds: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Target for the time per output token, in milliseconds; it bounds the learnt number of slots."""
    high_reserved_percent: Annotated[int, Field(ge=0, le=90)] = 10
    """Percentage of a replica's slots reserved for High requests, rounded down; with fewer than 4 slots, none."""


class Queue(Resource):
    """How long and how many requests wait for a slot in each gateway."""

    max_wait_seconds: Annotated[int, Field(ge=0, le=600)] = 30
    """Longest wait for a slot while the pool is full, in seconds."""
    cold_start_wait_seconds: Annotated[int, Field(ge=0, le=3600)] = 0
    """Longest wait for a slot while no replica runs, in seconds."""
    max_requests: Annotated[int, Field(ge=0, le=100_000)] = 512
    """Most requests of each priority that wait for the pool in one gateway."""


Wait = Annotated[int, Field(ge=1, le=86_400)] | None


class PoolTimeouts(Resource):
    """How long routers wait for the pool's engines. What is empty is as the chart's `timeouts` say."""

    connect_seconds: Annotated[int, Field(ge=1, le=60)] | None = None
    """Longest time to connect to a replica or its engine, in seconds. Empty: the chart's, 2 as a rule."""
    first_token_seconds: Wait = None
    """Least time that a replica has for its first token, in seconds. Slow pools get more. Empty: the chart's, 60 as a
    rule."""
    between_chunks_seconds: Wait = None
    """Longest silence within an answer while the engine makes no tokens, in seconds. Empty: the chart's, 30 as a
    rule."""
    silence_seconds: Wait = None
    """Longest silence before or within an answer while the engine makes tokens, in seconds. Empty: the chart's, 300 as
    a rule."""
    total_seconds: Wait = None
    """Longest time for a whole request, in seconds; clients can ask for less. Empty: the chart's, 600 as a rule."""
    idle_seconds: Wait = None
    """Longest time that an unused connection to the engine is kept, in seconds. Keep it below the engine's own. Empty:
    the chart's, 4 as a rule."""
    ping_seconds: Annotated[int, Field(ge=0, le=3600)] | None = None
    """How long a stream waits for its first token until its head is sent and then a ping as often, in seconds. It keeps
    proxies from taking the stream for dead. What fails after that is told as an error event, since the status has been
    sent. 0: never. Empty: the chart's, 0 as a rule."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.firstTokenSeconds) || !has(self.totalSeconds) || self.firstTokenSeconds <= self.totalSeconds",
            "firstTokenSeconds must not be above totalSeconds: lower it or raise totalSeconds",
        ),
        Rule(
            "!has(self.betweenChunksSeconds) || !has(self.silenceSeconds)"
            " || self.betweenChunksSeconds <= self.silenceSeconds",
            "betweenChunksSeconds must not be above silenceSeconds: lower it or raise silenceSeconds",
        ),
    )


class Session(Resource):
    """Session affinity of the pool's own Service."""

    affinity_seconds: Annotated[int, Field(ge=1, le=86_400)] = 10_800
    """How long the pool's Service keeps a client IP on one replica, in seconds (`clientIP.timeoutSeconds`)."""


class Overflow(Resource):
    """What the pool allows when it is full."""

    substitute: Permission = Permission.DENIED
    """Whether a provider's model may answer requests that name this pool's model."""
    cloud: CloudUse = CloudUse.ALLOWED
    """Whether requests of this pool may leave the cluster. Never: they stay, whatever a policy says."""


class Rollout(Resource):
    """How replicas change."""

    adopt_router: AdoptRouter = AdoptRouter.ON_NEXT_CHANGE
    """When replicas get a newer router: OnNextChange of the pool's spec, or Always, one replica at a time."""


FIRST_SIZE: Final = 1


class PoolSpec(Resource):
    """What the pool serves, and how."""

    model: Model
    """Model that the pool serves, and the names clients use for it."""
    capabilities: Annotated[list[Capability], Field(min_length=1, max_length=4, json_schema_extra=LIST_SET)] = [
        Capability.GENERAL
    ]
    """What the model is good for. Requests that name no model are routed by it."""
    engine: Engine = Engine()
    """Engine that serves the model, with its GPUs and its pods."""
    replicas: Annotated[int, Field(ge=0, le=1000)] = FIRST_SIZE
    """Number of replicas in scaling mode Manual, the initial number otherwise. `kubectl scale` sets it."""
    scaling: Scaling = Scaling()
    """How the number of replicas is decided."""
    capacity: Capacity = Capacity()
    """How many requests one replica runs at a time."""
    queue: Queue = Queue()
    """How long and how many requests wait for a slot in each gateway."""
    timeouts: PoolTimeouts = PoolTimeouts()
    """How long routers wait for the pool's engines."""
    session: Session = Session()
    """Session affinity of the pool's own Service."""
    metadata: Metadata | None = None
    """Labels and annotations of the objects that the operator makes for the pool."""
    overflow: Overflow = Overflow()
    """Whether requests of this pool may be sent to the cloud."""
    rollout: Rollout = Rollout()
    """How changes of the operator reach running replicas."""
    gpu_hour_price: Money | None = None
    """Price of one GPU for one hour in US dollars, as a decimal string. Scaling and cost figures use it."""
    cloud_fallback_policy_ref: NameRef | None = None
    """CloudFallbackPolicy for requests that name this pool's model. Empty: the policy `default`, if it exists."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.scaling.mode == 'Manual' || self.scaling.mode != oldSelf.scaling.mode"
            f" || self.replicas in [oldSelf.replicas, {FIRST_SIZE}]",  # left out, it is the default again
            "replicas is only the first size unless scaling.mode is Manual: change scaling.minReplicas or "
            "scaling.maxReplicas instead, or set scaling.mode: Manual",
        ),
    )
