"""Every type of engine has a dialect with all its facts, and nothing else knows how an engine calls a thing."""

import ast
import re
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from types import MappingProxyType

import msgspec
import pytest

from forebay import engines
from forebay.engines import EngineType
from forebay.engines.dialect import EngineDialect, Launch, MetricNames, Refused
from forebay.engines.simulated import SIMULATED
from forebay.engines.version import Support
from forebay.engines.vllm import VLLM
from forebay.resources import pool
from forebay.resources.table import PoolEntry, RoutingTable, decode, encode
from forebay.rules.hardware import MEMORY_SHARE

REPO = Path(__file__).resolve().parents[2]
EVERY = pytest.mark.parametrize("kind", EngineType)
FULL = Launch(
    source="org/model",
    port=8000,
    served_names=("m", "n"),
    revision="v1",
    gpus=2,
    context_tokens=4096,
    adapters=(("poet", "org/poet"),),
    args=("--seed=1",),
)
OTHER = replace(
    VLLM,
    metrics=replace(VLLM.metrics, family="other:", running="other:running"),
    refused=(VLLM.refused[1], Refused(("--socket",), "args must not set --socket")),
)
"""A type of engine that nobody has: some of its names and refusals are its own."""
KNOW = {
    "simulator/lora.py": "the words of an engine that was started without a flag",
    "simulator/settings.py": "the simulator's own command line, which is vLLM's",
    "resources/reasons.py": "what MaxNumSeqs means, for people who know vLLM",
}
"""Who writes a flag of an engine without being one, and why."""


@pytest.fixture
def with_another(monkeypatch: pytest.MonkeyPatch) -> None:
    dialects = MappingProxyType({EngineType.VLLM: VLLM, EngineType.SIMULATED: OTHER})
    monkeypatch.setattr(engines, "DIALECTS", dialects)


@EVERY
def test_every_type_has_a_dialect_with_all_facts(kind: EngineType) -> None:
    dialect = engines.of(kind)
    without = [it.name for it in fields(EngineDialect) if not getattr(dialect, it.name) and it.name != "simulated"]
    assert not without
    assert not [it.name for it in fields(MetricNames) if not getattr(dialect.metrics, it.name)]


@EVERY
def test_the_versions_of_a_type_are_versions(kind: EngineType) -> None:
    supported = engines.of(kind).supported
    assert {supported.judge(supported.oldest), supported.judge(supported.newest)} == {Support.SUPPORTED}


def test_the_image_that_pools_get_by_themselves_is_the_newest_that_is_supported() -> None:
    values = (REPO / "charts" / "forebay" / "values.yaml").read_text()
    assert f"vllm/vllm-openai:v{VLLM.supported.newest}" in values


@EVERY
def test_an_engines_metrics_are_of_its_own_family(kind: EngineType) -> None:
    names = engines.of(kind).metrics
    for field in fields(MetricNames):
        found = getattr(names, field.name)
        for name in (found,) if isinstance(found, str) else found:
            assert name.startswith(names.family) or field.name == "model_label", field.name


@EVERY
def test_an_engine_is_started_with_all_that_the_pool_says(kind: EngineType) -> None:
    given = " ".join(engines.of(kind).arguments(FULL))
    words = re.split("[ =]", given)
    for word in ("org/model", "127.0.0.1", "8000", "m", "v1", "2", "4096", "--enable-lora"):
        assert word in words
    assert given.endswith("--seed=1"), "the user's own have the last word"


ALL = "--max-cpu-loras=32"


