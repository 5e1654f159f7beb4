"""Operator, gateways and sidecars pass Pod Security's `restricted`; a real engine falls short by its user alone."""

import json
from typing import Any

import pytest
import yaml
from kubernetes import client

from e2e.cluster import tools
from e2e.cluster.paths import REPO
from e2e.cluster.shell import run
from forebay.controller.manifests.gateway import gateway_deployment
from forebay.controller.manifests.template import pod_template
from forebay.resources.policy import PolicySpec
from tests.controller.fleets import IMAGES, POLICY, SETTINGS, policy, spec

pytestmark = pytest.mark.apiserver
LEVELS = ("restricted", "baseline")


@pytest.fixture(scope="module")
def enforcing(api: client.ApiClient) -> dict[str, str]:
    """A namespace for each level that enforces it."""
    core = client.CoreV1Api(api)
    for level in LEVELS:
        labels = {"pod-security.kubernetes.io/enforce": level}
        core.create_namespace({"metadata": {"name": f"level-{level}", "labels": labels}})
    return {level: f"level-{level}" for level in LEVELS}


def refusal(api: client.ApiClient, namespace: str, template: dict[str, Any]) -> str:
    """What the API server says of a pod of this template; empty when it takes it."""
    labels = template["metadata"].get("labels", {})
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": labels}, "spec": template["spec"]}
    try:
        client.CoreV1Api(api).create_namespaced_pod(namespace, pod, dry_run="All")
    except client.ApiException as error:
        return str(json.loads(error.body)["message"])
    return ""


def the_operator() -> dict[str, Any]:
    chart = run(tools.helm(), "template", "forebay", REPO / "charts" / "forebay", "-n", "forebay-system")
    found: dict[str, Any] = next(d for d in yaml.safe_load_all(chart) if d and d["kind"] == "Deployment")
    return dict(found["spec"]["template"])


def the_gateway() -> dict[str, Any]:
    policies = [("default", PolicySpec.model_validate(POLICY))]
    return dict(gateway_deployment("team", [policy().owner], policies, SETTINGS)["spec"]["template"])


@pytest.mark.parametrize(
    "template",
    [the_operator, the_gateway, lambda: pod_template("chat", spec(), IMAGES)],
    ids=["operator", "gateway", "replica with a simulated engine"],
)
def test_it_is_restricted(api: client.ApiClient, enforcing: dict[str, str], template: Any) -> None:
    assert refusal(api, enforcing["restricted"], template()) == ""


def test_a_real_engine_is_baseline_and_its_sidecar_restricted(api: client.ApiClient, enforcing: dict[str, str]) -> None:
    template = pod_template("big", spec(engine={"gpus": 1}), IMAGES)
    assert refusal(api, enforcing["baseline"], template) == ""
    message = refusal(api, enforcing["restricted"], template)
    assert "runAsNonRoot" in message
    assert 'container "router"' not in message


def test_a_pod_template_makes_a_real_engine_restricted(api: client.ApiClient, enforcing: dict[str, str]) -> None:
    template = pod_template("big", spec(engine={"gpus": 1}), IMAGES)
    engine = template["spec"]["containers"][0]
    engine["securityContext"] |= {"runAsNonRoot": True, "runAsUser": 1000}
    assert refusal(api, enforcing["restricted"], template) == ""
