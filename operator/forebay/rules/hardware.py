"""What is known of GPUs and models before any engine has said a word: room for the KV cache, and time per token.

A step reads all weights and everything in the KV cache once, so it takes bytes over bandwidth; besides, a constant, a
little for each request, and for each layer where several GPUs agree. KV bytes of a token = 2 x layers x kv heads
x head dim x bytes: grouped attention makes a ninth of them, between two models of 7B.

`MEASURED` is fitted to 488 measurements of vLLM on A100 and H100 (LLM-Inference-Bench of Argonne National
Laboratory, seven models of 7B to 72B on 1, 2 and 4 GPUs); half of these they meet within 5 %, nine in ten within 11 %.
`make bench-calibrate` fits them anew and says how far off they are elsewhere.
"""

from dataclasses import dataclass
from math import inf
from typing import Final

from forebay.rules.curve import Curve

BYTES: Final = 2  # of a weight, and of a number in the cache: bfloat16
MEMORY_SHARE: Final = 0.92  # what vLLM uses by itself; before 0.20 it was 0.9
OVERHEAD_BYTES: Final = (
    1.24e9  # of each GPU, for activations and CUDA graphs: what vLLM 0.19 kept on an RTX 4090 at 0.9
)


@dataclass(frozen=True, slots=True)
class HardwareShares:
    """What an engine gets out of its hardware, and seconds that no data sheet has."""

    bandwidth: float  # of the data sheet's
    compute: float
    step: float  # seconds of any step
    request: float  # seconds that each running request adds to it
    layer: float  # seconds that each layer adds where several GPUs have to agree


MEASURED: Final = HardwareShares(bandwidth=0.81, compute=0.44, step=1.8e-3, request=78e-6, layer=65e-6)


@dataclass(frozen=True, slots=True)
class Gpu:
    """Bytes of memory, bytes a second of bandwidth, dense bfloat16 operations a second."""

    memory: float
    bandwidth: float
    operations: float


@dataclass(frozen=True, slots=True)
class ModelShape:
    """`active`: parameters that each token uses, fewer in a mixture of experts."""

    parameters: float
    layers: int
    kv_heads: int
    head_dim: int
    active: float = 0.0

    @property
    def kv_bytes(self) -> int:
        """Bytes of one token in the cache."""
        return 2 * self.layers * self.kv_heads * self.head_dim * BYTES


# Bandwidth and operations from the vendors' data sheets, memory as the driver reports it, read 2026-11. Names as in the
# label nvidia.com/gpu.product, lower case, the longest match wins.
GPUS: Final = {
    "a100-sxm4-40gb": Gpu(42.4e9, 1.555e12, 312e12),
    "a100-pcie-40gb": Gpu(42.4e9, 1.555e12, 312e12),
    "a100-sxm4-80gb": Gpu(85.1e9, 2.039e12, 312e12),
    "a100-80gb": Gpu(85.1e9, 2.039e12, 312e12),
    "nvidia-tesla-a100": Gpu(42.4e9, 1.555e12, 312e12),
    "a10g": Gpu(24.1e9, 0.600e12, 70e12),
    "h100": Gpu(85.0e9, 3.35e12, 989e12),
    "h200": Gpu(150.7e9, 4.8e12, 989e12),
    "l4": Gpu(24.1e9, 0.300e12, 121e12),
    "l40s": Gpu(48.3e9, 0.864e12, 362e12),
    "rtx-4090": Gpu(25.25e9, 1.008e12, 165e12),
    "rtx-pro-6000": Gpu(102.6e9, 1.792e12, 500e12),
}

