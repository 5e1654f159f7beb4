"""What the rules see: a request, the fleet's pools, the policy. Plain values, built at the edge.

Structs rather than dataclasses: several are made for every request, at a sixth of the cost.
"""

from collections.abc import Mapping
from typing import assert_never

from msgspec import Struct, field

from forebay.resources.reasons import Capability, Priority, Reason
from forebay.resources.table import ModelEntry, PolicyEntry
from forebay.resources.terms import CloudUse, FullWhen, GapAction, Modality, OverflowTo, Permission, Task, Tier
from forebay.rules.depths import NOTHING, Depths
from forebay.rules.endpoints import CHAT

REPORT_TTL_SECONDS = 2.0
"""A replica not heard of for longer is absent: neither free nor full."""

USUAL_ANSWER_TOKENS = 512
"""What an answer is taken to need, unless the client asks for less."""

_WITHOUT_ANSWERS = frozenset({Task.EMBED, Task.SCORE})
"""Tasks that read and make no token."""

AUTO_MODELS = frozenset({"auto", "forebay", "forebay/auto", ""})
"""Values of `model` that leave the choice to the capability map."""


class RequestFacts(Struct, frozen=True, gc=False):
    """One request as the rules need it.

    `prompt_tokens` is an estimate of all that the engine reads, `longest_tokens` of the longest of several prompts, and
    `least_tokens` what no tokenizer goes below for that one (docs/rule.md). `max_tokens` is None when the client set no
    limit; `waited` says that its wait in the queue is over. `PoolView.free` is what this very request may take: slots
    less those who wait before it.
    """

    model: str = "auto"
    task: Task = Task.GENERATE
    also: frozenset[Task] = frozenset()  # tasks whose pools serve it, too, if it names their model
    priority: Priority = Priority.NORMAL
    capability: Capability = Capability.GENERAL
    guessed: bool = False  # from its words alone
    inputs: frozenset[Modality] = frozenset({Modality.TEXT})
    unknown_input: bool = False  # holds a part whose kind no pool can declare: video, a file, something new
    prompt_tokens: int = 0
    longest_tokens: int | None = None  # None: there is one prompt only
    least_tokens: int = 0
    max_tokens: int | None = None
    sequences: int = 1  # members of the engine's batch: answers made side by side, texts embedded side by side
    path: str = CHAT
    fields: frozenset[str] = frozenset()  # top-level fields of the body that say something, and foreign content parts
    depths: Depths = NOTHING  # what lies deeper in the body, should it be asked to leave
    cloud: CloudUse = CloudUse.ALLOWED  # strictest of client and request
    stored_state: bool = False  # previous_response_id and the like
    waited: bool = False
    refused_by: frozenset[str] = frozenset()  # pools whose engine said that it is longer than their context
    cloud_failed: bool = False  # every provider of the tier failed or is limited
    no_money: Reason | None = None  # why no provider of the tier may be paid for it, until it is asked again
    own_fault: bool = False  # it fails where others are served: nothing is paid for it
    given_up: Reason | None = None  # why no replica is tried any more: ReplicaFailed, or QueueExpired for back-pressure

    @property
    def live_tokens(self) -> int:
        """Tokens that it will hold in an engine's cache: the prompt, once, and what is likely to be generated."""
        if self.task in _WITHOUT_ANSWERS:
            return self.prompt_tokens
        return self.prompt_tokens + self.sequences * min(self.max_tokens or USUAL_ANSWER_TOKENS, USUAL_ANSWER_TOKENS)

    @property
    def needed_tokens(self) -> int:
        """The least that a model's context has to hold, whatever its tokenizer. A limit on the answer needs no room:
        engines shorten the answer to what is left, or say themselves that it does not fit."""
        return self.least_tokens + (self.task is Task.GENERATE and self.max_tokens != 0)

    @property
    def likely_tokens(self) -> int:
        """What a context is likely to need for the whole of prompt and answer."""
        prompt = self.prompt_tokens if self.longest_tokens is None else self.longest_tokens
        return prompt + (self.max_tokens or 1)

    @property
    def names_a_model(self) -> bool:
        """Whether the client asked for a model rather than for whatever fits."""
        return self.model not in AUTO_MODELS


