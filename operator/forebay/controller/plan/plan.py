"""From what a fleet is to what is to be done about it. Pure: the same fleet and memory give the same plan."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from forebay.controller.cluster.kubernetes_api import CONFIG_MAP, POLICY, Object
from forebay.controller.manifests import fleet as objects
from forebay.controller.manifests.common import with_metadata, with_pull_secrets
from forebay.controller.manifests.gateway import GatewayWish, wished_deployment
from forebay.controller.manifests.networkpolicy import gateway_network_policy
from forebay.controller.observe.memory import TOKEN, FleetMemory, Touched
from forebay.controller.observe.observe import ObservedFleet, ObservedPolicy
from forebay.controller.observe.pods import Pod
from forebay.controller.plan.actions import (
    Action,
    ActionBatch,
    Apply,
    CreateToken,
    Note,
    RotateToken,
    Say,
    Touch,
    WriteStatus,
)
from forebay.controller.plan.desired_vs_live import compare_and_swap, desired_vs_live, with_created_note
from forebay.controller.plan.drift import differences
from forebay.controller.plan.plan_budgets import BudgetPlan, plan_budgets
from forebay.controller.plan.plan_pool import plan_pool
from forebay.controller.plan.rotation import next_step
from forebay.controller.plan.routing_table import Acknowledgement, TableUpdate, acknowledgement, table_update
from forebay.controller.report import event_messages
from forebay.controller.report.budgets_report import budget_facts, budget_status, budget_verdict
from forebay.controller.report.conditions import PolicyFacts, Verdict, conditions, policy_verdicts
from forebay.controller.report.gateways import GatewayFacts, gateway_facts, gateways_verdict, has_token
from forebay.controller.report.statuses import worth_writing
from forebay.controller.settings import Settings
from forebay.controller.sizing.arbitration import arbitrated
from forebay.controller.sizing.sizing import Sizing, remembered, size
from forebay.resources import names
from forebay.resources.policy import PolicyStatus
from forebay.resources.pool import PoolSpec
from forebay.resources.reasons import EventReason
from forebay.resources.report import GatewayReport
from forebay.rules.arbitrate import Bid

TOUCH_AGAIN_SECONDS: Final = 3.0
TOUCHES: Final = 5
SOON_SECONDS: Final = 0.25  # until the next look while routers take over a table
PENDING_SECONDS: Final = 120.0  # after which nobody waits for them any more


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, what to remember, what other fleets need to know, and when to look again at the latest (seconds;
    None: at the next resync)."""

    batches: tuple[ActionBatch, ...]
    memory: FleetMemory
    sizings: Mapping[str, Sizing] = field(default_factory=dict)
    again: float | None = None
    bids: tuple[Bid, ...] = ()
    verdicts: Mapping[str, tuple[Verdict, ...]] = field(default_factory=dict)
    """The conditions of every pool."""
    gateways: GatewayFacts | None = None


def plan(fleet: ObservedFleet, memory: FleetMemory, settings: Settings) -> Plan:
    """Plan a whole fleet. One without pools and policies needs nothing: the garbage collector clears up."""
    if not fleet.owners:
        return Plan((), FleetMemory())
    programmed = table_update(fleet, settings.operator, settings.timeouts)
    money = plan_budgets(fleet, memory)
    sizings, bids = _sizings(fleet, memory, settings, money)
    shared, refused = _shared_objects(fleet, settings)
    table = objects.routing_configmap(fleet.namespace, fleet.owners, programmed.data, None)
    facts = gateway_facts(fleet, (*shared, table), memory.failures)
    gateways = gateways_verdict(facts)
    pools = {
        pool.name: plan_pool(
            fleet, pool, memory, settings, _acknowledged(fleet, programmed, pool.pods, pool.name),
            sizings.get(pool.name), gateways,
        )
        for pool in fleet.pools
    }  # fmt: skip
    routing, pending = _routing(fleet, memory, programmed, table)
    touches, touched = _touches(fleet, memory, programmed)
    first = ActionBatch("", (*_token(fleet), *_shared(fleet, memory, shared), *routing, *touches, *money.actions))
    policies, written = _policies(fleet, memory, programmed, gateways, refused, money)
    kept = replace(
        memory,
        pools={name: item.memory for name, item in pools.items()},
        heard=fleet.heard,
        failures={key: item for key, item in memory.failures.items() if key != TOKEN or not has_token(fleet)},
        touched=touched,
        pending=pending,
        policies_written=written,
        budget_written=money.written,
        budget_touched=money.touched,
    )
    return Plan(
        (first, *(item.batch for item in pools.values()), *policies),
        kept,
        sizings,
        SOON_SECONDS if pending is not None and fleet.now - pending[1] < PENDING_SECONDS else money.again,
        bids,
        {name: item.verdicts for name, item in pools.items()},
        facts,
    )


