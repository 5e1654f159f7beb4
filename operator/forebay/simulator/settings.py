"""What a simulated engine is started with: vLLM's own flags, and FOREBAY_SIM_* for what only a simulator has."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from forebay.resources.terms import Task
from forebay.simulator.api import VERSION
from forebay.simulator.batch import BatchLimits, ServiceTime

GENERATES, POOLS = frozenset({Task.GENERATE, Task.TRANSCRIBE}), frozenset({Task.EMBED, Task.SCORE})
"""What an engine does with its model, by `--runner`."""
USUAL_LIMITS, USUAL_TIMES = BatchLimits(), ServiceTime()


@dataclass(slots=True)
class Faults:
    """Switches that can be set at run time (POST /sim/faults). Rates are 0..1."""

    slow: float = 1.0
    stall: bool = False  # streams stop and stay open
    cut: bool = False  # the connection breaks after the first tokens
    dead_gpu: bool = False  # healthy by /health, but never a token
    die: bool = False  # exit at once
    core_dies: bool = False  # what runs ends with an error, as when EngineCore dies; then exit
    full_in_200: bool = False  # streams are refused after their head
    error_rate: float = 0.0  # share of requests answered 500
    reject_429: bool = False
    error_5xx: bool = False
    no_adapters: bool = False  # none can be loaded: their files are not there
    slow_adapters: float = 0.0  # seconds that one takes to load


@dataclass(frozen=True, slots=True)
class Settings:
    """One simulated engine or provider."""

    role: str = "engine"
    host: str = "127.0.0.1"
    port: int = 8000
    uds: str = ""
    models: tuple[str, ...] = ("simulated",)
    adapters: Mapping[str, str] = field(default_factory=dict)  # LoRA modules, name and path, that it starts with
    lora: bool = True  # --enable-lora
    loads_adapters: bool = False  # VLLM_ALLOW_RUNTIME_LORA_UPDATING
    tasks: frozenset[Task] = GENERATES
    media: bool = False  # it takes images and sounds beside texts
    tools: bool = False  # a parser of tool calls was named
    keeps_responses: bool = False  # VLLM_ENABLE_RESPONSES_API_STORE
    max_model_len: int = 16_384
    limits: BatchLimits = field(default_factory=BatchLimits)
    times: ServiceTime = field(default_factory=ServiceTime)
    prefix_caching: bool = True
    startup_seconds: float = 0.0
    shutdown_timeout: float = 0.0
    seed: int = 0
    api_key: str = ""
    limit_concurrent: int | None = None
    limit_rpm: int | None = None
    version: str = VERSION  # what it says that it is
    faults: Faults = field(default_factory=Faults)


def read(argv: Sequence[str], env: Mapping[str, str] = os.environ) -> Settings:
    """Settings from arguments and environment. Flags of vLLM that mean nothing here are named once and ignored."""
    parser = argparse.ArgumentParser(prog="forebay-simulator", allow_abbrev=False)
    parser.add_argument("positional", nargs="*", help="as in `vllm serve MODEL`")
    parser.add_argument("--role", choices=("engine", "cloud"), default="engine")
    parser.add_argument("--model", default="")
    parser.add_argument("--served-model-name", nargs="+", default=[])
    parser.add_argument("--enable-lora", action="store_true")
    parser.add_argument("--max-loras", type=int, default=USUAL_LIMITS.max_adapters)
    parser.add_argument("--lora-modules", nargs="+", default=[], help="NAME=PATH, as in vLLM")
    parser.add_argument("--runner", choices=("auto", "generate", "pooling"), default="auto", help="auto: generate")
    parser.add_argument("--convert", help="of no meaning: what pools embeds and scores")
    parser.add_argument("--enable-auto-tool-choice", action="store_true")
    parser.add_argument("--tool-call-parser", default="", help="any: calls are made up")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="0: a free one")
    parser.add_argument("--uds", default="", help="listen on a Unix socket instead")
    parser.add_argument("--max-model-len", type=int)
    parser.add_argument("--max-num-seqs", type=int, default=USUAL_LIMITS.max_num_seqs)
    parser.add_argument("--max-num-queued-reqs", type=int)
    parser.add_argument("--max-num-batched-tokens", type=int, default=USUAL_LIMITS.max_batched_tokens)
    parser.add_argument("--enable-prefix-caching", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--shutdown-timeout", type=float, default=0.0)
    chosen, ignored = parser.parse_known_args(argv)
    if ignored:
        print(f"forebay-simulator: ignored, no meaning here: {' '.join(ignored)}", file=sys.stderr)
    sim = _Environment(env)
    words = [word for word in chosen.positional if word != "serve"]
    model = chosen.model or (words[0] if words else "simulated")
    cloud = chosen.role == "cloud"
    return Settings(
        role=chosen.role,
        host=chosen.host,
        port=chosen.port,
        uds=chosen.uds,
        models=tuple(chosen.served_model_name or [model]),
        adapters={name: path for name, _, path in (module.partition("=") for module in chosen.lora_modules)},
        lora=chosen.enable_lora,
        loads_adapters=env.get("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "0").strip().lower() in ("1", "true"),
        tasks=GENERATES | POOLS if cloud else POOLS if chosen.runner == "pooling" else GENERATES,
        media=cloud or sim.integer("MEDIA", 0) > 0,
        tools=cloud or bool(chosen.enable_auto_tool_choice and chosen.tool_call_parser),
        keeps_responses=cloud or env.get("VLLM_ENABLE_RESPONSES_API_STORE", "0") not in ("", "0"),
        max_model_len=chosen.max_model_len or (1_000_000 if cloud else 16_384),
        limits=BatchLimits(
            max_num_seqs=10_000 if cloud else chosen.max_num_seqs,
            kv_tokens=sim.integer("KV_TOKENS", 100_000_000 if cloud else USUAL_LIMITS.kv_tokens),
            max_in_flight=chosen.max_num_queued_reqs,
            max_batched_tokens=chosen.max_num_batched_tokens,
            max_adapters=chosen.max_loras,
        ),
        times=ServiceTime(
            base=sim.number("STEP_BASE_MS", 1e3 * USUAL_TIMES.base) / 1e3,
            per_running=0.0 if cloud else sim.number("STEP_PER_SEQ_MS", 1e3 * USUAL_TIMES.per_running) / 1e3,
            per_kv_token=0.0 if cloud else sim.number("STEP_PER_KV_TOKEN_US", 1e6 * USUAL_TIMES.per_kv_token) / 1e6,
            prefill_tokens_per_second=sim.number(
                "PREFILL_TOKENS_PER_SECOND", 1e6 if cloud else USUAL_TIMES.prefill_tokens_per_second
            ),
        ),
        prefix_caching=chosen.enable_prefix_caching,
        startup_seconds=sim.number("STARTUP_SECONDS", 0.0),
        shutdown_timeout=chosen.shutdown_timeout,
        seed=sim.integer("SEED", 0),
        api_key=env.get("FOREBAY_SIM_API_KEY", ""),
        limit_concurrent=sim.integer("LIMIT_CONCURRENT", 0) or None,
        limit_rpm=sim.integer("LIMIT_RPM", 0) or None,
        version=env.get("FOREBAY_SIM_VERSION", VERSION),
        faults=Faults(slow=sim.number("SLOW", 1.0), dead_gpu=sim.integer("DEAD_GPU", 0) > 0),
    )


class _Environment:
    def __init__(self, env: Mapping[str, str]) -> None:
        self.env = env

    def number(self, name: str, default: float) -> float:
        text = self.env.get(f"FOREBAY_SIM_{name}", "")
        try:
            return float(text) if text else default
        except ValueError:
            raise SystemExit(f"forebay-simulator: FOREBAY_SIM_{name} must be a number, not {text!r}") from None

    def integer(self, name: str, default: int) -> int:
        return int(self.number(name, default))
