"""The routing table: what the operator tells gateways and sidecars, through a mounted ConfigMap.

A router takes a table only when `schema` is one it knows, the hash is right and `generation` is higher than the one it
has; it ignores unknown fields and keeps the last good table otherwise. Tables hold names, never addresses, and no
secrets: gateways resolve `PoolEntry.service` themselves. `PoolEntry.addresses` is for running without Kubernetes.
"""

import hashlib
from dataclasses import replace
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from forebay import engines
from forebay.engines import EngineType
from forebay.engines.dialect import EngineDialect
from forebay.resources.options import RouterTimeouts
from forebay.resources.reasons import Capability, CapacityBound
from forebay.resources.terms import (
    USUAL_APIS,
    Api,
    CloudUse,
    FullWhen,
    GapAction,
    MaxTokensField,
    Modality,
    OnDisconnect,
    OverflowTo,
    Permission,
    Task,
    Tier,
)
from forebay.resources.tiers import TARGET_FIELDS

SCHEMA: Final = 1


class TableError(ValueError):
    """A table that must not be used; the message says why."""


class Frozen(Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of the wire types: frozen, camelCase outside, unknown fields ignored."""


class QueueEntry(Frozen, frozen=True):
    """Bounds of one pool's queue in one gateway; seconds."""

    max_wait_seconds: int = 30
    cold_start_wait_seconds: int = 0
    max_requests: int = 512


class TimeoutsEntry(Frozen, frozen=True, omit_defaults=True):
    """How long routers wait for a pool, in seconds; None: as long as the router does by itself."""

    connect: float | None = None
    first_token: float | None = None
    between_chunks: float | None = None
    silence: float | None = None
    total: float | None = None
    idle: float | None = None
    ping: float | None = None

    def over(self, usual: RouterTimeouts) -> RouterTimeouts:
        """These where they are given, else the router's own."""
        given = {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}
        return replace(usual, **given)


class LearntEntry(Frozen, frozen=True):
    """What the operator has learnt about the capacity of a pool's engines."""

    slots: int
    bound: CapacityBound = CapacityBound.MEMORY
    kv_tokens: int = 0  # cache of an engine that runs so many; one with a smaller cache runs fewer


class AdapterEntry(Frozen, frozen=True):
    """One LoRA adapter that engines of a pool are to have; `source` as the engine takes it."""

    name: str
    source: str


class PoolEntry(Frozen, frozen=True):
    """What routers know of one pool."""

    name: str
    served_names: tuple[str, ...]
    capabilities: tuple[Capability, ...] = (Capability.GENERAL,)
    task: Task = Task.GENERATE
    inputs: tuple[Modality, ...] = (Modality.TEXT,)
    context_tokens: int | None = None
    service: str = ""  # headless Service of the replicas, a DNS name
    addresses: tuple[str, ...] = ()  # host:port of sidecars' control ports, instead of `service`
    slots_per_replica: int | None = None  # override of the learnt capacity
    learnt: LearntEntry | None = None
    high_reserved_percent: int = 10
    max_num_seqs: int | None = None  # from engine.args, where they say so
    drain_seconds: int = 300
    queue: QueueEntry = msgspec.field(default_factory=QueueEntry)
    substitute: Permission = Permission.DENIED
    cloud: CloudUse = CloudUse.ALLOWED
    policy: str | None = None  # policy for requests that name this pool; None: the one named default
    timeouts: TimeoutsEntry | UnsetType = UNSET  # not written where nothing is said
    adapters: tuple[AdapterEntry, ...] | UnsetType = UNSET  # not written: sidecars neither load nor unload any
    engine: EngineType | UnsetType = UNSET  # not written for the default one: such a table keeps the hash it had

    def waits(self, usual: RouterTimeouts) -> RouterTimeouts:
        """How long a router that by itself waits as `usual` waits for this pool."""
        return usual if self.timeouts is UNSET else self.timeouts.over(usual)

    @property
    def dialect(self) -> EngineDialect:
        """How the pool's engines are spoken to."""
        return engines.of(engines.DEFAULT if self.engine is UNSET else self.engine)


class PriceEntry(Frozen, frozen=True):
    """Prices of a model's answers of one tier (empty: any), or to prompts of more than so many tokens."""

    service_tier: str = ""
    above_tokens: int = 0
    input_price: str | None = None
    cached_input_price: str | None = None
    cache_write_price: str | None = None
    output_price: str | None = None


class ModelEntry(Frozen, frozen=True):
    """One provider model; prices are decimals in US dollars for a million tokens."""

    name: str
    task: Task = Task.GENERATE
    input_price: str | None = None
    cached_input_price: str | None = None
    cache_write_price: str | UnsetType = UNSET
    output_price: str | None = None
    price_tiers: tuple[PriceEntry, ...] | UnsetType = UNSET
    answer_tokens: int | UnsetType = UNSET  # sent as the limit of a request that has none
    context_tokens: int | None = None
    inputs: tuple[Modality, ...] = (Modality.TEXT,)
    max_tokens_field: MaxTokensField = MaxTokensField.MAX_TOKENS
    drop_fields: tuple[str, ...] = ()
    accept_fields: tuple[str, ...] = ()
    apis: tuple[Api, ...] = USUAL_APIS


class HeaderEntry(Frozen, frozen=True):
    """One header of every request to a provider; None: its value is in the file names.header_file(name)."""

    name: str
    value: str | None = None


class ReachEntry(Frozen, frozen=True):
    """How a provider is reached, where that is not as usual. Files are those of names.provider_file."""

    key_header: str = "authorization"
    key_prefix: str = "Bearer"
    headers: tuple[HeaderEntry, ...] = ()
    query: tuple[tuple[str, str], ...] = ()
    has_ca: bool = False  # names.CA_FILE
    has_certificate: bool = False  # names.CERTIFICATE_FILE and names.PRIVATE_KEY_FILE
    proxy: str = ""  # one of the gateway's own, by name


USUAL_REACH: Final = ReachEntry()


class ProviderEntry(Frozen, frozen=True):
    """One provider; its key is in the file names.provider_key_path(policy, provider) when `has_key`."""

    name: str
    base_url: str
    models: tuple[ModelEntry, ...]
    has_key: bool = False
    max_concurrent_requests: int = 100
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    connect_seconds: int = 2
    first_token_seconds: int = 60
    between_chunks_seconds: int = 30
    total_seconds: int = 600
    idle_seconds: int = 5
    on_disconnect: OnDisconnect | UnsetType = UNSET
    reach: ReachEntry | UnsetType = UNSET  # not written for the usual one: such a table keeps the hash it had

    @property
    def reached(self) -> ReachEntry:
        """How it is reached."""
        return USUAL_REACH if self.reach is UNSET else self.reach


class TargetEntry(Frozen, frozen=True):
    """One provider model of a tier."""

    provider: str
    model: str


class BudgetEntry(Frozen, frozen=True):
    """That a policy's requests are paid from a budget; what there is of it stands in ledgers (money_ledger.py)."""

    enforced: bool = True
    high: bool = False  # a part is reserved for High


class PolicyEntry(Frozen, frozen=True):
    """One CloudFallbackPolicy."""

    name: str
    providers: tuple[ProviderEntry, ...]
    primary: tuple[TargetEntry, ...] = ()
    secondary: tuple[TargetEntry, ...] = ()
    full_when: FullWhen = FullWhen.ALL_POOLS_FULL
    high: OverflowTo = OverflowTo.PRIMARY
    normal: OverflowTo = OverflowTo.SECONDARY
    low: OverflowTo = OverflowTo.QUEUE
    gap: GapAction = GapAction.CLOUD  # spec.onCapabilityGap, under the name that routers of the first release know
    cloud: CloudUse = CloudUse.ALLOWED
    budget: BudgetEntry | UnsetType = UNSET

    def targets(self, tier: Tier) -> tuple[TargetEntry, ...]:
        """A tier's provider models, in order."""
        found: tuple[TargetEntry, ...] = getattr(self, TARGET_FIELDS[tier])
        return found


class RoutingTable(Frozen, frozen=True):
    """The whole table for gateways, or one pool's part (one pool, no policies) for its sidecars."""

    schema: int = SCHEMA
    generation: Annotated[int, Meta(ge=0)] = 0
    hash: str = ""
    fleet: str = ""
    gateways: str = ""  # headless Service of the gateways, for what a sidecar hands on; a DNS name
    gateway_addresses: tuple[str, ...] = ()  # host:port of gateways' control ports, instead of `gateways`
    operator: str = ""  # the operator's Service, which gateways ask to wake a pool; a DNS name
    operator_addresses: tuple[str, ...] = ()  # host:port of the operator's own port, instead of `operator`
    pools: tuple[PoolEntry, ...] = ()
    policies: tuple[PolicyEntry, ...] = ()


_encoder = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder(RoutingTable)


def content_hash(table: RoutingTable) -> str:
    """Hash of everything but generation and hash: two tables with the same one route alike."""
    return _hash(_encoder.encode(table))


def encode(table: RoutingTable) -> str:
    """The table as it is written, with its hash filled in."""
    return _encoder.encode(msgspec.structs.replace(table, hash=content_hash(table))).decode()


def decode(text: bytes | str) -> RoutingTable:
    """Read a table; one written by hand may leave `hash` out. Raises TableError for one that must not be used."""
    try:
        table = _decoder.decode(text)
        actual = _hash(text)
    except ValueError as error:
        raise TableError(f"the routing table does not parse: {error}") from error
    if table.schema != SCHEMA:
        raise TableError(f"the routing table has schema {table.schema}, this router reads {SCHEMA}")
    if table.hash not in ("", actual):
        raise TableError(f"the routing table is damaged: its hash is {actual}, it says {table.hash}")
    if len({pool.name for pool in table.pools}) != len(table.pools):
        raise TableError("the routing table names a pool twice")
    return table if table.hash else msgspec.structs.replace(table, hash=actual)


def _hash(text: bytes | str) -> str:
    """Over the JSON as written, so that fields this version does not know count as well."""
    raw = msgspec.json.decode(text, type=dict[str, object])
    bare = {key: value for key, value in raw.items() if key not in ("generation", "hash")}
    return hashlib.sha256(_encoder.encode(bare)).hexdigest()[:16]