def _sizings(
    fleet: ObservedFleet, memory: FleetMemory, settings: Settings, money: BudgetPlan
) -> tuple[dict[str, Sizing], tuple[Bid, ...]]:
    """First what each pool would have, then what each may ask for."""
    wanted = {}
    for pool in fleet.pools:
        if pool.spec is not None:
            known = remembered(pool, memory.pools.get(pool.name), fleet.now)
            wanted[pool.name] = size(fleet, pool, pool.spec, known, settings, money.ledgers)
    return arbitrated(fleet, memory, wanted)


def _acknowledged(
    fleet: ObservedFleet, programmed: TableUpdate, pods: Iterable[Pod], pool: str
) -> Acknowledgement | None:
    """How far the gateways and one pool's sidecars are; the generation is that of the pool's part.

    What the gateways' table says of the pool changes with that part and has the same generation then. Later ones are
    about other pools, and no news here: else the status of every pool would be written for a change of one.
    """
    part = programmed.generations.get(names.pool_table_key(pool))
    if part is None:
        return None
    return acknowledgement(part, fleet.gateways, fleet.heard) + acknowledgement(part, pods, fleet.heard)


def _everybody(fleet: ObservedFleet, programmed: TableUpdate) -> Acknowledgement:
    total = acknowledgement(programmed.generations[names.GATEWAY_TABLE_KEY], fleet.gateways, fleet.heard)
    for pool in fleet.pools:
        part = programmed.generations.get(names.pool_table_key(pool.name))
        total = total if part is None else total + acknowledgement(part, pool.pods, fleet.heard)
    return total


def _shared_objects(fleet: ObservedFleet, settings: Settings) -> tuple[list[Object], str]:
    """What the fleet shares, as it should be, all but the routing table and the token; and what gateways cannot be of
    what users want of them."""
    namespace, owners = fleet.namespace, fleet.owners
    policies = [(policy.name, policy.spec) for policy in fleet.policies if policy.spec is not None]
    wish = GatewayWish.of(policies, settings)
    wanted = [
        with_pull_secrets(objects.gateway_service_account(namespace, owners), settings.pull_secrets),
        objects.client_service(namespace, owners),
        objects.gateways_service(namespace, owners),
        objects.gateway_disruption_budget(namespace, owners, wish.replicas),
    ]
    wanted = [with_metadata(obj, wish.metadata) for obj in wanted]
    if settings.network_policies:
        specs = [spec for _, spec in policies]
        wanted.append(gateway_network_policy(namespace, owners, specs, settings))
    gateways, refused = wished_deployment(namespace, owners, policies, settings)
    return [*wanted, gateways], refused


def _shared(fleet: ObservedFleet, memory: FleetMemory, wanted: Iterable[Object]) -> list[Apply]:
    about = event_messages.owner_ref(fleet.owners[0], fleet.namespace)
    return with_created_note((desired_vs_live(obj, fleet, memory, about) for obj in wanted), about)


def _token(fleet: ObservedFleet) -> list[Action]:
    """The Secret is created once; later its owners are kept up to date, its data changes only to rotate it."""
    head = objects.control_token(fleet.namespace, fleet.owners)
    if fleet.token is None or not has_token(fleet):
        made = CreateToken(objects.with_token(head, fleet.lost_token), exists=fleet.token is not None)
        return [made, *_touch_routers(fleet, f"token-new-{fleet.now:.0f}")]
    if any(differences(head, fleet.token)):
        # Of this very Secret only: applied to one that is gone, its head would become a Secret without a token.
        same = {**head, "metadata": {**head["metadata"], "uid": fleet.token["metadata"]["uid"]}}
        return [Apply(same, "its owners changed", exists=True, about=event_messages.object_ref(fleet.token))]
    step = next_step(fleet)
    if step is None:
        return []
    return [RotateToken(step.patch, step.words), *_touch_routers(fleet, step.mark)]


def _touch_routers(fleet: ObservedFleet, mark: str) -> list[Touch]:
    """Every router that runs: touching their pods makes the kubelets bring them the token now."""
    routers = (*fleet.gateways, *(pod for pool in fleet.pools for pod in pool.pods))
    return [Touch(pod.name, mark) for pod in routers if pod.address and not pod.terminating]


def _routing(
    fleet: ObservedFleet, memory: FleetMemory, programmed: TableUpdate, desired: Object
) -> tuple[list[Action], tuple[int, float] | None]:
    """Write the table by compare-and-swap; tell when every router has taken it over."""
    live = fleet.live.get((CONFIG_MAP.kind, names.ROUTING_CONFIGMAP))
    about = event_messages.object_ref(live) if live else event_messages.owner_ref(fleet.owners[0], fleet.namespace)
    apply = desired_vs_live(desired, fleet, memory, about)
    if apply is not None:
        pending = (programmed.generation, fleet.now) if programmed.changed else memory.pending
        return [compare_and_swap(apply, live)], pending
    everybody = _everybody(fleet, programmed)
    if memory.pending is None or live is None or not everybody.ready or not everybody.complete:
        return [], memory.pending
    generation, since = memory.pending
    note = event_messages.programmed(about, generation, everybody.ready, fleet.now - since)
    return [Say(note)], None


