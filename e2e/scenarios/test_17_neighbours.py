"""Others who write to the same cluster: GitOps, kubectl scale, autoscalers, people, and a second pool of that name."""

import json
import threading
import time
from typing import Any

import httpx
import yaml

from e2e.cluster.shell import ClusterError
from e2e.demo.setup import kubectl
from e2e.scenarios import own
from e2e.scenarios.helpers import get, until
from e2e.scenarios.own import MANIFEST, NAMESPACE, POOL, Own, long_only
from e2e.scenarios.streams import flowing, none_failed, summary

SCALE = f"/apis/forebay.dev/v1alpha1/namespaces/{NAMESPACE}/localmodelpools/{POOL}/scale"


def versions() -> dict[str, str]:
    """resourceVersion of everything in the fleet that a needless write would move; status has its own rhythm."""
    kinds = "statefulsets,deployments,services,configmaps,serviceaccounts,networkpolicies,poddisruptionbudgets"
    return {f"{o['kind']}/{o['metadata']['name']}": o["metadata"]["generation"]
            if "generation" in o["metadata"] else o["metadata"]["resourceVersion"]
            for o in get(kinds, NAMESPACE, "-l", "app.kubernetes.io/managed-by=forebay")}  # fmt: skip


def test_gitops_that_applies_the_same_objects_again_and_again(held: Own) -> None:
    """As Argo CD or Flux does, with a field manager of its own, each two seconds instead of each minute."""
    held.settle()
    before, pods, began = versions(), own.identities(), time.time()
    generation = own.pool()["metadata"]["generation"]
    with flowing(held.door, at_once=8, tokens=40) as streams:
        for _ in range(8):
            kubectl(
                "apply", "--server-side", "--field-manager=argocd-controller", "--force-conflicts", "-n", NAMESPACE,
                "-f", str(MANIFEST),
            )  # fmt: skip
            time.sleep(2)
    print(f"\napplied 8 times: {summary(streams.answers)}; Events {[event.reason for event in own.told(began)]}")
    none_failed(streams.answers)
    assert versions() == before
    assert own.identities() == pods
    assert own.pool()["metadata"]["generation"] - generation <= 1
    assert own.told(began) == []


def test_kubectl_scale_is_followed_in_manual_and_refused_otherwise(held: Own) -> None:
    held.settle()
    began = time.time()
    held.scale(4)
    held.settle(4)
    own.patch({"scaling": {"mode": "Automatic", "minReplicas": 3, "maxReplicas": 4}})
    try:
        held.scale(2)  # 1 would be no wish: a manifest that leaves replicas out says the same
    except ClusterError as error:
        refusal = str(error)
    else:
        refusal = ""
    own.patch({"scaling": {"mode": "Manual", "minReplicas": 1}})
    held.scale(3)
    held.settle(3)
    print(f"\nkubectl scale in mode Automatic: {refusal.splitlines()[-1]}\nEvents tell of {own.steps(began)}")
    assert "change scaling.minReplicas or scaling.maxReplicas instead, or set scaling.mode: Manual" in refusal
    assert {(3, 4), (4, 3)} <= set(own.steps(began))


@long_only
def test_an_autoscaler_drives_the_scale_subresource(held: Own) -> None:
    """HPA reads status.selector and status.replicas there and PUTs spec.replicas; KEDA makes an HPA do so."""
    held.settle()
    seen: dict[str, Any] = json.loads(kubectl("get", "--raw", SCALE))
    pods = get("pods", NAMESPACE, "-l", seen["status"]["selector"])
    assert (seen["spec"]["replicas"], seen["status"]["replicas"], len(pods)) == (3, 3, 3)
    seen["spec"]["replicas"] = 2
    kubectl("replace", "--raw", SCALE, "-f", "-", stdin=json.dumps(seen))
    held.settle(2)
    until(lambda: json.loads(kubectl("get", "--raw", SCALE))["status"]["replicas"] == 2, "status.replicas", 30)
    held.scale(3)
    held.settle()


