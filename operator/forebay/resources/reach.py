"""How a provider is reached beyond its URL, as a policy says it: headers, query, certificates, proxy.

Whoever may read a policy sees all of it, so nothing here may be a secret: secrets are named, as keys of Secrets. What
looks like one in plain text is refused.
"""

import re
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from forebay.resources.fields import LIST_ATOMIC, Name, NameRef, Resource, Rule, SecretKey, says

HEADER_NAME = r"^[A-Za-z][-_A-Za-z0-9]*$"
QUERY_NAME = r"^[A-Za-z$][-_.A-Za-z0-9]*$"
PLAIN_TEXT = r"^[!-~]([ -~]*[!-~])?$"
SCHEME = r"^([A-Za-z][-A-Za-z0-9]*)?$"
TAKEN = (
    r"(?i)^(connection|keep-alive|proxy-.*|te|trailer|transfer-encoding|upgrade|http2-settings|host|expect|accept"
    r"|accept-encoding|content-.*|user-agent|traceparent|tracestate|x-forebay-.*)$"
)
"""Headers that frame a message, hold for one hop, or are forebay's to set."""
CREDENTIAL = r"(?i)auth|cookie|token|secret|passw|credential|signature|session|jwt|bearer|key|cert|csrf|^sig$|^code$"
"""Names under which credentials travel. One name too many does no harm: its value goes into a Secret then."""
CREDENTIAL_VALUE = r"(?i)^(bearer|basic|digest|token) |^(sk|pk|rk|ghp|xox[a-z])[-_]|^eyj[a-z0-9]"
"""Values that are credentials whatever the name is."""
TAKEN_WORDS = "this header frames the message or is forebay's to set: choose another header, or remove it"


def _plain(text: str) -> str:
    return text.replace("\\", "\\\\")


def _own(name: str) -> str:
    """A policy from before the rule, or from an API server without it, sends no such header either."""
    if re.search(TAKEN, name):
        raise ValueError(f"{name}: {TAKEN_WORDS}")
    return name


def _header_rules() -> dict[str, Any]:
    shape = says(HEADER_NAME, "a header's name begins with a letter and holds only letters, digits, - and _")
    taken = {"rule": f"!self.matches('{_plain(TAKEN)}')", "message": TAKEN_WORDS, "reason": "FieldValueInvalid"}
    return {"x-kubernetes-validations": [*shape["x-kubernetes-validations"], taken]}


HeaderName = Annotated[
    str,
    Field(min_length=1, max_length=64, pattern=HEADER_NAME, json_schema_extra=_header_rules()),
    AfterValidator(_own),
]
Scheme = Annotated[str, Field(max_length=32, pattern=SCHEME)]
_PLAIN_WORDS = says(PLAIN_TEXT, "only printable ASCII is sent, without a space at either end")


class Header(Resource):
    """One header of every request to a provider."""

    name: HeaderName
    """Name of the header, whatever its case."""
    value: Annotated[
        str, Field(min_length=1, max_length=1024, pattern=PLAIN_TEXT, json_schema_extra=_PLAIN_WORDS)
    ] | None = None  # fmt: skip
    """Value of the header in plain text. Whoever may read the policy sees it, so it must be no credential."""
    value_secret_ref: SecretKey | None = None
    """Secret key that holds the value of the header. Only gateways mount it."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.value) != has(self.valueSecretRef)",
            "set exactly one of value and valueSecretRef",
        ),
        Rule(
            f"!has(self.value) || !(self.name.matches('{_plain(CREDENTIAL)}')"
            f" || self.value.matches('{_plain(CREDENTIAL_VALUE)}'))",
            "this header looks like a credential, and whoever may read the policy would see its value: put it into a"
            " Secret and name that in valueSecretRef, or in apiKeySecretRef if it is the API key",
        ),
    )


class QueryParameter(Resource):
    """One parameter in the query of every request to a provider."""

    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=64,
            pattern=QUERY_NAME,
            json_schema_extra=says(
                QUERY_NAME, "a parameter's name holds only letters, digits and - _ . such as api-version"
            ),
        ),
    ]
    """Name of the query parameter, for example `api-version`."""
    value: Annotated[str, Field(min_length=1, max_length=256, pattern=PLAIN_TEXT, json_schema_extra=_PLAIN_WORDS)]
    """Value of the query parameter; it is encoded where a URL needs that."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            f"!(self.name.matches('{_plain(CREDENTIAL)}') || self.value.matches('{_plain(CREDENTIAL_VALUE)}'))",
            "this parameter looks like a credential, which does not belong into a URL: name its Secret in"
            " apiKeySecretRef, and the header that the provider takes it in in apiKeyHeader",
        ),
    )


class ConfigMapKey(Resource):
    """One key of a ConfigMap of the same namespace."""

    name: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
    """Name of a ConfigMap in the same namespace."""
    key: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]
    """Key within the data of the ConfigMap."""


class Tls(Resource):
    """Which certificates a provider and the gateways show each other."""

    ca_config_map_ref: ConfigMapKey | None = None
    """ConfigMap key that holds the provider's authorities as PEM. They take the place of those that the system trusts.
    """
    ca_secret_ref: SecretKey | None = None
    """Secret key that holds the provider's authorities as PEM, instead of a ConfigMap."""
    client_certificate_secret_ref: NameRef | None = None
    """Secret of type kubernetes.io/tls whose certificate gateways show to the provider. Only gateways mount it."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!(has(self.caConfigMapRef) && has(self.caSecretRef))",
            "set only one of caConfigMapRef and caSecretRef",
        ),
        Rule(
            "has(self.caConfigMapRef) || has(self.caSecretRef) || has(self.clientCertificateSecretRef)",
            "tls is empty: set caConfigMapRef, caSecretRef or clientCertificateSecretRef, or remove tls",
        ),
    )


Headers = Annotated[list[Header], Field(min_length=1, max_length=16, json_schema_extra=LIST_ATOMIC)]
Query = Annotated[list[QueryParameter], Field(min_length=1, max_length=8, json_schema_extra=LIST_ATOMIC)]
Proxy = Name

PROVIDER_RULES: tuple[Rule, ...] = (
    Rule(
        "has(self.apiKeySecretRef) || !(has(self.apiKeyHeader) || has(self.apiKeyPrefix))",
        "apiKeyHeader and apiKeyPrefix say how the key is sent, and there is none: set apiKeySecretRef, or remove them",
    ),
    Rule(
        "!has(self.headers) || self.headers.all(h,"
        " self.headers.exists_one(o, o.name.lowerAscii() == h.name.lowerAscii()))",
        "headers names a header twice: case does not tell them apart",
    ),
    Rule(
        "!has(self.headers) || !has(self.apiKeySecretRef) || !self.headers.exists(h, h.name.lowerAscii() =="
        " (has(self.apiKeyHeader) ? self.apiKeyHeader.lowerAscii() : 'authorization'))",
        "headers sets the header that carries the API key: remove it there, or set apiKeyHeader",
    ),
    Rule(
        "!has(self.query) || self.query.all(q, self.query.exists_one(o, o.name == q.name))",
        "query names a parameter twice",
    ),
    Rule(
        "!(has(self.tls) || has(self.proxy)) || self.baseURL.startsWith('https://')",
        "tls and proxy are for a baseURL that starts with https://: change it, or remove them",
    ),
)
"""What must hold between these fields of a provider."""
