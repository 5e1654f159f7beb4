"""What became of one request, from the line that its router wrote when it was over. Pure but for reading the logs."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import msgspec

from forebay.cli.running.cluster import Cluster, Refused
from forebay.cli.words import meaning
from forebay.resources import names
from forebay.resources.access_log import Line
from forebay.resources.reasons import Capability, Priority, Reason

TAIL_LINES: Final = 50_000
"""Lines of each router's log that are looked through, the newest ones."""
_decode = msgspec.json.Decoder(Line).decode


@dataclass(frozen=True, slots=True)
class Search:
    """What a look through the logs found: the request's line and the router that wrote it."""

    line: Line | None
    router: str = ""
    routers: int = 0  # whose logs were read
    lines: int = 0  # that were looked through
    oldest: float = 0.0  # of these, Unix seconds
    unread: tuple[str, ...] = ()  # routers whose log could not be read


def search(cluster: Cluster, namespace: str, request_id: str, tail: int = TAIL_LINES) -> Search:
    """Look through the routers' logs, gateways first. Raises Problem when none may be read."""
    pods = cluster.list("v1", "pods", namespace, labelSelector=names.MANAGED_SELECTOR)
    routers = sorted(pods, key=lambda pod: (_component(pod) != names.COMPONENT_GATEWAY, pod["metadata"]["name"]))
    read, lines, oldest, unread = 0, 0, 0.0, []
    for pod in routers:
        name = pod["metadata"]["name"]
        try:
            text = cluster.log(namespace, name, names.CONTAINER_ROUTER, tail)
        except Refused as refused:
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


def look(text: str, request_id: str) -> tuple[Line | None, int, float]:
    """The last line of this request in a log, how many lines there are, and the time of the oldest."""
    lines = [line for line in text.splitlines() if line.startswith("{")]
    first = next((found.time for line in lines if (found := _parsed(line)) is not None), 0.0)
    likely = (line for line in reversed(lines) if request_id in line)
    found = next((it for line in likely if (it := _parsed(line)) is not None and it.request_id == request_id), None)
    return found, len(lines), first


def _parsed(text: str) -> Line | None:
    try:
        return _decode(text.replace('"saw":', '"decision_inputs":', 1))  # its key in logs of the first release
    except msgspec.MsgspecError:
        return None


def _component(pod: dict[str, dict[str, dict[str, str]]]) -> str:
    return pod["metadata"].get("labels", {}).get(names.LABEL_COMPONENT, "")


def in_words(line: Line) -> list[str]:
    """The story of one request, a sentence a line."""
    return [*_asked(line), *_decided(line), *_went(line)]


def _asked(line: Line) -> Iterable[str]:
    ended = datetime.fromtimestamp(line.time, UTC).strftime("%Y-%m-%d %H:%M:%S")
    stream = ", as a stream" if line.stream else ""
    model = f" for model {line.model}" if line.model else ""
    yield f"{ended} UTC, client {line.client}: {line.method} {line.path}{model}{stream}"
    if line.priority:
        yield f"priority {line.priority}: {meaning(Priority, line.priority)}"
    if line.capability:
        yield f"taken for {line.capability}: {meaning(Capability, line.capability)}"


def _decided(line: Line) -> Iterable[str]:
    yield f"{line.reason}: {meaning(Reason, line.reason)}"
    if (inputs := line.decision_inputs) is not None:
        slots = f"{inputs.free_slots} free slot{'s' * (inputs.free_slots != 1)} for it in the pools that can serve it"
        age = f", heard of {inputs.report_age_seconds * 1000:.0f} ms before"
        yield f"the decision saw {slots}{age}, and {inputs.queued} that waited there"


def _went(line: Line) -> Iterable[str]:
    waited = f" after {_seconds(line.queue_ms)} in the queue" if line.queue_ms else ""
    if line.destination in ("", "none"):
        yield f"refused with {line.status}{waited}"
    else:
        kind = "the provider model" if "/" in line.destination else "the pool"
        yield f"went to {kind} {line.destination}{waited}, and was answered with {line.status}"
    if line.tries > 1:
        yield f"{line.tries} places were tried"
    if line.problem:
        yield f"on the way: {line.problem}"
    first = f"first token after {_seconds(line.first_token_ms)}, " if line.first_token_ms else ""
    yield f"{first}all of it after {_seconds(line.duration_ms)}"
    if line.usage:
        cost = f"${line.cost_usd}" if line.cost_usd else "of unknown price"
        cached = f" ({line.cached_tokens} cached)" if line.cached_tokens else ""
        yield f"cost {cost}: {line.input_tokens} tokens in{cached}, {line.output_tokens} out, {line.usage}"


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"
