"""What users say of pods and of the metadata of objects: labels, annotations, and how the gateways of a fleet run."""

from typing import Annotated, Any, ClassVar, Final

from pydantic import AfterValidator, ConfigDict, Field

from forebay.resources import names
from forebay.resources.fields import LIST_ATOMIC, Resource, Rule, list_map

RESERVED_LABELS: Final = (names.LABEL_NAME, names.LABEL_COMPONENT, names.LABEL_MANAGED_BY)
RESERVED_PREFIX: Final = f"{names.GROUP}/"
GATEWAY_VOLUMES: Final = ("table", "token", "clients", "providers", "tmp")
OWN_VARIABLES: Final = ("POD_NAME", "POD_NAMESPACE")
OWN_FOLDER: Final = "/etc/forebay"
FREE: Final[dict[str, Any]] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
"""Schema extras of an object whose fields are Kubernetes' own: the API server checks them when it is used."""

_LABELS_WORDS: Final = (
    f"{', '.join(RESERVED_LABELS)} and {RESERVED_PREFIX}* are labels by which forebay finds its objects: choose others"
)
_ANNOTATIONS_WORDS: Final = f"annotations that begin with {RESERVED_PREFIX} are forebay's own: choose others"
_LABELS_RULE: Final = f"self.all(k, !(k in {list(RESERVED_LABELS)}) && !k.startsWith('{RESERVED_PREFIX}'))"
_ANNOTATIONS_RULE: Final = f"self.all(k, !k.startsWith('{RESERVED_PREFIX}'))"


def _extras(rule: str, message: str) -> dict[str, Any]:
    return {"x-kubernetes-validations": [{"rule": rule, "message": message, "reason": "FieldValueInvalid"}]}


def _no_reserved_label(labels: dict[str, str]) -> dict[str, str]:
    """An object from an API server without the rule gets none of them either; so does the chart's default."""
    if any(key in RESERVED_LABELS or key.startswith(RESERVED_PREFIX) for key in labels):
        raise ValueError(_LABELS_WORDS)
    return labels


def _no_reserved_annotation(annotations: dict[str, str]) -> dict[str, str]:
    if any(key.startswith(RESERVED_PREFIX) for key in annotations):
        raise ValueError(_ANNOTATIONS_WORDS)
    return annotations


LabelValue = Annotated[str, Field(max_length=63)]
AnnotationValue = Annotated[str, Field(max_length=16_384)]
Labels = Annotated[
    dict[str, LabelValue],
    Field(max_length=32, json_schema_extra=_extras(_LABELS_RULE, _LABELS_WORDS)),
    AfterValidator(_no_reserved_label),
]
Annotations = Annotated[
    dict[str, AnnotationValue],
    Field(max_length=32, json_schema_extra=_extras(_ANNOTATIONS_RULE, _ANNOTATIONS_WORDS)),
    AfterValidator(_no_reserved_annotation),
]
Free = Annotated[dict[str, Any], Field(json_schema_extra=FREE)]
FreeList = Annotated[list[Free], Field(max_length=32, json_schema_extra=LIST_ATOMIC)]


class Metadata(Resource):
    """Labels and annotations of the objects that the operator makes for a pool."""

    labels: Labels = {}
    """Labels of the pool's StatefulSet, Services, ServiceAccount and PodDisruptionBudget, besides forebay's own. Pods
    have those of `engine.podTemplate`."""
    annotations: Annotations = {}
    """Annotations of the pool's StatefulSet, Services, ServiceAccount and PodDisruptionBudget, besides forebay's own.
    Pods have those of `engine.podTemplate`."""