@long_only
def test_a_horizontal_pod_autoscaler_scales_the_pool(held: Own) -> None:
    """A real one; this cluster has no metrics, so only its lower bound acts."""
    held.settle()
    manifest = {
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": POOL},
        "spec": {
            "scaleTargetRef": {"apiVersion": "forebay.dev/v1alpha1", "kind": "LocalModelPool", "name": POOL},
            "minReplicas": 4, "maxReplicas": 5,
            "metrics": [{"type": "Resource", "resource": {
                "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}],
        },
    }  # fmt: skip
    kubectl("apply", "-n", NAMESPACE, "-f", "-", stdin=json.dumps(manifest))
    try:
        held.settle(4)
    finally:
        kubectl("delete", "hpa", POOL, "-n", NAMESPACE)
    held.scale(3)
    held.settle()


@long_only
def test_a_second_pool_with_the_same_served_name_shares_its_requests(held: Own) -> None:
    held.settle()
    twin = yaml.safe_load(MANIFEST.read_text())
    twin["metadata"]["name"] = "twin"
    twin["spec"]["replicas"] = 1
    kubectl("apply", "-n", NAMESPACE, "-f", "-", stdin=json.dumps(twin))
    until(lambda: own.ready("twin") == 1, "the twin", 90)
    own.programmed()
    time.sleep(3)
    with flowing(held.door, at_once=28, tokens=40) as streams:
        time.sleep(10)
    kubectl("delete", "localmodelpool", "twin", "-n", NAMESPACE)
    until(lambda: own.ready("twin") == 0, "no twin", 60)
    with flowing(held.door, at_once=8, tokens=20) as afterwards:
        time.sleep(5)
    print(f"\ntwo pools of one name: {summary(streams.answers)}\none again: {summary(afterwards.answers)}")
    none_failed(streams.answers)
    none_failed(afterwards.answers)
    assert {answer.destination for answer in streams.answers} >= {POOL, "twin"}
    assert {answer.destination for answer in afterwards.answers} == {POOL}


def test_a_statefulset_edited_by_hand_is_put_back(held: Own) -> None:
    """Its image, of all things: at most the replica that the StatefulSet controller had begun with is replaced."""
    held.settle()
    before, began = own.identities(), time.time()
    edit = {"spec": {"template": {"spec": {"containers": [{"name": "engine", "image": "example.com/mine:1"}]}}}}
    with flowing(held.door, at_once=10, tokens=40) as streams:
        kubectl("patch", "statefulset", POOL, "-n", NAMESPACE, "--type=strategic", "-p", json.dumps(edit))
        until(lambda: "example.com" not in image(), "the image", 20)
        mended = time.time() - began
        time.sleep(5)
        held.settle()
    after = own.identities()
    replaced = [name for name in before if after[name] != before[name]]
    events = [event.note for event in own.told(began) if event.reason == "DriftCorrected"]
    print(
        f"\nimage changed by hand: put back after {mended:.1f} s, replaced {replaced}; {events}\n"
        f"{summary(streams.answers)}"
    )
    none_failed(streams.answers)
    assert len(replaced) <= 1
    assert any("image was changed by somebody else and put back" in note for note in events)


def image() -> str:
    found = json.loads(kubectl("get", "statefulset", POOL, "-n", NAMESPACE, "-o", "json"))
    return str(found["spec"]["template"]["spec"]["containers"][0]["image"])


def test_deleted_services_come_back_and_requests_go_on(held: Own) -> None:
    """All of a fleet's Services, the headless ones too: gateways keep the replicas they know."""
    held.settle()
    began, gone = time.time(), threading.Event()
    names = sorted(
        s["metadata"]["name"] for s in get("services", NAMESPACE, "-l", "app.kubernetes.io/managed-by=forebay")
    )
    inner = [name for name in names if name != "forebay"]
    with flowing(held.door, at_once=10, tokens=40) as streams:
        time.sleep(2)
        kubectl("delete", "service", "-n", NAMESPACE, *inner, "--wait=false")
        gone.set()
        until(lambda: {s["metadata"]["name"] for s in get("services", NAMESPACE)} >= set(inner), "the Services", 30)
        back = time.time() - began - 2
        time.sleep(5)
    print(f"\ndeleted {', '.join(inner)}: back after {back:.1f} s; {summary(streams.answers)}")
    none_failed(streams.answers)
    kubectl("delete", "service", "forebay", "-n", NAMESPACE)
    until(lambda: bool(address()), "the door", 30)
    held.door = f"http://{address()}"
    until(answers(held.door), "the door serves at its new address", 30)


def address() -> str:
    return kubectl(
        "get", "service", "forebay", "-n", NAMESPACE, "-o", "jsonpath={.spec.clusterIP}", "--ignore-not-found"
    )


def answers(door: str) -> Any:
    def asked() -> bool:
        try:
            return httpx.get(f"{door}/v1/models", timeout=3, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    return asked


@long_only
def test_everything_of_the_fleet_deleted_by_hand_but_the_pool(held: Own) -> None:
    """The StatefulSet and the gateways as well: they come back at the size they had."""
    held.settle()
    before, began = own.control_token(), time.time()
    kubectl("delete", "statefulset", POOL, "-n", NAMESPACE, "--cascade=orphan")
    kubectl("delete", "deployment", "forebay-gateway", "-n", NAMESPACE, "--cascade=orphan")
    kubectl("delete", "secret", "forebay-control-token", "-n", NAMESPACE)
    until(
        lambda: bool(kubectl("get", "statefulset", POOL, "-n", NAMESPACE, "-o", "name", "--ignore-not-found")), "it", 30
    )
    held.settle()
    own.programmed()
    with flowing(held.door, at_once=10, tokens=20) as streams:
        until(lambda: own.control_token() != "", "the token", 90)
        time.sleep(90)  # in which every kubelet has looked
    assert own.control_token() == before
    assert own.condition("MetricsFresh")["status"] == "True"
    print(f"\nput together again after {time.time() - began:.0f} s: {summary(streams.answers)}")
    none_failed(streams.answers)
