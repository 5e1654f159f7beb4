"""The engine's /metrics: names, labels and buckets of a real vLLM 0.32 (recorded), those that mean something here."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from forebay.engines.simulated import SIMULATED
from forebay.simulator.batch import Sequence

_FAMILY = SIMULATED.metrics.family
_LATENCY = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0,
            960.0, 1920.0, 7680.0)  # fmt: skip
_FIRST = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
          160.0, 640.0, 2560.0)  # fmt: skip
_TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0)
_COUNT = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)


class Telemetry:
    """Metrics of one engine; every series carries engine="0" and model_name."""

    def __init__(self, model: str, kv_tokens: int, longest: int) -> None:
        self.registry = CollectorRegistry()
        self.labels = {"engine": "0", "model_name": model}
        self.running = self._gauge("num_requests_running", "Number of requests in model execution batches.")
        self.waiting = self._gauge("num_requests_waiting", "Number of requests waiting to be processed.")
        reasons = self._gauge_by("num_requests_waiting_by_reason", "Number of waiting requests by reason.", "reason")
        self.waiting_capacity = reasons.labels(**self.labels, reason="capacity")
        self.waiting_deferred = reasons.labels(**self.labels, reason="deferred")
        self.kv_usage = self._gauge("kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.")
        self.prefix_queries = self._counter(
            "prefix_cache_queries", "Prefix cache queries, in terms of number of queried tokens."
        )
        self.prefix_hits = self._counter("prefix_cache_hits", "Prefix cache hits, in terms of number of cached tokens.")
        self.prompt = self._counter("prompt_tokens", "Number of prefill tokens processed.")
        self.generated = self._counter("generation_tokens", "Number of generation tokens processed.")
        self.preemptions = self._counter("num_preemptions", "Cumulative number of preemption from the engine.")
        self.success = self._counter_by(
            "request_success", "Count of successfully processed requests.", "finished_reason"
        )
        for reason in ("stop", "length", "abort", "error", "repetition"):
            self.success.labels(**self.labels, finished_reason=reason)
        self.rejected = Counter(
            f"{_FAMILY}admission_rejections",
            "Number of admission attempts rejected by a queue limit, by reason.",
            ("model_name", "reason"),
            registry=self.registry,
        )
        for reason in ("max_num_queued_reqs", "max_num_queued_tokens"):
            self.rejected.labels(model, reason)
        self.first_token = self._histogram("time_to_first_token_seconds", "Histogram of time to first token.", _FIRST)
        self.between = self._histogram("inter_token_latency_seconds", "Histogram of inter-token latency.", _TOKEN)
        self.per_token = self._histogram(
            "request_time_per_output_token_seconds", "Histogram of time per output token.", _TOKEN
        )
        self.whole = self._histogram("e2e_request_latency_seconds", "Histogram of e2e request latency.", _LATENCY)
        self.queued = self._histogram("request_queue_time_seconds", "Histogram of time spent in WAITING.", _LATENCY)
        self.prompt_length = self._histogram("request_prompt_tokens", "Number of prefill tokens processed.", _COUNT)
        self.answer_length = self._histogram(
            "request_generation_tokens", "Number of generation tokens processed.", _COUNT
        )
        Gauge(
            f"{_FAMILY}cache_config_info",
            "Information of the LLMEngine CacheConfig",
            ("engine", "block_size", "num_gpu_blocks", "kv_cache_size_tokens", "kv_cache_max_concurrency"),
            registry=self.registry,
        ).labels("0", "16", str(kv_tokens // 16), str(kv_tokens), f"{kv_tokens / longest:.2f}").set(1)

    def reject(self) -> None:
        """One was refused by --max-num-queued-reqs."""
        self.rejected.labels(self.labels["model_name"], "max_num_queued_reqs").inc()

    def ended(self, reason: str, sequence: Sequence, now: float) -> None:
        """A request came to its end: `reason` is vLLM's finished_reason. Of those that were aborted nothing is told."""
        self.success.labels(**self.labels, finished_reason=reason).inc()
        self.whole.observe(now - sequence.arrived)
        self.prompt_length.observe(sequence.prompt)
        self.answer_length.observe(sequence.made)

    def render(self) -> bytes:
        """The text of /metrics."""
        lines = generate_latest(self.registry).split(b"\n")
        return b"\n".join(line for line in lines if b"_created" not in line)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"{_FAMILY}{name}", text, tuple(self.labels), registry=self.registry).labels(**self.labels)

    def _gauge_by(self, name: str, text: str, label: str) -> Gauge:
        return Gauge(f"{_FAMILY}{name}", text, (*self.labels, label), registry=self.registry)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(f"{_FAMILY}{name}", text, tuple(self.labels), registry=self.registry).labels(**self.labels)

    def _counter_by(self, name: str, text: str, label: str) -> Counter:
        return Counter(f"{_FAMILY}{name}", text, (*self.labels, label), registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        histogram = Histogram(f"{_FAMILY}{name}", text, tuple(self.labels), registry=self.registry, buckets=buckets)
        return histogram.labels(**self.labels)
