"""The local-first rule: a truth table of every row of docs/rule.md, and what always holds."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from forebay.resources.reasons import Capability, Priority, Reason
from forebay.resources.table import ModelEntry
from forebay.resources.terms import CloudUse, FullWhen, GapAction, Modality, OverflowTo, Permission, Task, Tier
from forebay.rules.facts import CloudTarget, FleetView, PolicyView, PoolView, RequestFacts
from forebay.rules.route import Cloud, Local, Refuse, Wait, route

HIGH, NORMAL, LOW = Priority.HIGH, Priority.NORMAL, Priority.LOW
BIG = CloudTarget("default", "acme", ModelEntry(name="acme-large", context_tokens=100_000))
SMALL = CloudTarget("default", "bravo", ModelEntry(name="bravo-small", context_tokens=32_000))
POLICY = PolicyView("default", {Tier.PRIMARY: (BIG,), Tier.SECONDARY: (SMALL,)})
CHAT = PoolView(
    "chat",
    ("qwen-7b",),
    frozenset({Capability.GENERAL, Capability.REASONING}),
    context_tokens=8_000,
    serving=2,
    free=4,
    free_high=5,
)
SORT = PoolView("sort", ("tiny",), frozenset({Capability.CLASSIFICATION}), serving=1, free=2, free_high=2)
CHAT_FULL = replace(CHAT, free=0, free_high=0)
SORT_FULL = replace(SORT, free=0, free_high=0)
CHAT_GONE = replace(CHAT_FULL, serving=0)
ASK = RequestFacts()


def with_targets(tier: Tier, *targets: CloudTarget) -> PolicyView:
    return replace(POLICY, targets={**POLICY.targets, tier: targets})


def fleet(*pools: PoolView, policy: PolicyView | None = POLICY) -> FleetView:
    return FleetView(pools, {policy.name: policy} if policy else {})


@dataclass(frozen=True)
class Row:
    case: str
    request: RequestFacts
    fleet: FleetView
    destination: object
    reason: Reason


def primary(pool: str | None = "chat") -> Cloud:
    return Cloud(Tier.PRIMARY, (BIG,), pool)


def secondary(pool: str | None = "chat") -> Cloud:
    return Cloud(Tier.SECONDARY, (SMALL,), pool)


FULL = fleet(CHAT_FULL, SORT_FULL)
ROOM_ELSEWHERE = fleet(CHAT_FULL, SORT)
OWN_FAULT = RequestFacts(own_fault=True)
NAMED = RequestFacts(model="qwen-7b")
COUNTED = RequestFacts(model="vec", also=frozenset(Task))
EMBED = replace(CHAT, name="embed", names=("vec",), task=Task.EMBED, free=9, free_high=9)
VECTORS = RequestFacts(task=Task.EMBED)
OTHER = replace(EMBED, name="other", names=("wide",))
TWIN = replace(EMBED, name="twin", names=("fast-vec", "vec"), free=1, free_high=1)
NAME_ONE = Refuse(400, text="answers of different models cannot be compared: name one of vec, wide in `model`")
EMBED_FULL = replace(EMBED, free=0, free_high=0)
SUBSTITUTE = replace(CHAT_FULL, substitute=Permission.ALLOWED)
LIKELY = RequestFacts(prompt_tokens=9_000)
ROOMY = replace(CHAT, name="roomy", context_tokens=100_000, free=1, free_high=1)
ROOMY_FULL = replace(ROOMY, free=0, free_high=0)
UNKNOWN = RequestFacts(unknown_input=True)
SEES = replace(CHAT, name="sees", inputs=frozenset({Modality.TEXT, Modality.IMAGE}), free=1, free_high=1)

ROWS = [
    # The four lines.
    Row("a free slot, normal", ASK, fleet(CHAT, SORT), Local("chat"), Reason.LOCAL_CAPACITY),
    Row("a free slot, high", RequestFacts(priority=HIGH), fleet(CHAT), Local("chat"), Reason.LOCAL_CAPACITY),
    Row("a free slot, low", RequestFacts(priority=LOW), fleet(CHAT), Local("chat"), Reason.LOCAL_CAPACITY),
    Row("pool full, high", RequestFacts(priority=HIGH), ROOM_ELSEWHERE, primary(), Reason.HIGH_PRIORITY_OVERFLOW),
    Row("every pool full, normal", ASK, FULL, secondary(), Reason.ALL_POOLS_FULL),
    Row("pool full, another has room, normal", ASK, ROOM_ELSEWHERE, Wait(("chat",)), Reason.QUEUED),
    Row("every pool full, low", RequestFacts(priority=LOW), FULL, Wait(("chat",)), Reason.QUEUED),
    # What fails where others are served is paid for by nobody.
    Row("its own fault, full, high", replace(OWN_FAULT, priority=HIGH), FULL, Wait(("chat",)), Reason.QUEUED),
    Row("its own fault, full", OWN_FAULT, FULL, Wait(("chat",)), Reason.QUEUED),
    Row("its own fault, a slot", OWN_FAULT, fleet(CHAT), Local("chat"), Reason.LOCAL_CAPACITY),
    Row(
        "its own fault, full, waited",
        replace(OWN_FAULT, waited=True),
        FULL,
        Refuse(429, "chat"),
        Reason.REPLICA_FAILED,
    ),
    Row(
        "its own fault, no replica, waited",
        replace(OWN_FAULT, waited=True),
        fleet(CHAT_GONE),
        Refuse(503, "chat"),
        Reason.REPLICA_FAILED,
    ),
    Row(
        "its own fault, tried enough",
        replace(OWN_FAULT, given_up=Reason.REPLICA_FAILED, priority=HIGH),
        fleet(CHAT),
        Refuse(503, "chat"),
        Reason.REPLICA_FAILED,
    ),
    # Vectors of one model are not those of another.
    Row("vectors of one of two", VECTORS, fleet(EMBED, OTHER), NAME_ONE, Reason.MODEL_REQUIRED),
    Row("of two, one not running", VECTORS, fleet(replace(EMBED, serving=0), OTHER), NAME_ONE, Reason.MODEL_REQUIRED),
    Row(
        "of two, one with another capability",
        VECTORS,
        fleet(replace(EMBED, capabilities=frozenset({Capability.EXTRACTION})), OTHER),
        NAME_ONE,
        Reason.MODEL_REQUIRED,
    ),
    Row("named", replace(VECTORS, model="wide"), fleet(EMBED, OTHER), Local("other"), Reason.LOCAL_CAPACITY),
    Row("of two pools of one model", VECTORS, fleet(EMBED, TWIN), Local("embed"), Reason.LOCAL_CAPACITY),
    Row(
        "one of which is another",
        VECTORS,
        fleet(TWIN, EMBED, OTHER),
        Refuse(400, text=NAME_ONE.text.replace("vec,", "fast-vec, vec,")),
        Reason.MODEL_REQUIRED,
    ),
    Row("of one pool, beside others", VECTORS, fleet(CHAT, EMBED, SORT), Local("embed"), Reason.LOCAL_CAPACITY),
    Row(
        "of one pool that is full",
        replace(VECTORS, waited=True),
        fleet(EMBED_FULL),
        Refuse(429, "embed"),
        Reason.SUBSTITUTION_DENIED,
    ),
    Row("high as well", replace(VECTORS, priority=HIGH), fleet(EMBED_FULL), Wait(("embed",)), Reason.QUEUED),
    # Tokens are counted by every engine; a chat is not.
    Row("tokens of an embedding model", COUNTED, fleet(CHAT, EMBED), Local("embed"), Reason.LOCAL_CAPACITY),
    Row("a chat with one", RequestFacts(model="vec"), fleet(CHAT, EMBED), Refuse(404), Reason.MODEL_NOT_FOUND),
    Row("tokens of any", replace(COUNTED, model="auto"), fleet(EMBED, CHAT), Local("chat"), Reason.LOCAL_CAPACITY),
    # High's reserve.
    Row(
        "only the reserve is free, high",
        RequestFacts(priority=HIGH),
        fleet(replace(CHAT_FULL, free_high=1), SORT_FULL),
        Local("chat"),
        Reason.LOCAL_CAPACITY,
    ),
    Row(
        "only the reserve is free, normal",
        ASK,
        fleet(replace(CHAT_FULL, free_high=1), SORT_FULL),
        secondary(),
        Reason.ALL_POOLS_FULL,
    ),
    # Which pool.
    Row(
        "most room wins",
        ASK,
        fleet(CHAT, replace(CHAT, name="chat-2", free=9)),
        Local("chat-2"),
        Reason.LOCAL_CAPACITY,
    ),
    Row(
        "capability decides",
        RequestFacts(capability=Capability.CLASSIFICATION),
        fleet(CHAT, SORT),
        Local("sort"),
        Reason.LOCAL_CAPACITY,
    ),
    Row(
        "a named model skips the map",
        RequestFacts(model="tiny"),
        fleet(CHAT, SORT),
        Local("sort"),
        Reason.LOCAL_CAPACITY,
    ),
    Row("an unknown model", RequestFacts(model="nope"), fleet(CHAT), Refuse(404), Reason.MODEL_NOT_FOUND),
    Row(
        "a model of another task",
        RequestFacts(model="tiny", task=Task.EMBED),
        fleet(SORT),
        Refuse(404),
        Reason.MODEL_NOT_FOUND,
    ),
    # What full means.
    Row(
        "capable pools are enough when the policy says so",
        ASK,
        fleet(CHAT_FULL, SORT, policy=replace(POLICY, full_when=FullWhen.CAPABLE_POOLS_FULL)),
        secondary(),
        Reason.CAPABLE_POOLS_FULL,
    ),
    Row(
        "a pool of another task does not count",
        ASK,
        fleet(CHAT_FULL, replace(SORT, task=Task.EMBED)),
        secondary(),
        Reason.ALL_POOLS_FULL,
    ),
    Row(
        "a starting pool counts as full",
        ASK,
        fleet(CHAT_FULL, replace(SORT_FULL, serving=0, starting=1)),
        secondary(),
        Reason.ALL_POOLS_FULL,
    ),
    Row(
        "an absent pool is neither free nor full",
        ASK,
        fleet(CHAT_FULL, replace(SORT_FULL, serving=0)),
        secondary(),
        Reason.ALL_POOLS_FULL,
    ),
    Row("nobody runs: wait for the cold start", ASK, fleet(CHAT_GONE, SORT), Wait(("chat",), cold=True), Reason.QUEUED),
    Row(
        "nobody ran for long enough",
        RequestFacts(waited=True),
        fleet(CHAT_GONE, SORT),
        secondary(),
        Reason.NO_REPLICAS,
    ),
    Row("nobody runs, high", RequestFacts(priority=HIGH), fleet(CHAT_GONE), primary(), Reason.HIGH_PRIORITY_OVERFLOW),
    # After the wait.
    Row("waited in vain, normal", RequestFacts(waited=True), ROOM_ELSEWHERE, secondary(), Reason.QUEUE_EXPIRED),
    Row(
        "waited in vain, low", RequestFacts(priority=LOW, waited=True), FULL, Refuse(429, "chat"), Reason.QUEUE_EXPIRED
    ),
    Row(
        "low may leave where the policy says so",
        RequestFacts(priority=LOW),
        fleet(CHAT_FULL, policy=replace(POLICY, low=OverflowTo.SECONDARY)),
        secondary(),
        Reason.ALL_POOLS_FULL,
    ),
    Row(
        "waited in vain, nobody there, no cloud",
        RequestFacts(waited=True),
        fleet(CHAT_GONE, policy=None),
        Refuse(503, "chat"),
        Reason.NO_REPLICAS,
    ),
    *(
        Row(
            f"waited in vain for {what}, {why}",
            replace(ask, waited=True),
            fleet(
                replace(CHAT_FULL, serving=0, starting=starting),
                policy=replace(POLICY, low=OverflowTo.QUEUE) if policy else None,
            ),
            Refuse(503, "chat"),
            Reason.NO_REPLICAS,
        )
        for what, starting in (("one that starts", 1), ("nobody", 0))
        for why, ask, policy in (
            ("no cloud", ASK, False),
            ("high, no cloud", RequestFacts(priority=HIGH), False),
            ("local only", RequestFacts(cloud=CloudUse.NEVER), True),
            ("no substitute", RequestFacts(model="qwen-7b", priority=HIGH), True),
            ("low", RequestFacts(priority=LOW), True),
        )
    ),
    Row(
        "nobody serves, and the cloud has failed",
        RequestFacts(waited=True, cloud_failed=True),
        fleet(CHAT_GONE),
        Refuse(503, "chat"),
        Reason.CLOUD_UNAVAILABLE,
    ),
    Row("waited, and a slot came", RequestFacts(waited=True), fleet(CHAT), Local("chat"), Reason.LOCAL_CAPACITY),
    # No cloud.
    Row("no policy: queue", ASK, fleet(CHAT_FULL, policy=None), Wait(("chat",)), Reason.QUEUED),
    Row(
        "no policy, high: queue",
        RequestFacts(priority=HIGH),
        fleet(CHAT_FULL, policy=None),
        Wait(("chat",)),
        Reason.QUEUED,
    ),
    Row(
        "no policy, waited",
        RequestFacts(waited=True),
        fleet(CHAT_FULL, policy=None),
        Refuse(429, "chat"),
        Reason.NO_POLICY,
    ),
    Row("local-only request", RequestFacts(cloud=CloudUse.NEVER), FULL, Wait(("chat",)), Reason.QUEUED),
    Row(
        "local-only request, waited",
        RequestFacts(cloud=CloudUse.NEVER, waited=True),
        FULL,
        Refuse(429, "chat"),
        Reason.LOCAL_ONLY,
    ),
    Row(
        "local-only pool",
        RequestFacts(waited=True),
        fleet(replace(CHAT_FULL, cloud=CloudUse.NEVER)),
        Refuse(429, "chat"),
        Reason.LOCAL_ONLY,
    ),
    Row(
        "local-only fleet",
        RequestFacts(priority=HIGH, waited=True),
        fleet(CHAT_FULL, policy=replace(POLICY, cloud=CloudUse.NEVER)),
        Refuse(429, "chat"),
        Reason.LOCAL_ONLY,
    ),
    Row(
        "stored state never leaves",
        RequestFacts(stored_state=True, waited=True),
        FULL,
        Refuse(429, "chat"),
        Reason.LOCAL_ONLY,
    ),
    Row(
        "cloud down at a gap",
        RequestFacts(capability=Capability.EXTRACTION, cloud_failed=True),
        fleet(CHAT),
        Refuse(503),
        Reason.CLOUD_UNAVAILABLE,
    ),
    Row("cloud down: queue", RequestFacts(cloud_failed=True), FULL, Wait(("chat",)), Reason.QUEUED),
    Row(
        "cloud down, waited",
        RequestFacts(cloud_failed=True, waited=True),
        FULL,
        Refuse(429, "chat"),
        Reason.CLOUD_UNAVAILABLE,
    ),
    # Substitution.
    Row("named model, substitution denied", replace(NAMED, priority=HIGH), FULL, Wait(("chat",)), Reason.QUEUED),
    Row(
        "named model, denied, waited",
        replace(NAMED, waited=True),
        FULL,
        Refuse(429, "chat"),
        Reason.SUBSTITUTION_DENIED,
    ),
    Row(
        "named model, substitution allowed",
        replace(NAMED, priority=HIGH),
        fleet(SUBSTITUTE, SORT),
        primary(),
        Reason.HIGH_PRIORITY_OVERFLOW,
    ),
    Row(
        "a named pool follows its own policy",
        replace(NAMED, priority=HIGH),
        FleetView(
            (replace(SUBSTITUTE, policy="own"),), {"own": replace(with_targets(Tier.PRIMARY, SMALL), name="own")}
        ),
        Cloud(Tier.PRIMARY, (SMALL,), "chat"),
        Reason.HIGH_PRIORITY_OVERFLOW,
    ),
    # Portability.
    Row(
        "a field no provider takes",
        RequestFacts(priority=HIGH, fields=frozenset({"guided_json"}), waited=True),
        FULL,
        Refuse(429, "chat"),
        Reason.NOT_PORTABLE,
    ),
    Row(
        "too long for the secondary",
        RequestFacts(prompt_tokens=7_000, max_tokens=900),
        fleet(
            CHAT_FULL,
            policy=with_targets(
                Tier.SECONDARY, CloudTarget("default", "x", ModelEntry(name="x", context_tokens=4_000))
            ),
        ),
        Wait(("chat",)),
        Reason.QUEUED,
    ),
    # Gaps.
    Row(
        "no pool has the capability",
        RequestFacts(capability=Capability.EXTRACTION),
        fleet(CHAT),
        secondary(None),
        Reason.CAPABILITY_GAP,
    ),
    Row(
        "no pool has the capability, high",
        RequestFacts(capability=Capability.EXTRACTION, priority=HIGH),
        fleet(CHAT),
        primary(None),
        Reason.CAPABILITY_GAP,
    ),
    Row(
        "no pool takes the length",
        RequestFacts(least_tokens=9_000),
        fleet(CHAT),
        secondary(None),
        Reason.CONTEXT_LENGTH_GAP,
    ),
    Row(
        "the engine refused the length",
        RequestFacts(refused_by=frozenset({"chat"})),
        fleet(CHAT),
        secondary(None),
        Reason.CONTEXT_LENGTH_GAP,
    ),
    Row(
        "near the length the engine decides, and a limit on the answer needs no room",
        RequestFacts(prompt_tokens=9_000, least_tokens=7_999, max_tokens=8_000),
        fleet(CHAT),
        Local("chat"),
        Reason.LOCAL_CAPACITY,
    ),
    Row("likely too long for one", LIKELY, fleet(CHAT, ROOMY), Local("roomy"), Reason.LOCAL_CAPACITY),
    Row("likely too long for the free one", LIKELY, fleet(CHAT, ROOMY_FULL), Local("chat"), Reason.LOCAL_CAPACITY),
    Row(
        "likely too long for one of two full",
        LIKELY,
        fleet(CHAT_FULL, ROOMY_FULL, SORT),
        Wait(("roomy",)),
        Reason.QUEUED,
    ),
    Row(
        "one engine refused the length, another context is longer",
        RequestFacts(refused_by=frozenset({"chat"})),
        fleet(CHAT, replace(CHAT, name="same"), ROOMY),
        Local("roomy"),
        Reason.LOCAL_CAPACITY,
    ),
    Row("of unknown kind", UNKNOWN, fleet(CHAT, SEES), Local("sees"), Reason.LOCAL_CAPACITY),
    Row("of unknown kind, text alone", UNKNOWN, fleet(CHAT), Local("chat"), Reason.LOCAL_CAPACITY),
    Row(
        "no pool takes images, nor does the cloud",
        RequestFacts(inputs=frozenset({Modality.TEXT, Modality.IMAGE})),
        fleet(CHAT),
        Refuse(400, "chat"),
        Reason.NOT_PORTABLE,
    ),
    Row(
        "gap without a policy",
        RequestFacts(least_tokens=9_000),
        fleet(CHAT, policy=None),
        Refuse(400, "chat"),
        Reason.CONTEXT_LENGTH_GAP,
    ),
    Row(
        "gap: reject",
        RequestFacts(least_tokens=9_000),
        fleet(CHAT, policy=replace(POLICY, gap=GapAction.REJECT)),
        Refuse(400, "chat"),
        Reason.CONTEXT_LENGTH_GAP,
    ),
    Row(
        "gap: queue, not for ever",
        RequestFacts(capability=Capability.EXTRACTION, waited=True),
        fleet(CHAT, policy=replace(POLICY, gap=GapAction.QUEUE)),
        Refuse(404),
        Reason.CAPABILITY_GAP,
    ),
    Row(
        "gap: queue",
        RequestFacts(least_tokens=9_000),
        fleet(CHAT, policy=replace(POLICY, gap=GapAction.QUEUE)),
        Wait(("chat",), cold=True),
        Reason.CONTEXT_LENGTH_GAP,
    ),
    Row(
        "gap, local-only",
        RequestFacts(least_tokens=9_000, cloud=CloudUse.NEVER),
        fleet(CHAT),
        Refuse(400, "chat"),
        Reason.LOCAL_ONLY,
    ),
    Row("no pools at all", ASK, fleet(), secondary(None), Reason.CAPABILITY_GAP),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.case)
def test_truth_table(row: Row) -> None:
    decision = route(row.request, row.fleet)
    assert (decision.destination, decision.reason) == (row.destination, row.reason)


def test_a_decision_carries_its_inputs() -> None:
    inputs = route(ASK, fleet(replace(CHAT, report_age_seconds=0.4, queued=3))).inputs
    assert (inputs.free_slots, inputs.report_age_seconds, inputs.queued) == (4, 0.4, 3)


pools = st.builds(
    PoolView,
    name=st.sampled_from(["a", "b", "c"]),
    names=st.just(("m",)),
    capabilities=st.frozensets(st.sampled_from(Capability), min_size=1),
    context_tokens=st.none() | st.integers(1, 10_000),
    serving=st.integers(0, 2),
    starting=st.integers(0, 1),
    free=st.integers(0, 2),
    free_high=st.integers(0, 3),
    substitute=st.sampled_from(Permission),
    cloud=st.sampled_from(CloudUse),
)
policies = st.none() | st.builds(
    PolicyView,
    name=st.just("default"),
    targets=st.just(POLICY.targets),
    full_when=st.sampled_from(FullWhen),
    low=st.sampled_from(OverflowTo),
    gap=st.sampled_from(GapAction),
    cloud=st.sampled_from(CloudUse),
)
fleets = st.builds(
    lambda pools, policy: fleet(*pools, policy=policy),
    st.lists(pools, max_size=3, unique_by=lambda pool: pool.name),
    policies,
)
requests = st.builds(
    RequestFacts,
    model=st.sampled_from(["auto", "m", "nope"]),
    priority=st.sampled_from(Priority),
    capability=st.sampled_from(Capability),
    prompt_tokens=st.integers(0, 20_000),
    least_tokens=st.integers(0, 9_000),
    cloud=st.sampled_from(CloudUse),
    stored_state=st.booleans(),
    waited=st.booleans(),
    cloud_failed=st.booleans(),
)


@given(requests, fleets)
def test_a_request_that_may_not_leave_never_leaves(request: RequestFacts, view: FleetView) -> None:
    decision = route(request, view)
    may_not = request.cloud is CloudUse.NEVER or request.stored_state or not view.policies
    assert not (may_not and isinstance(decision.destination, Cloud))


@given(requests, fleets)
def test_a_free_capable_slot_always_wins_over_the_cloud(request: RequestFacts, view: FleetView) -> None:
    decision = route(request, view)
    if isinstance(decision.destination, Cloud) and decision.destination.pool is not None:
        chosen = next(pool for pool in view.pools if pool.name == decision.destination.pool)
        assert chosen.free_for(request.priority) == 0


@given(requests, fleets)
def test_who_has_waited_never_waits_again(request: RequestFacts, view: FleetView) -> None:
    assert not isinstance(route(replace(request, waited=True), view).destination, Wait)


@given(requests, fleets)
def test_same_inputs_same_decision(request: RequestFacts, view: FleetView) -> None:
    assert route(request, view) == route(request, view)


def test_a_guess_from_words_makes_no_gap_where_a_pool_serves_general() -> None:
    asked = replace(ASK, capability=Capability.EXTRACTION)
    assert route(asked, fleet(CHAT, SORT)).reason is Reason.CAPABILITY_GAP
    assert route(replace(asked, guessed=True), fleet(CHAT, SORT)).destination == Local("chat")
    assert route(replace(asked, guessed=True), fleet(SORT)).reason is Reason.CAPABILITY_GAP
