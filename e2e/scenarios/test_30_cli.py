"""`kubectl forebay` on the demo's cluster: the story of the Events, one request, the figures, the docs' commands."""

import json
import re
import shlex
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from e2e.cluster.paths import REPO
from e2e.demo.phases import Phase
from e2e.demo.setup import KEYS, NAMESPACE, SYSTEM_NAMESPACE, Fleet, kubectl
from e2e.scenarios.helpers import get, run_forebay, under_load, until

STEP = re.compile(r"replicas (\d+) -> (\d+)\b")
POOLS = ("chat", "sorter")
ELSEWHERE = {"--install-completion", "--prometheus", "req-5f0c27", "profile", "replay"}
"""Words of commands that change the shell, need a Prometheus or a file, or name an example's id."""
FULL = Phase("every pool is full", 20, chat=44, sort=30)
QUIET = Phase("quiet", 3, chat=2, sort=1)


def forebay(fleet: Fleet, *arguments: str, kubeconfig: Path | None = None) -> subprocess.CompletedProcess[str]:
    return run_forebay(kubeconfig or fleet.kubeconfig, *arguments)


def data(fleet: Fleet, *arguments: str) -> Any:
    said = forebay(fleet, *arguments, "-n", NAMESPACE, "-o", "json")
    assert said.returncode == 0, said.stderr
    return json.loads(said.stdout)


def events(pool: str) -> list[dict[str, Any]]:
    return [event for event in get("events.v1.events.k8s.io") if event["regarding"]["name"] == pool
            and event.get("reportingController", "").startswith("forebay.dev/")]  # fmt: skip


@pytest.fixture(scope="module")
def spilled(fleet: Fleet) -> Fleet:
    """The fleet after a load that filled it and went away, unless it has such a story already."""
    told = {event["reason"] for pool in POOLS for event in events(pool)}
    if not {"ScaledUp", "OverflowStarted", "OverflowStopped"} <= told:
        under_load(fleet, FULL, lambda: None)
        until(lambda: "OverflowStopped" in {event["reason"] for event in events("chat")}, "the end of the spill", 90)
    return fleet


def test_explain_tells_the_same_story_as_the_events(spilled: Fleet) -> None:
    for pool in POOLS:
        before = Counter((event["reason"], event["note"]) for event in events(pool))
        told = data(spilled, "explain", pool)
        happened = [(item["word"], item["what"]) for item in told["happened"]]
        assert before <= Counter(happened), f"{pool}: explain leaves out {before - Counter(happened)}"
        steps = [match.groups() for _, what in happened if (match := STEP.match(what)) and "Initial" not in what]
        decided = [
            (str(item["fromReplicas"]), str(item["toReplicas"]))
            for item in reversed(told["decisions"])
            if item["reason"] != "Initial" and item["fromReplicas"] != item["toReplicas"]
        ]
        assert decided and steps[-len(decided) :] == decided, f"{pool}: status and Events tell different steps"
        times = [item["time"] for item in told["happened"]]
        assert times == sorted(times)
        print(f"\nexplain {pool}: {len(happened)} lines, {before.total()} Events, {len(decided)} decisions")


def asked(fleet: Fleet, door: str, name: str) -> tuple[httpx.Response, dict[str, Any]]:
    """A request with an id of its own, and what explain says of it."""
    body = {"model": "auto", "max_tokens": 4, "messages": [{"role": "user", "content": "hello"}]}
    headers = {"authorization": f"Bearer {KEYS['interactive']}", "x-forebay-request-id": name}
    answer = httpx.post(f"{door}/v1/chat/completions", json=body, headers=headers, trust_env=False, timeout=60)
    found: dict[str, Any] = {}

    def logged() -> bool:
        said = forebay(fleet, "explain", name, "-n", NAMESPACE, "-o", "json")
        found.update(json.loads(said.stdout) if said.returncode == 0 else {})
        return bool(found)

    until(logged, "its line in the log", 20)
    return answer, found


