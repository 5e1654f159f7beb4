"""The commands against a real API server: what they say, and what they say when something is missing."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client

from tests.cli.objects import condition, conditions, decision, event, paying, policy, pool, step

pytestmark = pytest.mark.apiserver
GROUP, VERSION = "forebay.dev", "v1alpha1"
UP = "DemandAboveCapacity"


class Fleet:
    """A namespace with a pool, a policy and Events, and the command line that looks at it."""

    def __init__(self, api: client.ApiClient, folder: Path) -> None:
        self.api = api
        self.core = client.CoreV1Api(api)
        self.namespace = str(self.core.create_namespace({"metadata": {"generateName": "cli-"}}).metadata.name)
        self.kubeconfig = folder / "admin.yaml"
        self.kubeconfig.write_text(yaml.safe_dump(kubeconfig(api, self.namespace)))

    def forebay(
        self, *arguments: str, config: Path | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "forebay.cli", *arguments], capture_output=True, text=True, timeout=60, check=False,
            env={**os.environ, "KUBECONFIG": str(config or self.kubeconfig), **environment},
        )  # fmt: skip

    def put(self, kind: str, plural: str, document: dict[str, Any]) -> None:
        custom = client.CustomObjectsApi(self.api)
        name, status = document["metadata"]["name"], document["status"]
        body = {
            "apiVersion": f"{GROUP}/{VERSION}", "kind": kind, "metadata": {"name": name}, "spec": document["spec"],
        }  # fmt: skip
        made = custom.create_namespaced_custom_object(GROUP, VERSION, self.namespace, plural, body)
        judged = {"observedGeneration": made["metadata"]["generation"]}
        status = {**status, **judged, "conditions": [{**item, **judged} for item in status["conditions"]]}
        custom.patch_namespaced_custom_object_status(GROUP, VERSION, self.namespace, plural, name, {"status": status})

    def tell(self, told: dict[str, Any]) -> None:
        body = {
            **told, "apiVersion": "events.k8s.io/v1", "kind": "Event", "action": "Scale", "reportingInstance": "test",
            "metadata": {"generateName": "chat-"}, "regarding": {**told["regarding"], "namespace": self.namespace},
        }  # fmt: skip
        client.CustomObjectsApi(self.api).create_namespaced_custom_object(
            "events.k8s.io", "v1", self.namespace, "events", body
        )


def kubeconfig(api: client.ApiClient, namespace: str, user: dict[str, Any] | None = None) -> dict[str, Any]:
    settings = api.configuration
    who = user or {"client-certificate": settings.cert_file, "client-key": settings.key_file}
    cluster = {"server": settings.host, "certificate-authority": settings.ssl_ca_cert}
    return {
        "apiVersion": "v1", "kind": "Config", "current-context": "here",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": who}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": namespace}}],
    }  # fmt: skip


@pytest.fixture
def fleet(api: client.ApiClient, tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(api, tmp_path)
    yield made
    made.core.delete_namespace(made.namespace)


@pytest.fixture
def busy(fleet: Fleet) -> Fleet:
    decisions = [decision(2, 3, UP, "2027-01-15T07:20:00Z", "20.0"), decision(1, 2, UP, "2027-01-15T07:10:03Z")]
    scaling = {
        "demand": "20.0", "capacity": 7, "desiredReplicas": 3, "reason": "AtMaximum", "decisions": decisions,
    }  # fmt: skip
    ill = [condition("Ready", "True", "ReplicasStarting", "2 of 3 replicas serve"),
           condition("GPUsAvailable", "False", "Unschedulable", "0/2 nodes are available")]  # fmt: skip
    fleet.put("LocalModelPool", "localmodelpools", pool(scaling=scaling, conditions=conditions(*ill)))
    fleet.put("CloudFallbackPolicy", "cloudfallbackpolicies", policy())
    fleet.tell(step(1, 2, UP, "2027-01-15T07:10:04Z"))
    fleet.tell(step(2, 3, UP, "2027-01-15T07:20:00Z", 20.0))
    fleet.tell(event("OverflowStarted", "requests overflow to the cloud (AllPoolsFull 3): 16 of 16 slots run, 4 wait",
                     "2027-01-15T07:15:00Z"))  # fmt: skip
    return fleet


def test_status_says_how_things_are_and_what_to_do(busy: Fleet) -> None:
    said = busy.forebay("status")
    assert said.returncode == 0, said.stderr
    assert "\x1b" not in said.stdout
    assert "pool chat, GPUsAvailable: Unschedulable, no node takes a replica" in said.stdout
    assert "next: add nodes with what a replica asks for" in said.stdout
    data = json.loads(busy.forebay("status", "-o", "json").stdout)
    assert [item["reason"] for item in data["issues"]] == ["Unschedulable", "ReplicasStarting"]
    said = busy.forebay("status", "-A", "-o", "yaml")
    assert said.returncode == 0, said.stderr
    everywhere = yaml.safe_load(said.stdout)
    assert busy.namespace in {item["namespace"] for item in everywhere["pools"]}


def test_budget_says_what_is_spent_and_left(busy: Fleet) -> None:
    none = busy.forebay("budget")
    assert none.stdout.startswith("policy default has no budget: ")
    busy.put("CloudFallbackPolicy", "cloudfallbackpolicies", paying("dear", word="NearLimit"))
    said = busy.forebay("budget", "dear")
    assert said.returncode == 0, said.stderr
    assert "NearLimit: the last threshold" in said.stdout
    everywhere = yaml.safe_load(busy.forebay("budget", "-A", "-o", "yaml").stdout)["budgets"]
    assert ("dear", "412.101") in {(item["policy"], (item["status"] or {}).get("spent")) for item in everywhere}
    wrong = busy.forebay("budget", "cheap")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert wrong.stderr == f"error: cheap is no policy of namespace {busy.namespace} (policies: dear, default)\n"


def test_explain_tells_the_same_story_as_the_events(busy: Fleet) -> None:
    data = json.loads(busy.forebay("explain", "chat", "-o", "json").stdout)
    assert [(item["time"][11:19], item["word"]) for item in data["happened"]] == [
        ("07:10:04", "ScaledUp"), ("07:15:00", "OverflowStarted"), ("07:20:00", "ScaledUp"),
    ]  # fmt: skip
    text = busy.forebay("explain", "chat").stdout
    assert "AllPoolsFull: every local pool of the same task is full" in text
    assert "replicas 1 -> 2: demand 12.4" in text


def test_what_is_neither_a_pool_nor_a_request_is_one_sentence(busy: Fleet) -> None:
    for what in ("chatt", "req-12"):
        wrong = busy.forebay("explain", what)
        assert wrong.returncode == 1
        assert wrong.stderr.startswith(f"error: {what} is no pool of namespace {busy.namespace} (pools: chat), and no")
        assert wrong.stderr.count("\n") == 1


def test_the_shell_completes_commands_values_and_pools(busy: Fleet) -> None:
    def completed(*words: str) -> list[str]:
        asked = "import sys; from forebay.cli.complete import main; main()"
        said = subprocess.run(
            [sys.executable, "-c", asked, *words], capture_output=True, text=True, timeout=60, check=True,
            env={**os.environ, "KUBECONFIG": str(busy.kubeconfig)},
        )  # fmt: skip
        return said.stdout.split()

    assert completed("ex") == ["explain", ":4"]
    assert completed("cost", "--by", "cl") == ["client", ":4"]
    assert completed("explain", "ch") == ["chat", ":4"]
    assert completed("explain", "-n", "elsewhere", "ch") == [":4"]
    assert completed("budget", "de") == ["default", ":4"]


def test_an_empty_namespace_says_so(fleet: Fleet) -> None:
    assert "has no pool and no policy" in fleet.forebay("status").stdout


def somebody(fleet: Fleet, name: str, folder: Path) -> Path:
    """A kubeconfig of somebody without any right."""
    fleet.core.create_namespaced_service_account(fleet.namespace, {"metadata": {"name": name}})
    request = client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[]))
    token = fleet.core.create_namespaced_service_account_token(name, fleet.namespace, request).status.token
    config = folder / f"{name}.yaml"
    config.write_text(yaml.safe_dump(kubeconfig(fleet.api, fleet.namespace, {"token": token})))
    return config


def test_who_may_see_pools_but_no_events_gets_the_decisions(busy: Fleet, tmp_path: Path) -> None:
    config = somebody(busy, "viewer", tmp_path)
    roles = client.RbacAuthorizationV1Api(busy.api)
    rule = {"apiGroups": [GROUP], "resources": ["localmodelpools"], "verbs": ["get", "list"]}
    roles.create_namespaced_role(busy.namespace, {"metadata": {"name": "viewer"}, "rules": [rule]})
    subject = {"kind": "ServiceAccount", "name": "viewer", "namespace": busy.namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "viewer"}
    binding = {"metadata": {"name": "viewer"}, "roleRef": role, "subjects": [subject]}
    roles.create_namespaced_role_binding(busy.namespace, binding)
    told = busy.forebay("explain", "chat", "-o", "json", config=config)
    assert [item["what"][:15] for item in json.loads(told.stdout)["happened"]] == ["replicas 1 -> 2", "replicas 2 -> 3"]
    assert f"you may not list events in namespace {busy.namespace}" in told.stderr


def test_without_the_right_it_says_which_verb_on_what(busy: Fleet, tmp_path: Path) -> None:
    config = somebody(busy, "nobody", tmp_path)
    for command in (["status"], ["explain", "chat"]):
        refused = busy.forebay(*command, config=config)
        assert refused.returncode == 1
        verb = "list localmodelpools" if command == ["status"] else "get localmodelpools chat"
        assert refused.stderr == f"error: you may not {verb} in namespace {busy.namespace}: ask for that right\n"
    top = busy.forebay("top", config=config)
    assert "you may not read the operator's figures: ask for the Role forebay-summary" in top.stderr


def test_without_the_operator_top_shows_the_status(busy: Fleet) -> None:
    top = busy.forebay("top")
    assert "no operator answers in namespace forebay-system" in top.stderr
    assert "GPUsAvailable" in top.stdout
    cost = busy.forebay("cost")
    assert cost.returncode == 1
    assert "no operator answers in namespace forebay-system" in cost.stderr


def test_a_cluster_without_the_crds_is_told_to_install_them(fleet: Fleet) -> None:
    """A group that this API server does not know answers as one without the CRDs does."""
    program = "\n".join((
        "from forebay.resources import names", "names.API_VERSION = 'absent.dev/v1'",
        "from forebay.cli.__main__ import main", "main()",
    ))  # fmt: skip
    environment = {**os.environ, "KUBECONFIG": str(fleet.kubeconfig)}
    found = subprocess.run(
        [sys.executable, "-c", program, "status"], env=environment, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    says = "this cluster has no LocalModelPool resource: install forebay's chart first (helm install forebay)"
    assert found.stderr == f"error: {says}\n"


def test_no_cluster_at_all_is_one_sentence(tmp_path: Path) -> None:
    nowhere = Fleet.__new__(Fleet)
    nowhere.kubeconfig = tmp_path / "missing"
    assert nowhere.forebay("status").stderr.startswith("error: no cluster: there is no kubeconfig; name one")
    assert "has no usable context other" in nowhere.forebay("status", "--context", "other").stderr
    silent = kubeconfig(client.ApiClient(client.Configuration(host="http://127.0.0.1:1")), "default", {"token": "x"})
    silent["clusters"][0]["cluster"].pop("certificate-authority")
    nowhere.kubeconfig.write_text(yaml.safe_dump(silent))
    said = nowhere.forebay("status")
    assert said.returncode == 1
    assert said.stderr.startswith("error: the API server http://127.0.0.1:1 does not answer: ")
    assert said.stderr.count("\n") == 1