@pytest.mark.parametrize(
    ("adapters", "rank", "args", "room", "expected"),
    [
        (0, 64, [], 0, []),
        (1, 0, [], 16, [ALL]),
        (1, 16, [], 16, [ALL]),
        (2, 0, [], 16, ["--max-loras=2", ALL]),
        (2, 8, [], 16, ["--max-loras=2", ALL]),
        (2, 64, [], 64, ["--max-loras=2", ALL, "--max-lora-rank=64"]),
        (1, 33, [], 64, [ALL, "--max-lora-rank=64"]),
        (1, 300, [], 320, [ALL, "--max-lora-rank=320"]),
        (2, 64, ["--max_loras", "1"], 64, [ALL, "--max-lora-rank=64"]),
        (2, 64, ["--max-loras=9", "--max-lora-rank=128"], 128, [ALL]),
        (2, 64, ["--max-loras=40"], 64, ["--max-cpu-loras=40", "--max-lora-rank=64"]),
        (2, 64, ["--max-lora-rank=32"], 32, ["--max-loras=2", ALL]),
        (2, 0, ["--max-cpu-loras=1"], 16, []),
        (2, 0, ["--max-cpu-loras=4"], 16, ["--max-loras=2"]),
    ],
)
def test_all_adapters_of_a_pool_fit_one_batch_and_all_that_may_come_fit_the_host(
    adapters: int, rank: int, args: list[str], room: int, expected: list[str]
) -> None:
    named = (("a", "org/a"), ("b", "org/b"))[:adapters]
    launch = Launch(source="m", port=1, adapters=named, adapter_rank=rank, args=tuple(args))
    given = VLLM.arguments(launch)
    own = given[: len(given) - len(args)]
    assert [arg for arg in own if arg.startswith(("--max-lora", "--max-cpu"))] == expected
    assert VLLM.adapter_room(launch) == room
    assert "--lora-modules" not in own, "which ones is said to those that run"


@pytest.mark.parametrize(
    ("args", "loads"),
    [
        ([], True), (["--lora-modules", "a=b"], False), (["--lora_modules=a=b"], False), (["--lora-m", "a=b"], False),
        (["--lora-dtype=auto"], True), (["--max-loras=2"], True),
        (["--data-parallel-size=2"], False), (["-dp", "2", "--api-server-count=1"], True),
        (["--api-server-count", "2"], False), (["-asc", "1"], True), (["-dp=4", "--data-parallel-rank=1"], True),
        (["--data-parallel-size=4", "--data-parallel-size-local=1"], True),
    ],
)  # fmt: skip
def test_engines_that_cannot_load_adapters_start_with_them(args: list[str], loads: bool) -> None:
    """vLLM has an API server for each rank, and ends with "cannot be used with api_server_count > 1"."""
    assert VLLM.loads_adapters(args) is loads
    given = VLLM.arguments(Launch(source="m", port=1, adapters=(("a", "org/a"),), args=tuple(args)))
    own = given[: len(given) - len(args)]
    assert ("a=org/a" in own, "--max-cpu-loras=32" in own) == (not loads, loads)


@pytest.mark.parametrize(
    ("image", "args", "given"),
    [
        ("vllm/vllm-openai:v0.32.0", [], True),
        ("vllm/vllm-openai:v0.18.0", [], True),
        ("vllm/vllm-openai:v0.17.1", [], False),
        ("vllm/vllm-openai:v0.11.0", [], False),
        ("vllm/vllm-openai:v1.0.0", [], True),
        ("mirror.example:5000/vllm/vllm-openai:0.32.0-cu129@sha256:00", [], True),
        ("vllm/vllm-openai-rocm:v0.20.0", [], True),
        ("vllm/vllm-openai:latest", [], False),
        ("vllm/vllm-openai@sha256:00", [], False),
        ("team.example/engine:2.0.0", [], False),
        ("", [], False),
        ("vllm/vllm-openai:v0.32.0", ["--shutdown_timeout", "3"], False),
    ],
)
def test_an_engine_ends_softly_where_its_version_can(image: str, args: list[str], given: bool) -> None:
    """One that does not know the flag would not start."""
    launch = Launch(source="m", port=1, image=image, stop_seconds=15, args=tuple(args))
    assert ("--shutdown-timeout=15" in VLLM.arguments(launch)) == given


@pytest.mark.parametrize(
    ("image", "args", "share"),
    [
        ("", [], 0.92),
        ("vllm/vllm-openai:v0.32.0", [], 0.92),
        ("vllm/vllm-openai:v0.20.0", [], 0.92),
        ("vllm/vllm-openai:v0.18.1", [], 0.9),
        ("vllm/vllm-openai:v0.11.0", [], 0.9),
        ("vllm/vllm-openai:latest", [], 0.92),
        ("vllm/vllm-openai:v0.11.0", ["--gpu-memory-utilization", "0.5"], 0.5),
        ("", ["--gpu_memory_utilization=0.8", "--gpu-memory-utilization=.85"], 0.85),
        ("", ["--gpu-memory-utilization=1"], 1.0),
        ("", ["--gpu-memory-utilization=1.2"], 0.92),
        ("", ["--gpu-memory-utilization=0"], 0.92),
        ("", ["--gpu-memory-utilization=much"], 0.92),
        ("", ["--gpu-memory-utilization"], 0.92),
    ],
)
def test_an_engine_uses_the_share_of_memory_that_it_is_told_or_that_its_version_takes(
    image: str, args: list[str], share: float
) -> None:
    assert VLLM.memory_share(args, image) == share


