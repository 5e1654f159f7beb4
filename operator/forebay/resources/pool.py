"""`LocalModelPool`: one model served by N vLLM replicas on the cluster's own GPUs."""

from typing import Annotated, Any, ClassVar

from pydantic import Field

from forebay import engines
from forebay.engines import EngineType
from forebay.engines.dialect import Refused
from forebay.resources.fields import (
    LIST_ATOMIC,
    LIST_SET,
    ModelName,
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
from forebay.resources.reasons import Capability
from forebay.resources.terms import (
    AdoptRouter,
    CloudUse,
    Modality,
    Permission,
    ScalingMode,
    Task,
    WakeAfter,
)


class Adapter(Resource):
    """A LoRA adapter that the engine loads beside the model."""

    name: ModelName
    """Name that clients put in `model`."""
    source: Text
    """Path or repository of the adapter, as vLLM's --lora-modules takes it."""


class Model(Resource):
    """What is served."""

    name: ModelName
    """Model to load: a repository name or a path inside the container, as `vllm serve` takes it."""
    served_names: Annotated[list[ModelName], Field(max_length=16, json_schema_extra=LIST_SET)] = []
    """Names that clients may put in `model`. Empty: only `name`."""
    source: Annotated[str, Field(max_length=1024)] = ""
    """Where the weights come from when that is not `name` itself: a path on the cache volume, or another repository."""
    revision: Annotated[str, Field(max_length=253)] = ""
    """Branch, tag or commit of the model. Empty: the default one."""
    token_secret_ref: SecretKey | None = None
    """Secret with the token for gated models; becomes HF_TOKEN of the engine."""
    adapters: Annotated[list[Adapter], Field(max_length=32, json_schema_extra=list_map("name"))] = []
    """LoRA adapters."""
    task: Task = Task.GENERATE
    """Generate for chat and completions, Embed for embeddings."""
    inputs: Annotated[list[Modality], Field(min_length=1, max_length=3, json_schema_extra=LIST_SET)] = [Modality.TEXT]
    """Kinds of input the model takes."""
    context_tokens: Annotated[int, Field(ge=1, le=100_000_000)] | None = None
    """Longest context in tokens. Sets --max-model-len unless `engine.args` do; empty: what the engine reports."""

    def names(self) -> tuple[str, ...]:
        """Every name a client may use, adapters included; the first one is what the engine calls itself."""
        return (*(self.served_names or [self.name]), *(adapter.name for adapter in self.adapters))


class EphemeralCache(Resource):
    """Weights in an emptyDir: downloaded again by each new pod."""

    size_limit: Quantity = "100Gi"
    """Size limit of the emptyDir."""


class SharedClaimCache(Resource):
    """Weights on one PersistentVolumeClaim that all replicas mount (ReadWriteMany or ReadOnlyMany)."""

    claim_name: Name
    """Name of the claim."""


class PerReplicaCache(Resource):
    """A PersistentVolumeClaim for each replica."""

    storage: Quantity
    """Size of each claim."""
    storage_class_name: Annotated[str, Field(max_length=253)] = ""
    """StorageClass. Empty: the cluster's default."""


class HostPathCache(Resource):
    """A folder of the node."""

    path: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^/")]
    """Absolute path on the node."""


class Cache(Resource):
    """Where model weights are kept: exactly one of the four."""

    ephemeral: EphemeralCache | None = None
    """An emptyDir."""
    shared_claim: SharedClaimCache | None = None
    """One claim for all replicas."""
    per_replica: PerReplicaCache | None = None
    """One claim for each replica."""
    host_path: HostPathCache | None = None
    """A folder of the node."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "(has(self.ephemeral) ? 1 : 0) + (has(self.sharedClaim) ? 1 : 0) + (has(self.perReplica) ? 1 : 0)"
            " + (has(self.hostPath) ? 1 : 0) == 1",
            "set exactly one of ephemeral, sharedClaim, perReplica and hostPath",
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
    """VLLM, or Simulated: an engine that needs no GPU, for trying forebay out."""
    image: Annotated[str, Field(max_length=1024)] = ""
    """Container image. Empty: the chart's default for the type."""
    args: Annotated[
        list[Annotated[str, Field(max_length=4096)]], Field(max_length=128, json_schema_extra=LIST_ATOMIC)
    ] = []
    """More arguments for `vllm serve`. They win over what forebay would set; host and port are forebay's."""
    gpus: Annotated[int, Field(ge=0, le=64)] = 1
    """GPUs of one replica. Sets --tensor-parallel-size unless `args` do."""
    gpu_resource_name: Annotated[str, Field(min_length=1, max_length=253)] = "nvidia.com/gpu"
    """Extended resource that counts GPUs; a MIG slice is another name."""
    startup_seconds: Annotated[int, Field(ge=10, le=14_400)] = 1800
    """How long loading may take before the container is restarted."""
    drain_seconds: Annotated[int, Field(ge=0, le=7_200)] = 300
    """How long running requests may go on when a replica is to end."""
    cache: Cache = Cache(ephemeral=EphemeralCache())
    """Where weights are kept."""
    pod_template: Annotated[
        dict[str, Any] | None,
        Field(json_schema_extra={"type": "object", "x-kubernetes-preserve-unknown-fields": True}),
    ] = None
    """A partial PodTemplateSpec merged under forebay's own; containers `engine` and `router` are merged by name."""

    RULES: ClassVar[tuple[Rule, ...]] = tuple(map(_must_not, engines.refused()))


class ScalingRules(Resource):
    """One direction of `behavior`, named and meant as in a HorizontalPodAutoscaler."""

    stabilization_window_seconds: Annotated[int, Field(ge=0, le=3600)] | None = None
    """Up: demand is averaged over so long. Down: how long demand must have been lower. 0: at once."""


class Behavior(Resource):
    """Windows of scaling. Empty: up by the mean of a minute or of two requests' time (30 seconds where nothing may
    overflow, 3 minutes where prices decide), down after 30 minutes or three cold starts, whichever is longer."""

    scale_up: ScalingRules = ScalingRules()
    """Towards more replicas."""
    scale_down: ScalingRules = ScalingRules()
    """Towards fewer replicas."""


class Scaling(Resource):
    """How the number of replicas is decided."""

    mode: ScalingMode = ScalingMode.AUTOMATIC
    """Automatic decides and acts, Advisory only writes what it would do, Manual follows spec.replicas."""
    min_replicas: Annotated[int, Field(ge=0, le=1000)] = 1
    """Fewest replicas."""
    max_replicas: Annotated[int, Field(ge=1, le=1000)] = 1
    """Most replicas."""
    idle_seconds_to_zero: Seconds | None = None
    """Scale to zero after so long without a request; needs minReplicas 0. Empty: never."""
    wake_after: WakeAfter | None = None
    """What starts a replica again: FirstRequest, Sustained (a minute of requests), or BreakEven (the cloud has cost as
    much as a cold start; what the cloud does not take wakes at once). Empty: BreakEven where gpuHourPrice is set and
    the cloud may be used, else FirstRequest."""
    pending_seconds: Annotated[int, Field(ge=10, le=86_400)] = 900
    """How long a replica that no node takes stays, so that a cluster autoscaler can bring a node. Then it is withdrawn,
    and asked for again after 5, 10, ... 60 minutes, or when a node has more GPUs."""
    behavior: Behavior = Behavior()
    """Windows."""

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
    """Override. Empty: learnt from the engine."""
    time_per_output_token_milliseconds: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Target for the time per output token, which bounds the learnt number."""
    high_reserved_percent: Annotated[int, Field(ge=0, le=90)] = 10
    """Share of the slots kept for High, rounded down, so none below 4 slots."""


class Queue(Resource):
    """How long and how many requests wait at the gateways, each."""

    max_wait_seconds: Annotated[int, Field(ge=0, le=600)] = 30
    """Longest wait when the pool is full."""
    cold_start_wait_seconds: Annotated[int, Field(ge=0, le=3600)] = 0
    """Longest wait when no replica runs."""
    max_requests: Annotated[int, Field(ge=0, le=100_000)] = 512
    """Most requests of each priority that wait in one gateway."""


class Session(Resource):
    """Session affinity of the pool's own Service."""

    affinity_seconds: Annotated[int, Field(ge=1, le=86_400)] = 10_800
    """sessionAffinityConfig.clientIP.timeoutSeconds."""


class Overflow(Resource):
    """What the pool allows when it is full."""

    substitute: Permission = Permission.DENIED
    """Allowed: a client that named this model may be answered by the cloud's model."""
    cloud: CloudUse = CloudUse.ALLOWED
    """Never: requests of this pool stay in the cluster, whatever else holds."""


class Rollout(Resource):
    """How replicas change."""

    adopt_router: AdoptRouter = AdoptRouter.ON_NEXT_CHANGE
    """OnNextChange keeps replicas as they are until their spec changes; Always rolls them, one at a time."""


class PoolSpec(Resource):
    """What the pool should be."""

    model: Model
    """What is served."""
    capabilities: Annotated[list[Capability], Field(min_length=1, max_length=4, json_schema_extra=LIST_SET)] = [
        Capability.GENERAL
    ]
    """What the model is good for; requests that name no model are sent by it."""
    engine: Engine = Engine()
    """How the model is served."""
    replicas: Annotated[int, Field(ge=0, le=1000)] = 1
    """The size in mode Manual; the first size otherwise. `kubectl scale` sets it."""
    scaling: Scaling = Scaling()
    """How the number of replicas is decided."""
    capacity: Capacity = Capacity()
    """How many requests a replica runs at a time."""
    queue: Queue = Queue()
    """How requests wait."""
    session: Session = Session()
    """Session affinity."""
    overflow: Overflow = Overflow()
    """What may go to the cloud."""
    rollout: Rollout = Rollout()
    """How replicas change."""
    gpu_hour_price: Money | None = None
    """Price of one GPU for one hour in US dollars, for the cost figures."""
    cloud_fallback_policy_ref: NameRef | None = None
    """Policy for requests that name this pool's model. Empty: the policy named `default`, if there is one."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.scaling.mode != 'Manual' ? (self.replicas == oldSelf.replicas"
            " || self.scaling.mode != oldSelf.scaling.mode) : true",
            "replicas is only the first size unless scaling.mode is Manual: change scaling.minReplicas or "
            "scaling.maxReplicas instead, or set scaling.mode: Manual",
        ),
    )