class PoolView(Struct, frozen=True, gc=False):
    """One pool as a router sees it now. Counts of replicas are of those heard of within REPORT_TTL_SECONDS."""

    name: str
    names: tuple[str, ...]  # served names
    capabilities: frozenset[Capability] = frozenset({Capability.GENERAL})
    task: Task = Task.GENERATE
    inputs: frozenset[Modality] = frozenset({Modality.TEXT})
    context_tokens: int | None = None
    serving: int = 0  # replicas that serve
    starting: int = 0
    free: int = 0  # slots for Normal and Low
    free_high: int = 0  # slots for High
    queued: int = 0
    report_age_seconds: float = 0.0  # of the oldest report that counts
    substitute: Permission = Permission.DENIED
    cloud: CloudUse = CloudUse.ALLOWED
    policy: str | None = None

    def free_for(self, priority: Priority) -> int:
        """Slots that a request of this priority may take."""
        return self.free_high if priority is Priority.HIGH else self.free

    @property
    def present(self) -> bool:
        """Whether a replica runs or starts."""
        return self.serving + self.starting > 0


class CloudTarget(Struct, frozen=True):
    """One provider model of a policy."""

    policy: str
    provider: str
    model: ModelEntry

    def __str__(self) -> str:
        return f"{self.provider}/{self.model.name}"


class PolicyView(Struct, frozen=True):
    """A policy with its targets resolved."""

    name: str
    targets: Mapping[Tier, tuple[CloudTarget, ...]] = field(default_factory=lambda: dict.fromkeys(Tier, ()))
    full_when: FullWhen = FullWhen.ALL_POOLS_FULL
    high: OverflowTo = OverflowTo.PRIMARY
    normal: OverflowTo = OverflowTo.SECONDARY
    low: OverflowTo = OverflowTo.QUEUE
    gap: GapAction = GapAction.CLOUD
    cloud: CloudUse = CloudUse.ALLOWED

    @classmethod
    def of(cls, entry: PolicyEntry) -> "PolicyView":
        """Resolve the targets of a table's policy. Targets that the table does not know are left out."""
        models = {(p.name, m.name): m for p in entry.providers for m in p.models}

        def resolve(tier: Tier) -> tuple[CloudTarget, ...]:
            known = (t for t in entry.targets(tier) if (t.provider, t.model) in models)
            return tuple(CloudTarget(entry.name, t.provider, models[t.provider, t.model]) for t in known)

        return cls(
            entry.name,
            {tier: resolve(tier) for tier in Tier},
            entry.full_when,
            entry.high,
            entry.normal,
            entry.low,
            entry.gap,
            entry.cloud,
        )

    def tier_for(self, priority: Priority) -> Tier | None:
        """Where requests of this priority go when local is full; None where they wait."""
        match priority:
            case Priority.HIGH:
                return self.high.tier
            case Priority.NORMAL:
                return self.normal.tier
            case Priority.LOW:
                return self.low.tier
            case _:
                assert_never(priority)

    def targets_for(self, priority: Priority) -> tuple[CloudTarget, ...]:
        """What requests of this priority may use when local is full."""
        tier = self.tier_for(priority)
        return () if tier is None else self.targets[tier]


def gap_tier(priority: Priority) -> Tier:
    """Where requests of this priority go that no local pool can serve, if the policy sends them to the cloud."""
    match priority:
        case Priority.HIGH:
            return Tier.PRIMARY
        case Priority.NORMAL | Priority.LOW:
            return Tier.SECONDARY
        case _:
            assert_never(priority)


class FleetView(Struct, frozen=True, gc=False):
    """All pools of the fleet, and its policies by name."""

    pools: tuple[PoolView, ...] = ()
    policies: dict[str, PolicyView] = {}
