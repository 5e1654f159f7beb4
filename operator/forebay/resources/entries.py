"""From the specs of pools and policies to their entries in the routing table. Pure."""

from dataclasses import fields
from typing import Any, Final

import msgspec

from forebay import engines
from forebay.resources import names
from forebay.resources.capacity_status import CapacityStatus
from forebay.resources.options import RouterTimeouts
from forebay.resources.policy import PolicySpec, Provider, ProviderModel
from forebay.resources.policy_budget import PolicyBudget
from forebay.resources.pool import PoolSpec, PoolTimeouts
from forebay.resources.reasons import CapacityBound
from forebay.resources.table import (
    USUAL_REACH,
    AdapterEntry,
    BudgetEntry,
    HeaderEntry,
    LearntEntry,
    ModelEntry,
    PolicyEntry,
    PoolEntry,
    PriceEntry,
    ProviderEntry,
    QueueEntry,
    ReachEntry,
    TargetEntry,
    TimeoutsEntry,
)
from forebay.resources.terms import Enforcement, OnDisconnect
from forebay.resources.tiers import TARGET_FIELDS

_NOTHING_LEARNT: Final = CapacityStatus()
_USUAL: Final = RouterTimeouts()


def pool_entry(
    name: str,
    namespace: str,
    spec: PoolSpec,
    capacity: CapacityStatus = _NOTHING_LEARNT,
    timeouts: RouterTimeouts = _USUAL,
    *,
    had_adapters: bool = False,
) -> PoolEntry:
    """What routers need to know of a pool. `timeouts`: of pools that say none. `had_adapters`: so that sidecars unload
    what it names no more."""
    return PoolEntry(
        name=name,
        served_names=spec.model.names(),
        capabilities=tuple(sorted(spec.capabilities)),
        task=spec.model.task,
        inputs=tuple(sorted(spec.model.inputs)),
        context_tokens=spec.model.context_tokens,
        service=f"{names.replicas_service(name)}.{namespace}.svc",
        slots_per_replica=spec.capacity.slots_per_replica,
        learnt=_learnt(spec, capacity),
        high_reserved_percent=spec.capacity.high_reserved_percent,
        max_num_seqs=engines.of(spec.engine.type).batch_limit(spec.engine.args),
        drain_seconds=spec.engine.drain_seconds,
        queue=QueueEntry(
            max_wait_seconds=spec.queue.max_wait_seconds,
            cold_start_wait_seconds=spec.queue.cold_start_wait_seconds,
            max_requests=spec.queue.max_requests,
        ),
        substitute=spec.overflow.substitute,
        cloud=spec.overflow.cloud,
        policy=spec.cloud_fallback_policy_ref.name if spec.cloud_fallback_policy_ref else None,
        timeouts=_timeouts(spec.timeouts, timeouts),
        adapters=_adapters(spec, had=had_adapters),
        engine=msgspec.UNSET if spec.engine.type is engines.DEFAULT else spec.engine.type,
    )


def _adapters(spec: PoolSpec, *, had: bool) -> tuple[AdapterEntry, ...] | msgspec.UnsetType:
    """Those that engines are to have, unless they start with theirs."""
    loads = engines.of(spec.engine.type).loads_adapters(spec.engine.args)
    if not loads or not (spec.model.adapters or had):
        return msgspec.UNSET
    return tuple(AdapterEntry(name=adapter.name, source=adapter.source) for adapter in spec.model.adapters)


def _timeouts(said: PoolTimeouts, usual: RouterTimeouts) -> TimeoutsEntry | msgspec.UnsetType:
    """What the pool says, else what the fleet's operator was told, as far as routers would not do so by themselves."""
    given = {
        item.name: own if (own := getattr(said, f"{item.name}_seconds")) is not None else getattr(usual, item.name)
        for item in fields(RouterTimeouts)
    }
    unusual = {name: value for name, value in given.items() if value != getattr(_USUAL, name)}
    return TimeoutsEntry(**unusual) if unusual else msgspec.UNSET


def _learnt(spec: PoolSpec, capacity: CapacityStatus) -> LearntEntry | None:
    """What was learnt, from the status: so it outlives the operator. An override leaves nothing to tell."""
    bound = next((word for word in CapacityBound if word == capacity.learnt_bound), None)
    if spec.capacity.slots_per_replica is not None or bound is None or not capacity.learnt:
        return None
    return LearntEntry(slots=capacity.learnt, bound=bound, kv_tokens=capacity.kv_tokens)


