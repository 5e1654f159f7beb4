"""vLLM: `vllm serve`, its metrics and its errors."""

import re
from collections.abc import Sequence
from typing import Final

from forebay.engines.dialect import AdapterRoutes, EngineDialect, Launch, MetricNames, Refused
from forebay.engines.flag import Flag
from forebay.engines.version import Versions

_CACHE = re.compile(r"^vllm:cache_config_info\{(.*)\}", re.MULTILINE)
_NUMBERS = re.compile(r'\b(kv_cache_size_tokens|num_gpu_blocks|block_size)="(\d+)"')
_TENSOR = Flag("--tensor-parallel-size", "-tp", "--tensor")
_PIPELINE = Flag("--pipeline-parallel-size", "-pp", "--pipeline")
_PROMPT_PARTS = Flag("--prefill-context-parallel-size", "-pcp", "--prefill-context")
_RANKS = Flag("--data-parallel-size", "-dp")
_RANKS_HERE = Flag("--data-parallel-size-local", "-dpl", "--data-parallel-size-")
_RANK = Flag("--data-parallel-rank", "-dpn")
_ADAPTERS = Flag("--max-loras")
_API_SERVERS = Flag("--api-server-count", "-asc", "--api-s")
_OWN_ADAPTERS = Flag("--lora-modules", least="--lora-m")
_ADAPTERS_ON_CPU = Flag("--max-cpu-loras", least="--max-cpu-l")
_ADAPTER_RANK = Flag("--max-lora-rank", least="--max-lora-")
_ADAPTER_RANKS: Final = (8, 16, 32, 64, 128, 256, 320, 512)  # those that it takes
_USUAL_ADAPTER_RANK: Final = 16
_MOST_ADAPTERS: Final = 32
"""As many as a pool may name: kept in the memory of the host, none is read again because others came."""
_MEMORY = Flag("--gpu-memory-utilization", least="--gpu-memory-u")
_MEMORY_SHARE: Final = 0.92
_EARLIER_MEMORY_SHARE: Final = 0.9
_TAKES_MORE_MEMORY: Final = (0, 20)
_STOP = Flag("--shutdown-timeout", least="--shu")
_STOPS_SOFTLY: Final = (0, 18)  # the first version that has the flag; others do not start with it
_UNKNOWN: Final = (0, 0)
_IMAGE = re.compile(r"(?:^|/)vllm-openai[\w.-]*:v?(\d+)\.(\d+)[\w.-]*(?:@|$)")


def arguments(launch: Launch) -> list[str]:
    """Arguments of `vllm serve`."""
    args = [launch.source, "--host=127.0.0.1", f"--port={launch.port}"]
    if launch.served_names:
        args += ["--served-model-name", *launch.served_names]
    if launch.revision:
        args.append(f"--revision={launch.revision}")
    tensor = launch.gpus // (ranks(launch.args) * _stages(launch.args))  # the rest of GPUs = TP x PP x DP
    if tensor > 1 and not launch.says(_TENSOR):
        args.append(f"{_TENSOR}={tensor}")
    if launch.context_tokens and not launch.says(VLLM.context_flag):
        args.append(f"{VLLM.context_flag}={launch.context_tokens}")
    if launch.adapters:
        args += ["--enable-lora", *_room_for_adapters(launch)]
        if not loads_adapters(launch.args):
            args += ["--lora-modules", *(f"{name}={source}" for name, source in launch.adapters)]
    if launch.stop_seconds and (version(launch.image) or _UNKNOWN) >= _STOPS_SOFTLY and not launch.says(_STOP):
        args.append(f"{_STOP}={launch.stop_seconds}")
    return [*args, *launch.args]


def _room_for_adapters(launch: Launch) -> list[str]:
    """All adapters in one batch: by itself it takes one at a time, and lets the requests to the others wait. Those that
    come later take turns: each place takes memory of the GPU from the start, and one on the host only when it is used.
    """
    args = []
    together = min(len(launch.adapters), _ADAPTERS_ON_CPU.number(launch.args) or len(launch.adapters))
    if together > 1 and not launch.says(_ADAPTERS):
        args.append(f"{_ADAPTERS}={together}")
    if loads_adapters(launch.args) and not launch.says(_ADAPTERS_ON_CPU):
        args.append(f"{_ADAPTERS_ON_CPU}={max(_MOST_ADAPTERS, _ADAPTERS.number(launch.args) or 0)}")
    if _rank(launch) > _USUAL_ADAPTER_RANK and not launch.says(_ADAPTER_RANK):
        args.append(f"{_ADAPTER_RANK}={_rank(launch)}")
    return args


def loads_adapters(args: Sequence[str]) -> bool:
    """Not where the user names them, nor with several API servers, of which each has a list of its own: an engine of
    that kind does not start at all where adapters may be loaded as it runs."""
    servers = _API_SERVERS.number(args)
    return not _OWN_ADAPTERS.said(args) and (ranks(args) if servers is None else servers) == 1