# The models' own config.json, read 2026-11. Names without owner, lower case, longest match first.
MODELS: Final = {
    "llama-2-7b": ModelShape(6.74e9, 32, 32, 128),
    "llama-2-13b": ModelShape(13.02e9, 40, 40, 128),
    "llama-2-70b": ModelShape(68.98e9, 80, 8, 128),
    "llama-3-8b": ModelShape(8.03e9, 32, 8, 128),
    "llama-3-70b": ModelShape(70.55e9, 80, 8, 128),
    "llama-3.1-8b": ModelShape(8.03e9, 32, 8, 128),
    "llama-3.1-70b": ModelShape(70.55e9, 80, 8, 128),
    "llama-3.2-1b": ModelShape(1.24e9, 16, 8, 64),
    "llama-3.2-3b": ModelShape(3.21e9, 28, 8, 128),
    "llama-3.3-70b": ModelShape(70.55e9, 80, 8, 128),
    "mistral-7b": ModelShape(7.24e9, 32, 8, 128),
    "qwen2-7b": ModelShape(7.62e9, 28, 4, 128),
    "qwen2-72b": ModelShape(72.7e9, 80, 8, 128),
    "qwen2.5-0.5b": ModelShape(0.49e9, 24, 2, 64),
    "qwen2.5-1.5b": ModelShape(1.54e9, 28, 2, 128),
    "qwen2.5-3b": ModelShape(3.09e9, 36, 2, 128),
    "qwen2.5-7b": ModelShape(7.62e9, 28, 4, 128),
    "qwen2.5-14b": ModelShape(14.77e9, 48, 8, 128),
    "qwen2.5-32b": ModelShape(32.76e9, 64, 8, 128),
    "qwen2.5-72b": ModelShape(72.7e9, 80, 8, 128),
    "qwen3-8b": ModelShape(8.19e9, 36, 8, 128),
    "qwen3-14b": ModelShape(14.77e9, 40, 8, 128),
    "qwen3-32b": ModelShape(32.76e9, 64, 8, 128),
    "qwen3-30b-a3b": ModelShape(30.53e9, 48, 4, 128, active=3.35e9),
}


@dataclass(frozen=True, slots=True)
class EngineEstimate:
    """One model on `count` GPUs of a kind, 16 bits everywhere."""

    gpu: Gpu
    model: ModelShape
    count: int = 1
    shares: HardwareShares = MEASURED
    memory_share: float = MEMORY_SHARE

    @property
    def kv_tokens(self) -> int:
        """Tokens that its cache holds; 0 where not even the weights fit."""
        each = self.memory_share * self.gpu.memory - OVERHEAD_BYTES
        return max(0, int((self.count * each - BYTES * self.model.parameters) / self.model.kv_bytes))

    @property
    def base_seconds(self) -> float:
        """A step without requests, so to speak: all weights are read. Of a mixture of experts, nearly all are asked."""
        agreeing = self.shares.layer * self.model.layers if self.count > 1 else 0.0
        return self.shares.step + agreeing + BYTES * self.model.parameters / self._bandwidth

    @property
    def kv_token_seconds(self) -> float:
        """What each token in the cache adds to a step."""
        return self.model.kv_bytes / self._bandwidth

    @property
    def prompt_tokens_per_second(self) -> float:
        """How fast prompts are computed."""
        active = self.model.active or self.model.parameters
        return self.count * self.shares.compute * self.gpu.operations / (2 * active)

    @property
    def _bandwidth(self) -> float:
        return self.count * self.shares.bandwidth * self.gpu.bandwidth

    def curve(self, held_tokens: float) -> Curve:
        """Time per token where a request holds so many tokens on average, prompts of others left out."""
        return Curve(
            base=self.base_seconds,
            per_request=self.shares.request,
            per_fill=self.kv_token_seconds * self.kv_tokens,
            fill_per_request=held_tokens / max(1, self.kv_tokens),
            most=inf,
            windows=0,
            error=0.12,
        )

    def slots(self, live_tokens: int, wished: float | None = None) -> int:
        """Requests at a time: by memory with `live_tokens` each, and by the time per token (seconds; None: default)."""
        latency = self.curve(live_tokens).most_within(wished)
        memory = self.kv_tokens // max(1, live_tokens)
        return max(1, memory if latency is None else min(memory, latency))


def engine(gpu: str, model: str, count: int = 1, memory_share: float = MEMORY_SHARE) -> EngineEstimate | None:
    """An engine by the names of GPU and model, and the part of the GPU's memory that it uses; None where
    one of the names is not in the table, or the model does not fit."""
    gpu_found = _longest(GPUS, gpu.lower().replace(" ", "-"))
    model_found = _longest(MODELS, model.lower().rpartition("/")[2])
    if gpu_found is None or model_found is None:
        return None
    found = EngineEstimate(GPUS[gpu_found], MODELS[model_found], max(1, count), memory_share=memory_share)
    return found if found.kv_tokens else None


def slots_of(
    gpu: str,
    model: str,
    count: int,
    live_tokens: int,
    wished: float | None = None,
    memory_share: float = MEMORY_SHARE,
) -> int | None:
    """Slots of one replica by the table; None where it does not say."""
    found = engine(gpu, model, count, memory_share)
    return None if found is None else found.slots(live_tokens, wished)


def _longest(table: dict[str, Gpu] | dict[str, ModelShape], name: str) -> str | None:
    """The longest name of the table that the given one contains. Quantised models have other bytes: none."""
    if any(word in name for word in ("awq", "gptq", "int4", "int8", "fp8", "gguf", "mig")):
        return None
    return max((key for key in table if f"-{key}-" in f"-{name}-"), key=len, default=None)