def _touches(
    fleet: ObservedFleet, memory: FleetMemory, programmed: TableUpdate
) -> tuple[list[Touch], dict[str, Touched]]:
    """Routers that run and have an older table: touching their pod makes the kubelet bring the new one now."""
    gateways = [(pod, programmed.generations[names.GATEWAY_TABLE_KEY]) for pod in fleet.gateways]
    sidecars = [
        (pod, programmed.generations.get(names.pool_table_key(pool.name), 0))
        for pool in fleet.pools
        for pod in pool.pods
    ]
    touches, touched = [], {}
    for pod, generation in (*gateways, *sidecars):
        heard = fleet.heard.get(pod.name)
        if pod.terminating or heard is None or heard.report.generation >= generation:
            continue
        last = memory.touched.get(pod.uid)
        if last is None or last.generation != generation:
            last = Touched(generation, 0, 0.0)
        if last.times < TOUCHES and fleet.now - last.last >= TOUCH_AGAIN_SECONDS:
            last = Touched(generation, last.times + 1, fleet.now)
            touches.append(Touch(pod.name, f"{generation}" if last.times == 1 else f"{generation}.{last.times}"))
        touched[pod.uid] = last
    return touches, touched


def _policies(
    fleet: ObservedFleet,
    memory: FleetMemory,
    programmed: TableUpdate,
    gateways: Verdict,
    refused: str,
    money: BudgetPlan,
) -> tuple[list[ActionBatch], dict[str, float]]:
    """Statuses of the policies. `refused`: what gateways cannot be of what `default` asks for."""
    batches, written = [], {}
    everybody = acknowledgement(programmed.generations[names.GATEWAY_TABLE_KEY], fleet.gateways, fleet.heard)
    for policy in fleet.policies:
        last = memory.policies_written.get(policy.name, 0.0)
        wrong = policy.invalid or (refused if policy.name == names.DEFAULT_POLICY else "")
        status = _policy_status(fleet, policy, everybody, gateways, wrong, money)
        why = worth_writing(status, policy.live_status, fleet.now - last)
        if why:
            told = [Say(note) for note in _policy_trouble(fleet, policy)]
            batches.append(ActionBatch(policy.name, (*told, WriteStatus(POLICY, policy.name, status, why))))
        written[policy.name] = fleet.now if why else last
    return batches, written


def _policy_trouble(fleet: ObservedFleet, policy: ObservedPolicy) -> list[Note]:
    """A spec that makes no sense, once a generation."""
    if not policy.invalid or policy.status.observed_generation == policy.generation:
        return []
    about = event_messages.owner_ref(policy.owner, fleet.namespace)
    return [event_messages.refused(about, EventReason.INVALID_SPEC, f"the spec is not understood: {policy.invalid}")]


def _policy_status(
    fleet: ObservedFleet,
    policy: ObservedPolicy,
    everybody: Acknowledgement,
    shared: Verdict,
    wrong: str,
    money: BudgetPlan,
) -> Object:
    reports = [item.report for item in fleet.heard.values()]
    gateways = [report for report in reports if isinstance(report, GatewayReport)]
    pools = sum(1 for pool in fleet.pools if pool.spec is not None and _decides(policy.name, pool.spec))
    facts = PolicyFacts(
        name=policy.name,
        invalid=wrong,
        gateways_ready=sum(pod.counts for pod in fleet.gateways),
        gateway_trouble=shared.message if shared.status is False else "",
        missing_keys=_of_policy(policy.name, (key for report in gateways for key in report.missing_keys)),
        provider_problems=_of_policy(policy.name, (word for report in gateways for word in report.provider_problems)),
        pools=pools,
        programmed=everybody,
    )
    before = policy.live_status.get("conditions") or ()
    budget = policy.spec.budget if policy.spec is not None else None
    paid = budget and budget_facts(fleet, policy.name, budget, money.ledgers, money.unknown_zones.get(policy.name, ""))
    status = PolicyStatus(
        observed_generation=policy.generation,
        table_generation=everybody.generation,
        budget=budget_status(paid, policy.status.budget) if paid else None,
        pools=pools,
    ).model_dump(mode="json", by_alias=True)
    if status["budget"] is None and "budget" not in policy.live_status:
        del status["budget"]
    verdicts = (*policy_verdicts(facts), *((budget_verdict(paid),) if paid else ()))
    return {**status, "conditions": conditions(verdicts, before, policy.generation, fleet.now)}


def _of_policy(policy: str, words: Iterable[str]) -> tuple[str, ...]:
    """What gateways say of this policy's providers, without its name."""
    return tuple(sorted({word.partition("/")[2] for word in words if word.partition("/")[0] == policy}))


def _decides(policy: str, spec: PoolSpec) -> bool:
    reference = spec.cloud_fallback_policy_ref
    return policy == (reference.name if reference is not None else names.DEFAULT_POLICY)
