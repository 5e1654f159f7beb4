"""Building blocks of the custom resources: bounded strings, money, references, and how CEL rules are attached.

A model's CEL rules live in its `RULES`; the CRD generator writes them as `x-kubernetes-validations`. Keys starting with
`x-kubernetes-` in a field's `json_schema_extra` go into the schema as they are.
"""

from typing import Annotated, Any, ClassVar, Final, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from forebay.resources import names


class Rule(NamedTuple):
    """One CEL rule: what must hold, and the sentence a person reads when it does not."""

    rule: str
    message: str
    reason: str = "FieldValueInvalid"


class Resource(BaseModel):
    """A part of a custom resource: frozen, camelCase outside, unknown fields refused (the API server prunes them)."""

    RULES: ClassVar[tuple[Rule, ...]] = ()
    model_config = ConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, alias_generator=to_camel, use_attribute_docstrings=True
    )


def says(pattern: str, message: str) -> dict[str, Any]:
    """Schema extras of a string: what a person reads beside the pattern that it does not match."""
    rule = "self.matches('" + pattern.replace("\\", "\\\\") + "')"
    return {"x-kubernetes-validations": [{"rule": rule, "message": message, "reason": "FieldValueInvalid"}]}


DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
MODEL_NAME = r"^[A-Za-z0-9][-A-Za-z0-9._/:@+]*$"
MODEL_SOURCE = r"^/?[A-Za-z0-9][-A-Za-z0-9._/:@+]*$"
MONEY = r"^\d{1,9}(\.\d{1,9})?$"
QUANTITY = r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P|m)?$"
Name = Annotated[str, Field(min_length=1, max_length=63, pattern=DNS_LABEL)]
ModelName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=253,
        pattern=MODEL_NAME,
        json_schema_extra=says(
            MODEL_NAME, "a model's name begins with a letter or digit and holds only letters, digits and -._/:@+"
        ),
    ),
]
ModelSource = Annotated[
    str,
    Field(
        min_length=1,
        max_length=253,
        pattern=MODEL_SOURCE,
        json_schema_extra=says(
            MODEL_SOURCE,
            "a model is named by its repository or by an absolute path: letters, digits and -._/:@+, the first one a "
            "letter, digit or /; put what does not fit into model.source",
        ),
    ),
]
"""What an engine loads, and the name that clients use for it unless there are others."""
Text = Annotated[str, Field(min_length=1, max_length=1024)]
Money = Annotated[
    str,
    Field(
        max_length=20,
        pattern=MONEY,
        json_schema_extra=says(MONEY, 'write US dollars as a plain decimal in quotes, such as "1.20"'),
    ),
]
"""A decimal in US dollars, as a string: no floating point in an API that counts money."""

Seconds = Annotated[int, Field(ge=0, le=86_400)]
Quantity = Annotated[
    str,
    Field(
        max_length=32,
        pattern=QUANTITY,
        json_schema_extra=says(QUANTITY, "write a size as Kubernetes does, such as 100Gi"),
    ),
]


def list_map(*keys: str) -> dict[str, Any]:
    """Schema extras of a list that server-side apply merges by `keys`."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


LIST_SET: dict[str, Any] = {"x-kubernetes-list-type": "set"}
LIST_ATOMIC: dict[str, Any] = {"x-kubernetes-list-type": "atomic"}


OWN_SECRETS: Final = (names.CONTROL_TOKEN_SECRET, names.CLIENTS_SECRET)
"""What they hold opens the fleet itself, so that it is sent to nobody."""
RESERVED_WORDS: Final = "this Secret is forebay's own and goes to nobody: name another Secret"


def _of_others(name: str) -> str:
    """An object from before the rule, or from an API server without it, gets none of them either."""
    if name in OWN_SECRETS:
        raise ValueError(f"{name}: {RESERVED_WORDS}")
    return name


SecretName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=253,
        pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
        json_schema_extra={
            "x-kubernetes-validations": [
                {
                    "rule": f"!(self in {list(OWN_SECRETS)})",
                    "message": RESERVED_WORDS,
                    "reason": "FieldValueInvalid",
                }
            ]
        },
    ),
    AfterValidator(_of_others),
]


class SecretKey(Resource):
    """One key of a Secret of the same namespace."""

    name: SecretName
    """Name of a Secret in the same namespace."""
    key: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]
    """Key within the data of the Secret."""


class NameRef(Resource):
    """The name of another object of the same namespace."""

    name: Name
    """Name of the referenced object, in the same namespace."""


class Condition(Resource):
    """One condition, with the fields of metav1.Condition."""

    type: Annotated[str, Field(min_length=1, max_length=316)]
    """Type of the condition, one CamelCase word such as Ready."""
    status: Annotated[str, Field(pattern="^(True|False|Unknown)$", max_length=7)]
    """Status of the condition: True, False or Unknown."""
    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The `metadata.generation` that the condition was set for."""
    last_transition_time: Annotated[str, Field(max_length=40, json_schema_extra={"format": "date-time"})]
    """Time at which the condition last changed from one status to another."""
    reason: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")]
    """Reason for the condition's status, as one CamelCase word."""
    message: Annotated[str, Field(max_length=32768)]
    """Details of the condition's status, in plain sentences for people."""
