"""What an answer says, in words: sentences, and cells of tables, for the terminal and for the page."""

from decimal import Decimal

from forebay.cli.replay.answer import Percentiles, PoolAnswer, ReplayAnswer

NOTHING = "–"


def usd(value: Decimal | None) -> str:
    """US dollars, to the cent, or as many digits as a small sum needs."""
    if value is None:
        return NOTHING
    return f"${value:,.2f}" if value >= 1 or not value else f"${value:.2g}"


def share(part: float, whole: float) -> str:
    """A percentage that never says 0 % or 100 % of what is not."""
    if not whole:
        return NOTHING
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "< 0.1 %"
    if 99.9 < percent < 100:
        return "> 99.9 %"
    return f"{percent:.1f} %" if percent not in (0, 100) else f"{percent:.0f} %"


def seconds(value: float) -> str:
    """Three digits at most."""
    if value < 1:
        return f"{1000 * value:.0f} ms"
    return f"{value:.1f} s" if value < 100 else f"{value:.0f} s"


def spread(value: Percentiles | None) -> str:
    """Median, p95 and p99."""
    return NOTHING if value is None else " / ".join(map(seconds, (value.p50, value.p95, value.p99)))


def headline(found: ReplayAnswer) -> str:
    """The answer in a sentence."""
    sizes = ", ".join(size(pool) for pool in found.pools)
    rest = found.requests - found.local - found.left
    refused = f", {share(rest, found.requests)} were refused" if rest else ""
    money = ""
    if found.total_cost is not None:
        money = f" It would have cost {usd(found.total_cost)}: {usd(found.local_cost)} for GPUs, {usd(found.cloud_cost)} for the cloud."  # noqa: E501
    return (
        f"{sizes}: {share(found.local, found.requests)} of {found.requests:,} requests stayed local, "
        f"{share(found.left, found.requests)} went to the cloud{refused}.{money}"
    )


def size(pool: PoolAnswer) -> str:
    """How large a pool was."""
    span = f"{pool.least}" if pool.least == pool.most else f"{pool.least} to {pool.most}"
    return f"{pool.name} with {span} replicas (mean {pool.mean:.2f})"


def notices(found: ReplayAnswer) -> list[str]:
    """What must not be missed."""
    trace, said = found.trace, []
    if trace.skipped:
        said.append(
            f"{trace.skipped:,} lines of {found.name} make no sense and were left out: {'; '.join(trace.problems)}"
        )
    if trace.passed:
        said.append(f"{trace.passed:,} lines are no inference and were left out")
    if trace.estimated:
        said.append(f"the length of {trace.estimated:,} answers is a guess: the trace does not tell it")
    if found.local_cost is None:
        said.append("a pool has no gpuHourPrice, so the GPUs' cost is not known")
    if found.cloud_cost is None:
        said.append("a model has no price, so the cloud's cost is not known")
    return said


POOLS = ("pool", "slots each", "replicas", "mean", "changes", "turned round", "busy", "GPU-hours", "cost")
SERVED = ("priority", "requests", "local", "cloud", "refused")
TIMES = ("p50 / p95 / p99 of", "waited", "wait", "first token", "per token")
SPENT = ("left for", "why", "priority", "requests", "of all", "tokens in", "tokens out", "cost")
REFUSED = ("refused", "status", "priority", "requests", "of all")


def pools(found: ReplayAnswer) -> list[tuple[str, ...]]:
    """A row for each pool."""
    return [
        (
            pool.name,
            str(pool.slots),
            f"{pool.least}" if pool.least == pool.most else f"{pool.least}-{pool.most}",
            f"{pool.mean:.2f}",
            str(len(pool.changes)),
            str(pool.reversals),
            share(pool.busy, 1.0),
            f"{pool.gpu_hours:,.2f}",
            usd(pool.cost),
        )
        for pool in found.pools
    ]


def served(found: ReplayAnswer) -> list[tuple[str, ...]]:
    """A row for each priority."""
    return [
        (
            str(row.priority),
            f"{row.requests:,}",
            share(row.local, row.requests),
            share(row.left, row.requests),
            share(row.refused, row.requests),
        )
        for row in found.served
    ]


def times(found: ReplayAnswer) -> list[tuple[str, ...]]:
    """How long each priority waited, and for what."""
    return [
        (
            str(row.priority),
            share(row.waited, row.local),
            spread(row.wait),
            spread(row.first_token),
            spread(row.per_token),
        )
        for row in found.served
    ]


def spent(found: ReplayAnswer) -> list[tuple[str, ...]]:
    """A row for each provider's model, reason and priority."""
    return [
        (
            row.destination,
            str(row.reason),
            str(row.priority),
            f"{row.requests:,}",
            share(row.requests, found.requests),
            f"{row.usage.input:,}",
            f"{row.usage.output:,}",
            usd(row.cost),
        )
        for row in found.spent
    ]


def refused(found: ReplayAnswer) -> list[tuple[str, ...]]:
    """A row for each reason and priority."""
    return [
        (str(row.reason), str(row.status), str(row.priority), f"{row.requests:,}", share(row.requests, found.requests))
        for row in found.refused
    ]


def source(found: ReplayAnswer) -> str:
    """What was played."""
    hours = f"{found.hours:,.1f} h" if found.hours >= 1 else f"{60 * found.hours:,.0f} min"
    engines = "every step of every engine" if found.setup.exact else "engines by the request"
    return f"{found.name}: {found.requests:,} requests in {hours} ({found.trace.form}); {engines}"
