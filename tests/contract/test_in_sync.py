"""What a tool applies from a repository is in sync then: the three-way merge of Argo CD and kubectl finds nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client

from forebay.resources import names
from testing.merge_patch import merged, three_way_patch

pytestmark = pytest.mark.apiserver
REPO = Path(__file__).resolve().parents[2]
PLURALS = {names.POOL_KIND: names.POOL_PLURAL, names.POLICY_KIND: names.POLICY_PLURAL}
EVERY_FIELD: dict[str, Any] = {
    "apiVersion": names.API_VERSION,
    "kind": names.POLICY_KIND,
    "metadata": {"name": "lists"},
    "spec": {
        "providers": [
            {
                "name": "near",
                "baseURL": "http://near/v1",
                "transport": "HTTP",
                "limits": {"requestsPerMinute": 5},
                "timeouts": {"totalSeconds": 9},
                "models": [{"name": "m", "priceTiers": [{"inputPrice": "1", "outputPrice": "2"}]}, {"name": "n"}],
            }
        ],
        "primary": [{"provider": "near", "model": "m"}],
        "overflow": {"normal": "Queue"},
    },
}
"""Lists in lists, with as little in each as goes."""


def documents() -> Iterator[Any]:
    for path in sorted((REPO / "examples").rglob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if document and document["kind"] in PLURALS:
                name = f"{path.parent.name}/{path.name}: {document['metadata']['name']}"
                yield pytest.param(document, id=name)
    yield pytest.param(EVERY_FIELD, id="lists in lists")


@pytest.mark.parametrize("document", [*documents()])
def test_what_was_applied_shows_no_difference(api: client.ApiClient, namespace: str, document: dict[str, Any]) -> None:
    custom = client.CustomObjectsApi(api)
    place = (names.GROUP, names.VERSION, namespace, PLURALS[document["kind"]])
    wanted = {**document, "metadata": {**document["metadata"], "namespace": namespace}}
    live = custom.create_namespaced_custom_object(*place, wanted)
    patch = three_way_patch(wanted, wanted, live)
    assert patch == {}
    assert merged(live, patch) == live


def test_a_change_in_a_list_is_a_difference_and_its_patch_makes_it_good(api: client.ApiClient, namespace: str) -> None:
    custom = client.CustomObjectsApi(api)
    place = (names.GROUP, names.VERSION, namespace, names.POLICY_PLURAL)
    live = custom.create_namespaced_custom_object(*place, EVERY_FIELD)
    other = {**EVERY_FIELD["spec"]["providers"][0], "limits": {"requestsPerMinute": 6}}
    wanted = {**EVERY_FIELD, "spec": {**EVERY_FIELD["spec"], "providers": [other]}}
    patch = three_way_patch(EVERY_FIELD, wanted, live)
    assert patch == {"spec": {"providers": [other]}}
    changed = custom.patch_namespaced_custom_object(*place, "lists", patch)
    assert three_way_patch(wanted, wanted, changed) == {}