def test_the_table_of_gpus_takes_the_share_of_a_supported_engine_that_is_told_nothing() -> None:
    assert VLLM.memory_share((), f"vllm/vllm-openai:v{VLLM.supported.newest}") == MEMORY_SHARE


@EVERY
def test_what_the_user_says_is_not_said_twice(kind: EngineType) -> None:
    dialect = engines.of(kind)
    given = dialect.arguments(replace(FULL, args=(f"{dialect.context_flag}=99",)))
    assert [arg for arg in given if arg.startswith(dialect.context_flag.name)] == [f"{dialect.context_flag}=99"]


@EVERY
def test_what_users_may_not_say_is_what_forebay_says(kind: EngineType) -> None:
    """Each refusal is about something that forebay sets."""
    dialect = engines.of(kind)
    for one in dialect.refused:
        assert any(arg.startswith(one.beginnings) for arg in dialect.arguments(FULL)), one.message


@pytest.mark.parametrize(
    ("arg", "refused"),
    [
        ("--host=0.0.0.0", True),
        ("--hos", True),
        ("--port", True),
        ("--uds", True),
        ("--served_model_name", True),
        ("--served-model=x", True),
        ("--hf-overrides", False),
        ("--pooler-config", False),
        ("--pipeline-parallel-size", False),
        ("--seed", False),
        ("--model-impl", False),
    ],
)
def test_a_refusal_knows_every_spelling_that_the_parser_takes(arg: str, refused: bool) -> None:
    assert any(arg.startswith(one.beginnings) for one in VLLM.refused) == refused


@EVERY
def test_the_pattern_of_errors_is_one_and_names_them(kind: EngineType) -> None:
    pattern = engines.of(kind).error_start
    assert re.compile(pattern).match(b'"error": {"message": "no"}')
    assert b"error" in pattern


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--max-model-len", "99"], 99),
        (["--max-model-len=99"], 99),
        (["--max-model-len"], None),
        (["-x"], None),
        (["--max_model_len", "99"], 99),
        (["--max-model=99"], 99),
        (["--max-m=99"], None),
        (["--max-model-len=1", "--max_model_len=2"], 2),
        (["--max-model-len=32k"], 32_000),
        (["--max-model-len=32K"], 32_768),
        (["--max-model-len=1.5k"], 1500),
        (["--max-model-len=auto"], None),
        (["--", "--max-model-len=9"], None),
        (["--max-model-length=9"], None),
    ],
)
def test_the_longest_context_is_read_from_args(args: list[str], expected: int | None) -> None:
    assert VLLM.context_limit(args) == expected


@pytest.mark.parametrize(
    ("args", "tensor", "ranks"),
    [
        ([], 8, 1),
        (["-pp", "2"], 4, 1),
        (["-pp=2"], 4, 1),
        (["--pipeline_parallel_size=2"], 4, 1),
        (["--pipeline-parallel=2"], 4, 1),
        (["-dp", "2"], 4, 2),
        (["--data-parallel-size", "8"], None, 8),
        (["--data_parallel_size=8"], None, 8),
        (["-dp=2", "-pp=2"], 2, 2),
        (["-dp=2", "-dp=4"], 2, 4),
        (["--data-parallel-size=4", "-dp", "2"], 4, 2),
        (["-dp=8", "--data-parallel-size-local=2"], 4, 2),
        (["-dp=8", "--data-parallel-rank=3"], 8, 1),
        (["-pcp", "2"], 4, 1),
        (["-pp=16"], None, 1),
        (["-dp"], 8, 1),
        (["-dp=x"], 8, 1),
        (["-tp", "2"], None, 1),
        (["--tensor_parallel_size=2", "-dp=2"], None, 2),
        (["--tensor-parallel=2"], None, 1),
    ],
)
def test_gpus_are_tensor_times_pipeline_times_data_parallel(args: list[str], tensor: int | None, ranks: int) -> None:
    given = VLLM.arguments(Launch(source="m", port=1, gpus=8, args=tuple(args)))
    own = given[: len(given) - len(args)]
    assert [arg for arg in own if "parallel" in arg] == ([f"--tensor-parallel-size={tensor}"] if tensor else [])
    assert VLLM.ranks(args) == ranks
    assert VLLM.batch_limit(["--max_num_seqs=8", *args]) == 8 * ranks


