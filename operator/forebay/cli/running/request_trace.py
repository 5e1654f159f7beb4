"""What became of one request, from the line that its router wrote when it was over. Pure but for reading the logs."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import msgspec

from forebay.cli.glossary import meaning
from forebay.cli.running.cluster import ApiServerRefused, ClusterReader
from forebay.resources import names
from forebay.resources.access_log import AccessLogEntry
from forebay.resources.reasons import NO_MONEY, Capability, Priority, Reason

TAIL_LINES: Final = 50_000
"""Lines of each router's log that are looked through, the newest ones."""
UNPAID: Final = {
    Reason.BUDGET_SPENT: "a model that costs less, or a limit of tokens, may still fit; else raise budget.amount",
    Reason.BUDGET_PACED: "more becomes due with time; budget.pacing.burstPercent says how much is due at any time",
    Reason.BUDGET_HELD: "usual for a second or two; for longer where the operator is away",
}
"""What is to be known of each reason of NO_MONEY beyond its meaning."""
_decode = msgspec.json.Decoder(AccessLogEntry).decode


@dataclass(frozen=True, slots=True)
class Search:
    """What a look through the logs found: the request's line and the router that wrote it."""

    line: AccessLogEntry | None
    router: str = ""
    routers: int = 0  # whose logs were read
    lines: int = 0  # that were looked through
    oldest: float = 0.0  # of these, Unix seconds
    unread: tuple[str, ...] = ()  # routers whose log could not be read


def search(cluster: ClusterReader, namespace: str, request_id: str, tail: int = TAIL_LINES) -> Search:
    """Look through the routers' logs, gateways first. Raises Problem when none may be read."""
    pods = cluster.list("v1", "pods", namespace, labelSelector=names.MANAGED_SELECTOR)
    routers = sorted(pods, key=lambda pod: (_component(pod) != names.COMPONENT_GATEWAY, pod["metadata"]["name"]))
    read, lines, oldest, unread = 0, 0, 0.0, []
    for pod in routers:
        name = pod["metadata"]["name"]
        try:
            text = cluster.log(namespace, name, names.CONTAINER_ROUTER, tail)
        except ApiServerRefused as refused:
            if refused.code in (401, 403):
                raise
            unread.append(name)  # starting, or gone meanwhile
            continue
        read += 1
        found, count, first = look(text, request_id)
        lines, oldest = lines + count, min(oldest or first, first or oldest)
        if found is not None:
            return Search(found, name, read, lines, oldest, tuple(unread))
    return Search(None, "", read, lines, oldest, tuple(unread))


def look(text: str, request_id: str) -> tuple[AccessLogEntry | None, int, float]:
    """The last line of this request in a log, how many lines there are, and the time of the oldest."""
    lines = [line for line in text.splitlines() if line.startswith("{")]
    first = next((found.time for line in lines if (found := _parsed(line)) is not None), 0.0)
    likely = (line for line in reversed(lines) if request_id in line)
    found = next((it for line in likely if (it := _parsed(line)) is not None and it.request_id == request_id), None)
    return found, len(lines), first


def _parsed(text: str) -> AccessLogEntry | None:
    try:
        return _decode(text.replace('"saw":', '"decision_inputs":', 1))  # its key in logs of the first release
    except msgspec.MsgspecError:
        return None


def _component(pod: dict[str, dict[str, dict[str, str]]]) -> str:
    return pod["metadata"].get("labels", {}).get(names.LABEL_COMPONENT, "")


def in_words(record: AccessLogEntry) -> list[str]:
    """The story of one request, a sentence a line."""
    return [*_asked(record), *_decided(record), *_went(record)]


def _asked(record: AccessLogEntry) -> Iterable[str]:
    ended = datetime.fromtimestamp(record.time, UTC).strftime("%Y-%m-%d %H:%M:%S")
    stream = ", as a stream" if record.stream else ""
    model = f" for model {record.model}" if record.model else ""
    yield f"{ended} UTC, client {record.client}: {record.method} {record.path}{model}{stream}"
    if record.priority:
        yield f"priority {record.priority}: {meaning(Priority, record.priority)}"
    if record.capability:
        yield f"taken for {record.capability}: {meaning(Capability, record.capability)}"


def _decided(record: AccessLogEntry) -> Iterable[str]:
    yield f"{record.reason}: {meaning(Reason, record.reason)}"
    if record.reason in NO_MONEY:
        yield "no provider was asked, as if there were no cloud, and nothing local took it in time"
        yield UNPAID[Reason(record.reason)]
    if (inputs := record.decision_inputs) is not None:
        slots = f"{inputs.free_slots} free slot{'s' * (inputs.free_slots != 1)} for it in the pools that can serve it"
        age = f", heard of {inputs.report_age_seconds * 1000:.0f} ms before"
        yield f"the decision saw {slots}{age}, and {inputs.queued} that waited there"


def _went(record: AccessLogEntry) -> Iterable[str]:
    waited = f" after {_seconds(record.queue_ms)} in the queue" if record.queue_ms else ""
    if record.destination in ("", "none"):
        yield f"refused with {record.status}{waited}"
    else:
        kind = "the provider model" if "/" in record.destination else "the pool"
        yield f"went to {kind} {record.destination}{waited}, and was answered with {record.status}"
    if record.tries > 1:
        yield f"{record.tries} places were tried"
    if record.problem:
        yield f"on the way: {record.problem}"
    first = f"first token after {_seconds(record.first_token_ms)}, " if record.first_token_ms else ""
    yield f"{first}all of it after {_seconds(record.duration_ms)}"
    if record.usage:
        cost = f"${record.cost_usd}" if record.cost_usd else "of unknown price"
        cached = f" ({record.cached_tokens} cached)" if record.cached_tokens else ""
        yield f"cost {cost}: {record.input_tokens} tokens in{cached}, {record.output_tokens} out, {record.usage}"


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"
