"""What forebay has to know of an engine: how it is started, how it is watched, what its answers mean."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from forebay.engines.flag import Flag
from forebay.engines.version import Versions


@dataclass(frozen=True, slots=True)
class Launch:
    """What one engine is to be started with, in forebay's own words."""

    source: str
    """Repository or path of the weights."""
    port: int
    """Where it listens, on loopback."""
    served_names: tuple[str, ...] = ()
    """Names of the model, the first one its own; none: its source."""
    revision: str = ""
    gpus: int = 1
    context_tokens: int | None = None
    adapters: tuple[tuple[str, str], ...] = ()
    """Name and source of each LoRA adapter. An engine that loads them as it runs is told of these later."""
    adapter_rank: int = 0
    """The largest rank among them; 0 where none is told."""
    image: str = ""
    """Container image that it is started from."""
    stop_seconds: int = 0
    """How long it may go on with what runs after it is told to end."""
    args: tuple[str, ...] = ()
    """The user's own arguments, which win."""

    def says(self, flag: Flag) -> bool:
        """Whether the user's own arguments hold this flag."""
        return flag.said(self.args)


@dataclass(frozen=True, slots=True)
class AdapterRoutes:
    """How an engine that runs is told to load and unload LoRA adapters: JSON with `lora_name` and `lora_path`."""

    load: str
    unload: str
    variable: str
    """Environment variable without which it has neither path."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Arguments that a pool must not hand to its engine, by how they begin, and what a person is told."""

    beginnings: tuple[str, ...]
    message: str


@dataclass(frozen=True, slots=True)
class MetricNames:
    """An engine's names for what forebay takes from its metrics. Counters are whole, histograms without a suffix."""

    family: str
    """What all of its own begin with, and no one else's do."""
    running: str
    waiting: str
    kv_usage: str
    """Share of the KV cache in use, 0 to 1: the only one that is not summed over data-parallel ranks."""
    preemptions: str
    prompt_tokens: str
    generation_tokens: str
    prefix_queries: str
    """Tokens looked for in the prefix cache, and `prefix_hits` those found."""
    prefix_hits: str
    first_tokens: str
    """Histogram with one entry for each sequence that got its first token."""
    between_tokens: tuple[str, ...]
    """Histogram of the seconds between two steps of a request; an engine's newest name for it comes first. A step makes
    several tokens where the engine speculates."""
    per_token: str
    """Histogram by request: mean seconds for each token after the first."""
    prompts: str
    """Histogram of the prompts' lengths in tokens, and `answers` that of the answers'."""
    answers: str
    model_label: str
    """The label that holds the model's name."""


@dataclass(frozen=True, slots=True)
class EngineDialect:
    """One type of engine. All of them speak OpenAI's API, whose paths are no fact of an engine."""

    supported: Versions
    """The versions that forebay was tried with."""

    # Started by the operator.
    command: tuple[str, ...]
    arguments: Callable[[Launch], list[str]]
    context_flag: Flag
    """Argument for the longest context in tokens."""
    batch_flag: Flag
    """Argument for the most requests in one batch of one data-parallel rank."""
    usual_batch: int
    """What it takes for `batch_flag` by itself."""
    ranks: Callable[[Sequence[str]], int]
    """Data-parallel ranks in one pod, by the user's arguments: each has batches and a cache of its own."""
    memory_share: Callable[[Sequence[str], str], float]
    """The part of each GPU's memory that it uses, by the user's arguments and its image."""
    adapter_room: Callable[[Launch], int]
    """The largest rank of a LoRA adapter that an engine started so can load as it runs; 0 where it can load none."""
    loads_adapters: Callable[[Sequence[str]], bool]
    """Whether engines with the user's arguments load and unload adapters as they run; else they start with theirs."""
    refused: tuple[Refused, ...]
    cache_variable: str
    """Environment variable that names the folder of the weights."""
    compiled_variable: str
    """Environment variable that names the folder of what it compiles at its first start."""
    token_variable: str
    """Environment variable that holds the token for gated models."""
    start_seconds: float
    """What a start is taken for until one was seen."""

    # Watched by its sidecar.
    ready_path: str
    """Answers 200 once it serves, with the names that it serves and its longest context."""
    adapter_routes: AdapterRoutes
    version_path: str
    """Answers with a JSON object whose `version` is the engine's own."""
    metrics_path: str
    metrics: MetricNames
    cache_tokens: Callable[[str], int | None]
    """Tokens that fit its KV cache, by the text of its metrics; None where that does not say."""

    # What its answers mean.
    back_pressure: frozenset[int]
    """Statuses of an engine that is alive and has too much to do."""
    too_long: bytes
    """Words of its usual refusal of a request that is longer than its context; they count beside the request's size."""
    error_start: bytes
    """Pattern of how its error object begins, after the brace: in a 200 or a stream it is no answer. Holds "error"."""
    provider: str
    """Its name in OpenTelemetry's `gen_ai_provider_name`."""

    simulated: bool = False
    """Runs no model: it is in forebay's own image, needs neither weights nor GPUs, and no table knows its speed."""

    def context_limit(self, args: Sequence[str]) -> int | None:
        """The longest context, where the user's arguments say so."""
        return self.context_flag.number(args)

    def batch_limit(self, args: Sequence[str]) -> int | None:
        """The most requests that run at a time, all ranks together, where the user's arguments say so."""
        most = self.batch_flag.number(args)
        return None if most is None else most * self.ranks(args)
