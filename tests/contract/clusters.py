"""Which cluster the suite runs on, from the environment: `make contract-matrix` sets both variables.

FOREBAY_KUBERNETES: `newest`, or `oldest` that the chart allows. FOREBAY_ADMISSION: `default`, or `openshift`: who
changes owners needs the rights for it, and pods have users of their namespace's range, or none.
"""

import os
from typing import Any, Final

from kubernetes import client

from forebay.resources import names

OLDEST: Final = os.environ.get("FOREBAY_KUBERNETES", "newest") == "oldest"
OPENSHIFT: Final = os.environ.get("FOREBAY_ADMISSION", "default") == "openshift"
PLUGINS: Final = ("OwnerReferencesPermissionEnforcement",) if OPENSHIFT else ()

UID_RANGE: Final = "openshift.io/sa.scc.uid-range"
FIRST_USER: Final = 1_000_680_000
RANGE: Final = {UID_RANGE: f"{FIRST_USER}/10000"}
"""Annotation of a namespace as OpenShift makes it."""
_PARTS: Final = ("object.spec.containers", "object.spec.?initContainers.orValue([])")


def _in_range(field: str, of: str) -> str:
    """CEL: a number of a security context that is absent or in the range."""
    number = f"{of}.?securityContext.?{field}.orValue(variables.first)"
    return f"{number} >= variables.first && {number} < variables.first + variables.size"


def _validations() -> list[dict[str, str]]:
    said = [(f"pod {field}", _in_range(field, "object.spec")) for field in ("runAsUser", "fsGroup")]
    said += [(f"{part}[].runAsUser", f"{part}.all(c, {_in_range('runAsUser', 'c')})") for part in _PARTS]
    return [
        {"expression": f"!variables.ranged || ({rule})", "message": f"{what}: must be in the range of the namespace"}
        for what, rule in said
    ]


SCC: Final[dict[str, Any]] = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "ValidatingAdmissionPolicy",
    "metadata": {"name": "restricted-v2"},
    "spec": {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "resourceRules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
            ]
        },
        "variables": [
            {"name": "ranged", "expression": f"namespaceObject.metadata.?annotations[?'{UID_RANGE}'].hasValue()"},
            {"name": "range", "expression": f"namespaceObject.metadata.annotations['{UID_RANGE}'].split('/')"},
            {"name": "first", "expression": "int(variables.range[0])"},
            {"name": "size", "expression": "int(variables.range[1])"},
        ],
        "validations": _validations(),
    },
}
"""OpenShift's restricted-v2 as far as it refuses: users and groups outside of the namespace's range."""
_BINDING: Final[dict[str, Any]] = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "ValidatingAdmissionPolicyBinding",
    "metadata": {"name": "restricted-v2"},
    "spec": {"policyName": "restricted-v2", "validationActions": ["Deny"]},
}


def restrict(api: client.ApiClient) -> None:
    """Bring the policy into force. Namespaces without a range are left alone."""
    admission = client.AdmissionregistrationV1Api(api)
    admission.create_validating_admission_policy(SCC)
    admission.create_validating_admission_policy_binding(_BINDING)


def namespace_annotations() -> dict[str, str]:
    """What the suite's namespaces carry."""
    return dict(RANGE) if OPENSHIFT else {}


def forget_fleets(api: client.ApiClient, *namespaces: str) -> None:
    """Delete pools and policies, of all namespaces if none is named: nobody ends namespaces without controllers, and
    an operator of the whole cluster would work on the fleets of earlier tests as well."""
    custom = client.CustomObjectsApi(api)
    for plural in (names.POOL_PLURAL, names.POLICY_PLURAL):
        items = custom.list_cluster_custom_object(names.GROUP, names.VERSION, plural)["items"]
        for namespace in namespaces or {item["metadata"]["namespace"] for item in items}:
            custom.delete_collection_namespaced_custom_object(names.GROUP, names.VERSION, namespace, plural)