def policy_entry(name: str, spec: PolicySpec) -> PolicyEntry:
    """What gateways need to know of a policy."""
    targets: dict[str, Any] = {
        field: tuple(TargetEntry(provider=item.provider, model=item.model) for item in spec.targets(tier))
        for tier, field in TARGET_FIELDS.items()
    }
    return PolicyEntry(
        name=name,
        providers=tuple(_provider(provider) for provider in spec.providers),
        full_when=spec.overflow.full_when,
        high=spec.overflow.high,
        normal=spec.overflow.normal,
        low=spec.overflow.low,
        gap=spec.on_capability_gap,
        cloud=spec.cloud,
        **targets,
        budget=_budget(spec.budget),
    )


def _budget(budget: PolicyBudget | None) -> BudgetEntry | msgspec.UnsetType:
    if budget is None:
        return msgspec.UNSET
    return BudgetEntry(enforced=budget.enforcement is Enforcement.ENFORCED, high=budget.reserved_for_high_percent > 0)


def _provider(provider: Provider) -> ProviderEntry:
    timeouts = provider.timeouts
    return ProviderEntry(
        name=provider.name,
        base_url=provider.base_url,
        models=tuple(
            ModelEntry(
                name=model.name,
                task=model.task,
                input_price=model.input_price,
                cached_input_price=model.cached_input_price,
                cache_write_price=model.cache_write_price or msgspec.UNSET,
                output_price=model.output_price,
                price_tiers=_price_tiers(model),
                answer_tokens=model.answer_tokens or msgspec.UNSET,
                context_tokens=model.context_tokens,
                inputs=tuple(sorted(model.inputs)),
                max_tokens_field=model.max_tokens_field,
                drop_fields=tuple(model.drop_fields),
                accept_fields=tuple(model.accept_fields),
                apis=tuple(sorted(model.apis)),
            )
            for model in provider.models
        ),
        has_key=provider.api_key_secret_ref is not None,
        max_concurrent_requests=provider.limits.max_concurrent_requests,
        requests_per_minute=provider.limits.requests_per_minute,
        tokens_per_minute=provider.limits.tokens_per_minute,
        connect_seconds=timeouts.connect_seconds,
        first_token_seconds=timeouts.first_token_seconds,
        between_chunks_seconds=timeouts.between_chunks_seconds,
        total_seconds=timeouts.total_seconds,
        idle_seconds=timeouts.idle_seconds,
        on_disconnect=msgspec.UNSET if provider.on_disconnect is OnDisconnect.STOPS else provider.on_disconnect,
        reach=_reach(provider),
    )


def _price_tiers(model: ProviderModel) -> tuple[PriceEntry, ...] | msgspec.UnsetType:
    rows = tuple(
        PriceEntry(
            service_tier=row.service_tier or "",
            above_tokens=row.above_tokens,
            input_price=row.input_price,
            cached_input_price=row.cached_input_price,
            cache_write_price=row.cache_write_price,
            output_price=row.output_price,
        )
        for row in model.price_tiers
    )
    return rows or msgspec.UNSET


def _reach(provider: Provider) -> ReachEntry | msgspec.UnsetType:
    """How it is reached. Secrets are named nowhere: where their files are follows from the provider's name."""
    header = (provider.api_key_header or USUAL_REACH.key_header).lower()
    usual_prefix = USUAL_REACH.key_prefix if header == USUAL_REACH.key_header else ""
    tls = provider.tls
    entry = ReachEntry(
        key_header=header,
        key_prefix=usual_prefix if provider.api_key_prefix is None else provider.api_key_prefix,
        headers=tuple(HeaderEntry(name=item.name.lower(), value=item.value) for item in provider.headers or ()),
        query=tuple((item.name, item.value) for item in provider.query or ()),
        has_ca=tls is not None and (tls.ca_config_map_ref or tls.ca_secret_ref) is not None,
        has_certificate=tls is not None and tls.client_certificate_secret_ref is not None,
        proxy=provider.proxy or "",
    )
    return msgspec.UNSET if entry == USUAL_REACH else entry