def test_the_batch_of_a_pool_is_read_by_its_own_dialect() -> None:
    assert engines.of(EngineType.SIMULATED).batch_limit(["--max-num-seqs=7"]) == 7


def test_a_series_has_one_name_where_engines_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "DIALECTS", MappingProxyType({EngineType.VLLM: VLLM, EngineType.SIMULATED: SIMULATED}))
    assert engines.series(lambda names: names.running, 'pool="a"') == 'vllm:num_requests_running{pool="a"}'


@pytest.mark.usefixtures("with_another")
def test_a_series_is_asked_for_under_every_name() -> None:
    found = engines.series(lambda names: names.running, 'pool="a"')
    assert found == '{__name__=~"vllm:num_requests_running|other:running",pool="a"}'


@pytest.mark.usefixtures("with_another")
def test_what_only_some_engines_refuse_is_asked_of_those_alone() -> None:
    both, only_vllm, only_other = VLLM.refused[1], VLLM.refused[0], OTHER.refused[1]
    assert engines.refused() == (only_vllm, both, only_other)
    assert pool._must_not(both).rule.startswith("!self.args.exists(")
    assert pool._must_not(only_vllm).rule.startswith("!(self.type in ['VLLM']) || !self.args.exists(")
    assert pool._must_not(only_other).rule == (
        "!(self.type in ['Simulated']) || !self.args.exists(a, a.startsWith('--socket'))"
    )


def test_a_table_tells_the_engine_where_it_is_not_the_usual_one() -> None:
    usual, other = (
        PoolEntry(name="a", served_names=()),
        PoolEntry(name="b", served_names=(), engine=EngineType.SIMULATED),
    )
    written = msgspec.json.decode(encode(RoutingTable(pools=(usual, other))))
    assert ["engine" in entry for entry in written["pools"]] == [False, True]
    read = decode(encode(RoutingTable(pools=(usual, other))))
    assert [entry.dialect for entry in read.pools] == [engines.of(EngineType.VLLM), engines.of(EngineType.SIMULATED)]


@pytest.mark.slow
def test_nobody_else_writes_an_engines_metrics_or_flags() -> None:
    flags = {arg.partition("=")[0] for arg in VLLM.arguments(FULL) if arg.startswith("--")} - {"--seed"}
    flags |= {VLLM.batch_flag.name, "-tp"}
    common = {"--host", "--port", "--revision"}  # names of options that others have as well
    written = re.compile("|".join(map(re.escape, {VLLM.metrics.family, "kv_cache_size_tokens", *(flags - common)})))
    found = {where: text for where, text in strings() if written.search(text)}
    assert {where.split(":")[0] for where in found} == {*KNOW, "simulator/telemetry.py"}, found
    telemetry = [text for where, text in found.items() if where.startswith("simulator/telemetry.py")]
    assert telemetry == ["kv_cache_size_tokens"], "a label that the simulator writes, and no name of a metric"


def strings() -> Iterator[tuple[str, str]]:
    """Every string that the product's Python holds outside engines/, but for docstrings, with its place."""
    product = REPO / "operator" / "forebay"
    for path in [*product.rglob("*.py"), *(REPO / "charts").glob("*.py")]:
        if path.is_relative_to(product / "engines"):
            continue
        tree = ast.parse(path.read_text())
        documents = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        name = path.relative_to(product).as_posix() if path.is_relative_to(product) else path.name
        for node in ast.walk(tree):
            text = getattr(node, "value", None)
            if isinstance(node, ast.Constant) and id(node) not in documents:
                words = text.decode("latin-1") if isinstance(text, bytes) else text
                if isinstance(words, str):
                    yield f"{name}:{node.lineno}", words