class ExtraVolume(Resource):
    """A volume of the gateways' pods beside forebay's own, with any source that Kubernetes has."""

    model_config = ConfigDict(extra="allow")

    name: Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
    """Name of the volume in the gateways' pods."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(f"!(self.name in {list(GATEWAY_VOLUMES)})", "this volume is forebay's own: choose another name"),
    )


class ExtraMount(Resource):
    """Where the gateways' container has a volume."""

    model_config = ConfigDict(extra="allow")

    name: Annotated[str, Field(min_length=1, max_length=63)]
    """Name of the volume that the gateways' container mounts."""
    mount_path: Annotated[str, Field(min_length=1, max_length=1024)]
    """Path within the gateways' container at which the volume is mounted."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            f"self.mountPath != '/tmp' && self.mountPath != '{OWN_FOLDER}'"
            f" && !self.mountPath.startsWith('{OWN_FOLDER}/')",
            f"{OWN_FOLDER} and the folder for temporary files are forebay's own here: choose another mountPath",
        ),
    )


class ExtraVariable(Resource):
    """An environment variable of the gateways' container, with a value or a source."""

    model_config = ConfigDict(extra="allow")

    name: Annotated[str, Field(min_length=1, max_length=253)]
    """Name of the environment variable in the gateways' container."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(f"!(self.name in {list(OWN_VARIABLES)})", "this variable is forebay's own: choose another name"),
    )


class PullSecret(Resource):
    """A Secret that holds the key to an image registry."""

    name: Annotated[str, Field(min_length=1, max_length=253)]
    """Name of the Secret of type kubernetes.io/dockerconfigjson, in the namespace of the pods."""


class GatewaySpec(Resource):
    """How the gateways of a namespace run. What is empty is as the chart's `gateway` says."""

    replicas: Annotated[int, Field(ge=1, le=20)] | None = None
    """Number of gateways. Empty: the chart's, 2 as a rule."""
    labels: Labels | None = None
    """Labels of the gateways' pods, Deployment, Services and ServiceAccount, besides forebay's own."""
    annotations: Annotations | None = None
    """Annotations of the gateways' pods, Deployment, Services and ServiceAccount, besides forebay's own."""
    resources: Free | None = None
    """Requests and limits of the gateways' container, as a container's `resources`."""
    node_selector: Annotated[dict[str, LabelValue], Field(max_length=32)] | None = None
    """Labels that a node must have for the gateways' pods."""
    tolerations: FreeList | None = None
    """Tolerations of the gateways' pods for taints of nodes."""
    affinity: Free | None = None
    """Affinity of the gateways' pods. It is merged with forebay's own, which prefers different nodes."""
    topology_spread_constraints: FreeList | None = None
    """Topology spread constraints of the gateways' pods, whose label is app.kubernetes.io/component: gateway."""
    priority_class_name: Annotated[str, Field(max_length=253)] | None = None
    """PriorityClass of the gateways' pods."""
    image_pull_secrets: Annotated[list[PullSecret], Field(max_length=16, json_schema_extra=list_map("name"))] | None = (
        None
    )
    """Secrets with which the gateways' image is pulled."""
    env: Annotated[list[ExtraVariable], Field(max_length=64, json_schema_extra=list_map("name"))] | None = None
    """Environment variables of the gateways' container, besides forebay's own."""
    volumes: Annotated[list[ExtraVolume], Field(max_length=32, json_schema_extra=list_map("name"))] | None = None
    """Volumes of the gateways' pods, besides forebay's own."""
    volume_mounts: Annotated[list[ExtraMount], Field(max_length=32, json_schema_extra=list_map("mountPath"))] | None = (
        None
    )
    """Mounts of the gateways' container, besides forebay's own."""
    pod_template: Free | None = None
    """Partial PodTemplateSpec of the gateways, merged last and as `engine.podTemplate` of a pool. It says whatever the
    other fields do not."""

    def metadata(self) -> dict[str, dict[str, str]]:
        """Labels and annotations that are said."""
        return _said({"labels": self.labels, "annotations": self.annotations})

    def templates(self) -> tuple[dict[str, Any], ...]:
        """Partial PodTemplateSpecs that say the same, to be merged in this order."""
        said = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        container = _said({field: said.get(field) for field in ("resources", "env", "volumeMounts")})
        pod = _said({field: said.get(field) for field in _OF_THE_POD})
        if container:
            pod["containers"] = [{"name": names.CONTAINER_ROUTER, **container}]
        fields = _said({"metadata": self.metadata(), "spec": pod})
        return tuple(part for part in (fields, self.pod_template) if part)


_OF_THE_POD: Final = (
    "nodeSelector", "tolerations", "affinity", "topologySpreadConstraints", "priorityClassName", "imagePullSecrets",
    "volumes",
)  # fmt: skip


def _said(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}
