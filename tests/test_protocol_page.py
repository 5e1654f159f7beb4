"""What docs/protocol.md says is so."""

import json
import re
from pathlib import Path

from forebay.router.http import call, client, server
from forebay.router.http.exchange import Budget
from forebay.router.http.framing import ONCE, problem
from forebay.router.http.message import HOP_BY_HOP, MAX_BODY_BYTES, MAX_HEAD_BYTES, MAX_TARGET_BYTES, error_body
from testing.smuggling import CASES

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "protocol.md").read_text()
LIMITS: dict[str, float] = {
    "a request's headers": MAX_HEAD_BYTES,
    "chunk extensions or trailers without content between them": MAX_HEAD_BYTES,
    "a request's target": MAX_TARGET_BYTES,
    "a request's body": MAX_BODY_BYTES,
    "bodies that one router holds at a time": Budget().limit,
    "complete requests that wait on one connection": server.PIPELINED,
    "from a request's first byte to its last": server.READ_SECONDS,
    "a connection without a request": server.IDLE_SECONDS,
    "after a refusal: what still comes is thrown away": server.LINGER_SECONDS,
    "a connection that is to close, and whose peer takes nothing": server.STUCK_SECONDS,
    "unsent bytes of an answer": server.HIGH_WATER,
    "an engine's headers, trailers or chunk extensions without content between them": client.MAX_BARE_BYTES,
    "a connection to an engine that carries nothing": call.IDLE_SECONDS,
}
UNITS = {"": 1, "s": 1, "KiB": 1024, "MiB": 1024 * 1024}


def section(title: str) -> str:
    return PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


def rows(title: str) -> list[list[str]]:
    lines = [line for line in section(title).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_its_limits_are_those_of_the_code() -> None:
    said = {what: limit.partition(" ") for what, limit, _ in rows("Limits")}
    assert {what: int(number) * UNITS[unit] for what, (number, _, unit) in said.items()} == LIMITS


def test_it_lists_every_status_that_refuses_a_doubtful_request() -> None:
    listed = {int(status) for status, *_ in rows("Refusals")}
    assert {status for case in CASES for status in case.statuses if status >= 400} <= listed


def test_the_error_that_it_shows_is_one() -> None:
    (example,) = re.findall(r"```json\n(.*?)```", PAGE, re.S)
    host = (b"host", b"x")
    refused = problem(b"POST", "1.1", [host], dict([host]))
    assert refused is not None
    assert json.loads(example) == json.loads(error_body(*refused, "invalid_http"))


def test_it_names_the_headers_that_may_stand_once_and_those_of_one_connection() -> None:
    once = next(what for what, _ in rows("Refused, and why") if what.startswith("twice one of"))
    assert set(re.findall(r"`(.*?)`", once)) == {name.decode() for name in ONCE}
    dropped = next(what for name, what in rows("What changes on the way") if name == "dropped")
    assert {name.decode() for name in HOP_BY_HOP} <= set(re.findall(r"`(.*?)`", dropped))
