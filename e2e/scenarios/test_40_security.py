"""Who talks to whom, which secrets leak, and a token that changes under load: on the real cluster, with the chart."""

import base64
import json
import socket
import time

from e2e.cluster import embedded
from e2e.demo.setup import KEYS, NAMESPACE, SYSTEM_NAMESPACE, Fleet, kubectl
from e2e.netpolicy import denied
from e2e.scenarios.flows import Connection, connections, ends, flows
from e2e.scenarios.helpers import get, settle, steady, under_load, until
from forebay.resources import names


def test_every_flow_of_a_busy_fleet_is_one_that_the_policies_allow(fleet: Fleet) -> None:
    seen: set[Connection] = set()

    def look() -> None:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            seen.update(connections())
            time.sleep(0.5)

    answers = under_load(fleet, steady(20, chat=14, sort=10), look)
    policies = [item for namespace in (NAMESPACE, SYSTEM_NAMESPACE) for item in get("networkpolicies", namespace)]
    found = flows(seen, ends((NAMESPACE, SYSTEM_NAMESPACE)))
    refused = [f"{flow}: {why}" for flow in found if (why := denied(flow, policies))]
    kinds = sorted({f"{_kind(flow.source.name)} -> {_kind(flow.target.name)}:{flow.port}" for flow in found})
    print(f"\n{len(answers)} answers over {len(found)} connections of {len(kinds)} kinds: {', '.join(kinds)}")
    assert {"gateway", "replica"} <= {_kind(flow.target.name) for flow in found}
    assert not refused


def test_the_cluster_says_whether_it_enforces_policies(fleet: Fleet) -> None:
    """The request port of a replica is for its namespace: this machine must not get in where policies are enforced."""
    replica = next(pod for pod in get("pods") if pod["metadata"]["name"] == "chat-0")
    try:
        socket.create_connection((replica["status"]["podIP"], names.PORT_REQUEST), timeout=3).close()
        enforced = False
    except OSError:
        enforced = True
    print(f"\nNetworkPolicies are {'enforced' if enforced else 'accepted, not enforced'} by this cluster")
    assert enforced or embedded.started(), "a cluster with a policy engine let a forbidden connection in"


def test_no_secret_is_in_any_log_event_table_metric_or_status(fleet: Fleet) -> None:
    known = secrets()
    texts = outputs()
    assert len(known) >= 5 and all(len(value) > 6 for value in known.values())
    assert sum(len(text) for text in texts.values()) > 100_000
    leaks = [f"{name} is in {where}" for where, text in texts.items() for name, value in known.items() if value in text]
    print(f"\n{len(known)} secret values looked for in {len(texts)} outputs of {sum(map(len, texts.values())):,} bytes")
    assert not leaks


def test_the_token_changes_under_load_and_nobody_notices(fleet: Fleet) -> None:
    settle(fleet)
    before = tokens()

    def rotate() -> None:
        time.sleep(2)
        kubectl("annotate", "secret", names.CONTROL_TOKEN_SECRET, "-n", NAMESPACE, "--overwrite",
                f"{names.ANNOTATION_ROTATE}={time.time():.0f}")  # fmt: skip
        until(lambda: set(tokens()) == {"current"} and tokens() != before, "a new token alone", 400)

    began = time.monotonic()
    answers = under_load(fleet, steady(90), rotate)
    failed = [answer for answer in answers if answer.status != 200 or answer.cut]
    print(f"\ntoken changed within {time.monotonic() - began:.0f} s: {len(answers)} answers, {len(failed)} failed")
    assert len(answers) > 10
    assert not failed
    assert set(tokens().values()).isdisjoint(before.values())


def tokens() -> dict[str, str]:
    """The control tokens by their keys."""
    secret = json.loads(kubectl("get", "secret", names.CONTROL_TOKEN_SECRET, "-n", NAMESPACE, "-o", "json"))
    return {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}


def secrets() -> dict[str, str]:
    """Every secret value of the demo by a name that may be printed, plain and encoded."""
    plain = {f"client {name}": key for name, key in KEYS.items() if name != "stranger"}
    plain |= {"provider acme": "sk-acme-demo", "provider bravo": "sk-bravo-demo"}
    plain |= {f"token {key}": value for key, value in tokens().items()}
    return plain | {f"{name}, encoded": base64.b64encode(key.encode()).decode() for name, key in plain.items()}


def outputs() -> dict[str, str]:
    """All that people and machines can read of the fleet and the operator."""
    found = {}
    for namespace in (NAMESPACE, SYSTEM_NAMESPACE):
        for pod in get("pods", namespace):
            name = pod["metadata"]["name"]
            if name.startswith(("acme", "bravo")):
                continue  # the stand-ins for providers are no part of forebay
            found[f"logs of {name}"] = kubectl(
                "logs", name, "-n", namespace, "--all-containers", "--tail=20000", check=False
            )
            for port in (names.PORT_METRICS,):
                path = f"/api/v1/namespaces/{namespace}/pods/{name}:{port}/proxy/metrics"
                found[f"metrics of {name}"] = kubectl("get", "--raw", path, check=False)
        for kind in ("events", "configmaps", "pods", "statefulsets", "deployments", "services", "networkpolicies",
                     "localmodelpools", "cloudfallbackpolicies"):  # fmt: skip
            found[f"{kind} in {namespace}"] = kubectl("get", kind, "-n", namespace, "-o", "json", check=False)
    return found


def _kind(name: str) -> str:
    for prefix, kind in (("forebay-gateway", "gateway"), ("forebay-operator", "operator"), ("node ", "node")):
        if name.startswith(prefix):
            return kind
    return "provider" if name.startswith(("acme", "bravo")) else "replica"