def adapter_room(launch: Launch) -> int:
    """The largest rank that it takes, where it loads adapters at all."""
    return _ADAPTER_RANK.number(launch.args) or _rank(launch) if launch.adapters and loads_adapters(launch.args) else 0


def _rank(launch: Launch) -> int:
    """The least --max-lora-rank that all adapters fit."""
    least = max(launch.adapter_rank, _USUAL_ADAPTER_RANK)
    return next((size for size in _ADAPTER_RANKS if size >= least), _ADAPTER_RANKS[-1])


def version(image: str) -> tuple[int, int] | None:
    """Major and minor version, where a tag of vLLM's own image says so; mirrors keep its name."""
    found = _IMAGE.search(image)
    return (int(found[1]), int(found[2])) if found is not None else None


def memory_share(args: Sequence[str], image: str) -> float:
    """What it is told, else its own: 0.92, and 0.9 where the image is one from before 0.20."""
    earlier = (version(image) or _TAKES_MORE_MEMORY) < _TAKES_MORE_MEMORY
    return _MEMORY.share(args) or (_EARLIER_MEMORY_SHARE if earlier else _MEMORY_SHARE)


def ranks(args: Sequence[str]) -> int:
    """Data-parallel ranks in this process. One where it is told which of them it is."""
    local = _RANKS_HERE.number(args)
    if local:
        return local
    return 1 if _RANK.said(args) else _RANKS.number(args) or 1


def _stages(args: Sequence[str]) -> int:
    """GPUs that each tensor-parallel shard takes in one rank: pipeline stages, and parts of the prompt."""
    return (_PIPELINE.number(args) or 1) * (_PROMPT_PARTS.number(args) or 1)


def cache_tokens(text: str) -> int | None:
    """By the labels of vllm:cache_config_info, summed over data-parallel ranks. Before 0.24 these have no size in
    tokens, but blocks."""
    total = 0
    for labels in _CACHE.findall(text):
        said = {name: int(number) for name, number in _NUMBERS.findall(labels)}
        total += said.get("kv_cache_size_tokens") or said.get("num_gpu_blocks", 0) * said.get("block_size", 0)
    return total or None


VLLM: Final = EngineDialect(
    supported=Versions(oldest="0.11.0", newest="0.32.0"),
    command=("vllm", "serve"),
    arguments=arguments,
    context_flag=Flag("--max-model-len", least="--max-mo"),
    batch_flag=Flag("--max-num-seqs", least="--max-num-se"),
    usual_batch=256,  # 1,024 on the largest GPUs
    ranks=ranks,
    memory_share=memory_share,
    adapter_room=adapter_room,
    loads_adapters=loads_adapters,
    refused=(  # by the shortest beginnings that its parser takes for them
        Refused(
            ("--ho", "--por", "--ud"),
            "args must not set --host, --port or --uds: the routing sidecar is the only way in to the engine",
        ),
        Refused(
            ("--model=", "--ser"),
            "args must not set the model: use spec.model.name and spec.model.servedNames",
        ),
    ),
    cache_variable="HF_HOME",
    compiled_variable="VLLM_CACHE_ROOT",
    token_variable="HF_TOKEN",  # noqa: S106 - a name
    start_seconds=300.0,
    ready_path="/v1/models",
    adapter_routes=AdapterRoutes(
        load="/v1/load_lora_adapter",
        unload="/v1/unload_lora_adapter",
        variable="VLLM_ALLOW_RUNTIME_LORA_UPDATING",
    ),
    version_path="/version",
    metrics_path="/metrics",
    metrics=MetricNames(
        family="vllm:",
        running="vllm:num_requests_running",
        waiting="vllm:num_requests_waiting",
        kv_usage="vllm:kv_cache_usage_perc",
        preemptions="vllm:num_preemptions_total",
        prompt_tokens="vllm:prompt_tokens_total",
        generation_tokens="vllm:generation_tokens_total",
        prefix_queries="vllm:prefix_cache_queries_total",
        prefix_hits="vllm:prefix_cache_hits_total",
        first_tokens="vllm:time_to_first_token_seconds",
        between_tokens=("vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds"),  # since 0.11; before
        per_token="vllm:request_time_per_output_token_seconds",  # noqa: S106 - a name
        prompts="vllm:request_prompt_tokens",
        answers="vllm:request_generation_tokens",
        model_label="model_name",
    ),
    cache_tokens=cache_tokens,
    back_pressure=frozenset({429, 503}),
    too_long=b"maximum context length",
    error_start=rb'"(?:error"\s*:\s*[{"]|(?:object|type)"\s*:\s*"error")',
    provider="vllm",
)
