"""The cache: the newest version wins, in whatever order things arrive."""

from forebay.controller.cluster.kubernetes_api import POD, Object
from forebay.controller.cluster.object_cache import MOST_DEPARTED, ObjectCache
from forebay.controller.observe.pods import Pod
from forebay.resources import names


def pod(name: str, revision: int, **more: str) -> Object:
    metadata = {"name": name, "namespace": "team", "resourceVersion": str(revision), "managedFields": [1], **more}
    return {"kind": "Pod", "apiVersion": "v1", "metadata": metadata}


def revision(cache: ObjectCache, name: str) -> str | None:
    found = cache.get("Pod", "team", name)
    return found["metadata"]["resourceVersion"] if found else None


def test_an_older_version_never_replaces_a_newer_one() -> None:
    cache = ObjectCache()
    assert cache.put(pod("a", 5))
    assert not cache.put(pod("a", 4))
    assert not cache.put(pod("a", 5))
    assert cache.put(pod("a", 10))
    assert revision(cache, "a") == "10"


def test_a_deleted_object_does_not_come_back_by_a_late_event() -> None:
    cache = ObjectCache()
    cache.put(pod("a", 5))
    assert cache.remove(pod("a", 7))
    assert not cache.put(pod("a", 6))
    assert cache.put(pod("a", 8))


def test_the_end_of_an_older_object_does_not_remove_its_successor() -> None:
    cache = ObjectCache()
    cache.put(pod("a", 9))
    assert not cache.remove(pod("a", 7))
    assert revision(cache, "a") == "9"


def test_a_full_list_removes_what_it_does_not_name_unless_that_is_newer() -> None:
    cache = ObjectCache()
    for name, at in (("kept", 1), ("gone", 2), ("newer", 30)):
        cache.put(pod(name, at))
    assert cache.keep(POD, {("team", "kept")}, "20") == {"team"}
    assert [obj["metadata"]["name"] for obj in cache.of("Pod")] == ["kept", "newer"]


def test_an_unchanged_list_changes_no_namespace() -> None:
    cache = ObjectCache()
    cache.put(pod("a", 1))
    assert cache.keep(POD, {("team", "a")}, "20") == set()
    assert cache.knows(POD, ("team", "a"), 1) and not cache.knows(POD, ("team", "a"), 2)


def test_managed_fields_are_not_kept() -> None:
    cache = ObjectCache()
    cache.put(pod("a", 1))
    found = cache.get("Pod", "team", "a")
    assert found is not None
    assert "managedFields" not in found["metadata"]


def test_of_a_pod_only_what_is_read_is_kept() -> None:
    cache = ObjectCache()
    spec = {"containers": [{}], "nodeName": "n"}
    cache.put({**pod("a", 1), "spec": spec, "status": {"phase": "Running", "qosClass": "Burstable"}})
    found = cache.get("Pod", "team", "a")
    assert found is not None
    assert found["spec"] == {"nodeName": "n"}
    assert found["status"] == {"phase": "Running"}


def test_who_looks_at_an_object_gets_a_copy_of_his_own() -> None:
    cache = ObjectCache()
    cache.put(pod("a", 1))
    for found in (cache.get("Pod", "team", "a"), *cache.of("Pod")):
        assert found is not None
        found["metadata"]["name"] = "changed"
    assert [obj["metadata"]["name"] for obj in cache.of("Pod", "team")] == ["a"]
    assert (cache.namespaces("Pod"), cache.any(POD, "team"), cache.any(POD, "other")) == ({"team"}, True, False)


def test_changes_are_counted_by_namespace() -> None:
    cache = ObjectCache()
    counts = [cache.changes("team")]
    for change in (lambda: cache.put(pod("a", 5)), lambda: cache.put(pod("a", 5)), lambda: cache.remove(pod("a", 6))):
        change()
        counts.append(cache.changes("team"))
    assert counts == [0, 1, 1, 2]
    assert cache.changes("other") == 0


def gateway(name: str, at: int, words: str = "") -> Object:
    status = {"containerStatuses": [{"name": "router", "state": {"terminated": {"message": words}}}]} if words else {}
    found = pod(name, at, uid=name)
    found["metadata"]["labels"] = {names.LABEL_COMPONENT: names.COMPONENT_GATEWAY}
    return {**found, "status": status}


def test_of_a_gateway_that_was_deleted_its_last_words_are_left() -> None:
    """By the watch with its last status, or by a list that names it no more; no pass has to come in between."""
    cache = ObjectCache()
    for name in ("told", "listed"):
        cache.put(gateway(name, 1))
    cache.put(gateway("listed", 2, "heard before"))
    cache.remove(gateway("told", 3, "with its end"))
    cache.keep(POD, set(), "20")
    assert [Pod.of(obj).last_words for obj in cache.departed("team")] == ["with its end", "heard before"]
    assert list(cache.departed("other")) == []


def test_of_other_pods_and_of_long_ago_nothing_is_left() -> None:
    cache = ObjectCache()
    cache.put(pod("chat-0", 1))
    cache.remove(pod("chat-0", 2))
    for at in range(MOST_DEPARTED + 3):
        cache.put(gateway(f"gateway-{at}", 10 + 2 * at))
        cache.remove(gateway(f"gateway-{at}", 11 + 2 * at))
    left = [obj["metadata"]["name"] for obj in cache.departed("team")]
    assert left == [f"gateway-{at}" for at in range(3, MOST_DEPARTED + 3)]
