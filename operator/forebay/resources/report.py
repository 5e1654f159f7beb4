"""What routers say of themselves: to the operator (reports) and to gateways (slot reports)."""

import hashlib
from decimal import Decimal

import msgspec

from forebay.resources.money_ledger import AccountReport
from forebay.resources.reasons import Reason
from forebay.resources.table import Frozen
from forebay.resources.usage import UsageRow
from forebay.word_enum import WordEnum


class ReplicaState(WordEnum):
    """What a sidecar says of its replica."""

    STARTING = "Starting"  # the engine does not answer yet
    SERVING = "Serving"
    DRAINING = "Draining"


class SlotReport(Frozen, frozen=True, tag="slots", tag_field="is"):
    """Sidecar to gateway: at once when it matters to those who wait or may come, within 20 ms otherwise, and as a
    heartbeat."""

    pool: str
    replica: str  # pod name
    state: ReplicaState
    slots: int  # C
    running: int
    free: int  # slots a Normal or Low request may take; those held for offers left out
    free_high: int  # slots a High request may take
    ahead: int = 0  # prompt tokens that wait for their first token here
    placed: tuple[tuple[int, int], ...] = ()  # sessions (digest, prompt tokens) that came into the cache lately
    moving: bool = False  # the engine's token counters rise: an answer that is silent may be under way
    names: tuple[str, ...] = ()  # of models and adapters that the engine lists; none: it has not said so
    context: int = 0  # tokens of the longest request that the engine takes, as it says; 0: it does not


class SlotOffer(Frozen, frozen=True, tag="offer", tag_field="is"):
    """Sidecar to gateway: a slot for one of its waiters; only for High where `high_only`.

    A gateway declines when its first waiter comes after (`rival_rank`, `rival_ms` left), the first one elsewhere.
    """

    id: int
    high_only: bool = False
    rival_rank: int | None = None
    rival_ms: float = 0.0


class WaitingWord(Frozen, frozen=True, tag="waiting", tag_field="is"):
    """Gateway to sidecar: who waits for its pool, by rank (High; Normal and aged Low; Low)."""

    counts: tuple[int, int, int]
    deadlines_ms: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]  # time left of the first few


class OfferAnswer(Frozen, frozen=True, tag="answer", tag_field="is"):
    """Gateway to sidecar: `taken`, a request is on its way; else nobody needs it, or it has gone away.

    `spent`: some wait, but may not use this replica, so that asking again at once is idle.
    """

    id: int
    taken: bool
    spent: bool = False


class LengthReport(Frozen, frozen=True):
    """One of the engine's histograms of lengths. `totals`: requests of at most so many tokens, by bound, ascending."""

    totals: tuple[tuple[int, int], ...] = ()
    tokens: int = 0  # of all requests together


class EngineReport(Frozen, frozen=True):
    """The engine's own gauges as the sidecar last read them, and totals since the engine began."""

    age_seconds: float
    running: int = 0
    waiting: int = 0
    kv_usage: float = 0.0  # 0..1
    kv_tokens: int | None = None
    preemptions_total: int = 0
    prompt_tokens_total: int = 0  # since the engine began
    generation_tokens_total: int = 0
    read_at: float = 0.0  # Unix seconds of that reading
    tokens_total: int = 0  # tokens after the first one of each request
    token_seconds_total: float = 0.0  # time that their requests waited for them; 0: the engine does not measure it
    prompts: LengthReport = LengthReport()  # of finished requests
    answers: LengthReport = LengthReport()
    stuck_seconds: float = 0.0  # it answers, has work, and makes no token; 0: it does


class AdapterReport(Frozen, frozen=True):
    """One LoRA adapter that the engine is to have. `problem`: why it does not, in the engine's words; empty while it is
    not tried yet."""

    name: str
    source: str
    loaded: bool = False
    problem: str = ""


class SidecarReport(Frozen, frozen=True, tag="sidecar", tag_field="role"):
    """A sidecar's answer to the operator. Totals count since the process began."""

    pool: str
    replica: str
    version: str
    started: float  # Unix seconds; a new value means totals began again
    generation: int
    hash: str
    state: ReplicaState
    slots: int
    running: int
    capacity: int = 0  # slots without what back-pressure takes away for a minute; 0 from an older router
    admitted_total: int = 0
    finished_total: int = 0
    refused_total: int = 0
    service_seconds_total: float = 0.0  # of finished requests
    last_request: float = 0.0  # Unix seconds of the last inference request
    table_error: str = ""
    engine: EngineReport | None = None
    adapters: tuple[AdapterReport, ...] = ()  # that the table asks of it
    engine_version: str | None = None  # that it last said; empty: it does not say one; None: it was not asked yet
    usage: tuple[UsageRow, ...] = ()  # of requests that came through the pool's own Service
    tokens: tuple[str, ...] = ()  # digests of the control tokens that it accepts, the one it sends first


class PoolDemand(Frozen, frozen=True):
    """What one gateway saw of one pool. Each request is counted once, at the pool the rule would have chosen."""

    pool: str
    queued: int = 0
    requests_total: int = 0
    overflow_running: int = 0  # at a provider now, for lack of a slot
    overflowed_total: int = 0
    rejected_total: int = 0  # refused for lack of a slot or a place
    expired_total: int = 0  # waited in vain, and then refused
    overflow_by_reason: dict[Reason, int] = {}
    overflow_cost_total: Decimal = Decimal(0)  # US dollars of those that overflowed, where prices are known
    last_request: float = 0.0
    # What its replicas have told this gateway: while that is what they told the operator, it need not ask them again.
    serving: int = 0
    slots: int = 0
    running: int = 0


class GatewayReport(Frozen, frozen=True, tag="gateway", tag_field="role"):
    """A gateway's answer to the operator."""

    replica: str
    version: str
    started: float
    generation: int
    hash: str
    ready: bool
    pools: tuple[PoolDemand, ...] = ()
    missing_keys: tuple[str, ...] = ()  # policy/provider whose key file is absent or empty
    provider_problems: tuple[str, ...] = ()  # policy/provider and why nothing can be sent to its address
    table_error: str = ""
    usage: tuple[UsageRow, ...] = ()
    tokens: tuple[str, ...] = ()  # digests of the control tokens that it accepts, the one it sends first
    account: str = ""  # the name of its accounts of budgets: that of its journal; empty: it has no ledgers to read
    budgets: tuple[AccountReport, ...] = ()


Report = SidecarReport | GatewayReport


def token_digest(token: bytes) -> str:
    """By which a router says that it has a token: eight digits of a hash of 256 random bits give nothing away."""
    return hashlib.sha256(token).hexdigest()[:8]


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Report).decode
decode_from_sidecar = msgspec.json.Decoder(SlotReport | SlotOffer).decode
decode_from_gateway = msgspec.json.Decoder(WaitingWord | OfferAnswer).decode