def test_explain_finds_a_request_and_what_its_decision_saw(spilled: Fleet) -> None:
    answer, found = asked(spilled, spilled.door, "e2e-asked-at-the-door")
    line = found["line"]
    assert (line["destination"], line["reason"]) == (
        answer.headers["x-forebay-destination"], answer.headers["x-forebay-reason"]
    )  # fmt: skip
    assert line["client"] == "interactive"
    assert line["decision_inputs"]["free_slots"] >= 0
    assert found["router"].startswith("forebay-gateway-")
    assert "hello" not in json.dumps(found)


def test_explain_finds_a_request_that_came_through_the_pools_own_service(spilled: Fleet) -> None:
    address = kubectl("get", "service", "chat", "-n", NAMESPACE, "-o", "jsonpath={.spec.clusterIP}")
    answer, found = asked(spilled, f"http://{address}", "e2e-asked-at-the-pool")
    assert answer.status_code == 200
    assert found["router"].startswith("chat-")
    assert (found["line"]["destination"], found["line"].get("decision_inputs")) == ("chat", None)


def test_top_needs_the_one_role_and_nothing_else(spilled: Fleet, reader: Path) -> None:
    top = forebay(spilled, "top", "-n", NAMESPACE, "--once", kubeconfig=reader)
    assert top.returncode == 0, top.stderr
    assert all(word in top.stdout for word in (*POOLS, "money", "cloud: $"))
    assert top.stderr == ""
    summary = json.loads(forebay(spilled, "top", "-n", NAMESPACE, "-o", "json", kubeconfig=reader).stdout)
    (mine,) = summary
    assert {pool["name"] for pool in mine["pools"]} == set(POOLS)
    assert all(word not in json.dumps(summary) for word in KEYS.values())
    status = forebay(spilled, "status", "-n", NAMESPACE, kubeconfig=reader)
    assert "you may not list localmodelpools" in status.stderr


def test_status_and_cost_of_the_fleet(spilled: Fleet) -> None:
    status = data(spilled, "status")
    assert {pool["name"] for pool in status["pools"]} == set(POOLS)
    assert not [issue for issue in status["issues"] if issue["broken"]]
    under_load(spilled, QUIET, lambda: None)
    bills = [data(spilled, "cost", "--by", by) for by in ("pool", "client", "priority", "capability")]
    assert len({round(bill["total"]["cloud"], 9) for bill in bills}) == 1
    assert bills[0]["total"]["local_requests"] > 0


@pytest.mark.parametrize("page", ["docs/cli.md"])
def test_the_commands_of_the_docs_run(spilled: Fleet, page: str, tmp_path: Path) -> None:
    text = (REPO / page).read_text()
    commands = [line for block in re.findall(r"```console\n(.*?)```", text, re.S) for line in block.splitlines()]
    mine = [shlex.split(line, comments=True)[2:] for line in commands if line.startswith("kubectl forebay ")]
    assert len(mine) > 5
    for arguments in mine:
        if ELSEWHERE & {*arguments}:
            continue
        put = [str(tmp_path / word) if word.endswith(".html") else word for word in arguments]
        done = forebay(spilled, *put, *(["--once"] if put == ["top", "-n", "demo"] else []))
        assert done.returncode == 0, (arguments, done.stderr)


@pytest.fixture
def reader(spilled: Fleet, tmp_path: Path) -> Iterator[Path]:
    """A kubeconfig of somebody who has the Role forebay-summary and no other right."""
    subject = f"--serviceaccount={SYSTEM_NAMESPACE}:reader"
    kubectl("create", "serviceaccount", "reader", "-n", SYSTEM_NAMESPACE)
    try:
        kubectl("create", "rolebinding", "reader", "-n", SYSTEM_NAMESPACE, "--role=forebay-summary", subject)
        token = kubectl("create", "token", "reader", "-n", SYSTEM_NAMESPACE).strip()
        config = yaml.safe_load(spilled.kubeconfig.read_text())
        config["users"][0]["user"] = {"token": token}
        path = tmp_path / "reader.yaml"
        path.write_text(yaml.safe_dump(config))
        yield path
    finally:
        kubectl("delete", "rolebinding", "reader", "-n", SYSTEM_NAMESPACE, "--ignore-not-found")
        kubectl("delete", "serviceaccount", "reader", "-n", SYSTEM_NAMESPACE)
