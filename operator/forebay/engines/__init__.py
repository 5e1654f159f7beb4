"""What serves models, one module a type of engine. Nothing else of forebay knows how one of them calls a thing.

Facts only, and the ground of the house: the custom resources refuse arguments by them, the operator starts engines by
them, sidecars watch and understand engines by them, dashboards and costs ask Prometheus by them. A new type of engine
is a module here, its word in EngineType and its line in DIALECTS.
"""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final

from forebay.engines.dialect import EngineDialect, MetricNames, Refused
from forebay.engines.simulated import SIMULATED
from forebay.engines.vllm import VLLM
from forebay.word_enum import WordEnum


class EngineType(WordEnum):
    """What serves the model."""

    VLLM = "VLLM"
    SIMULATED = "Simulated"


DIALECTS: Final[Mapping[EngineType, EngineDialect]] = MappingProxyType(
    {EngineType.VLLM: VLLM, EngineType.SIMULATED: SIMULATED}
)
DEFAULT: Final = EngineType.VLLM
"""The type of a pool that names none, and of a table from before there was a choice."""


def of(kind: EngineType) -> EngineDialect:
    """How engines of this type are spoken to."""
    return DIALECTS[kind]


def metric_names(meaning: Callable[[MetricNames], str]) -> tuple[str, ...]:
    """What engines call one metric: each name once, in the order of DIALECTS; those that have none are left out."""
    return _distinct(meaning(dialect.metrics) for dialect in DIALECTS.values())


def series(meaning: Callable[[MetricNames], str], matchers: str) -> str:
    """PromQL's selector of one metric of every type of engine."""
    names = metric_names(meaning)
    if len(names) == 1:
        return f"{names[0]}{{{matchers}}}"
    return f'{{__name__=~"{"|".join(names)}",{matchers}}}'


def error_starts() -> bytes:
    """Pattern of how the error objects of all engines begin."""
    return b"|".join(dict.fromkeys(dialect.error_start for dialect in DIALECTS.values()))


def refused() -> tuple[Refused, ...]:
    """Arguments that any engine refuses."""
    return tuple(dict.fromkeys(one for dialect in DIALECTS.values() for one in dialect.refused))


def _distinct(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name in dict.fromkeys(names) if name)
