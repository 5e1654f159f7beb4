"""What lets somebody in is told by its name, whoever invented it."""

import pytest

from forebay.router.http.credential_names import is_credential, is_credential_header, without_credentials
from forebay.router.http.message import INTERNAL, REPLACED, USUAL

SECRET = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "cookie2",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "apikey",
    "x-apikey",
    "api_key",
    "x_api_key",
    "key",
    "access_token",
    "x-access-token",
    "x-auth-token",
    "x-auth-request-access-token",
    "x-forwarded-access-token",
    "private-token",
    "x-amz-security-token",
    "x-amzn-oidc-accesstoken",
    "x-amzn-oidc-data",
    "x-amzn-oidc-identity",
    "x-goog-iap-jwt-assertion",
    "cf-access-jwt-assertion",
    "cf-access-client-secret",
    "ocp-apim-subscription-key",
    "x-functions-key",
    "x-ms-token-aad-id-token",
    "x-portkey-api-key",
    "x-litellm-api-key",
    "helicone-auth",
    "x-vault-token",
    "x-gitlab-token",
    "x-csrf-token",
    "x-session-token",
    "client_secret",
    "x-client-secret",
    "x-password",
    "x-secret-key",
    "x-amz-signature",
    "x-amz-credential",
    "sig",
    "id_token",
    "X-API-KEY",
    "x-jwt",
    "x-jwt-payload",
    "x-authentication",
    "x-hub-signature",
    "access-key",
    "accesskey",
    "secretkey",
    "aws-secret-access-key",
]
PLAIN = [
    "content-type",
    "accept",
    "user-agent",
    "idempotency-key",
    "x-request-id",
    "traceparent",
    "tracestate",
    "baggage",
    "anthropic-version",
    "anthropic-beta",
    "openai-beta",
    "openai-organization",
    "x-stainless-retry-count",
    "x-stainless-lang",
    "api-version",
    "a",
    "x-mine",
    "x-max-tokens",
    "tokens",
    "monkey",
    "x-author",
    "x-authority",
    "keyboard",
    "x-keyspace",
    "model",
    "beta",
    "x-data-parallel-rank",
    "priority",
    "x-session-id",
    "x-signal",
    "design",
    "x-forwarded-for",
]


@pytest.mark.parametrize("name", SECRET)
def test_a_name_that_lets_somebody_in_is_known(name: str) -> None:
    assert is_credential(name)
    assert is_credential(name.upper())


@pytest.mark.parametrize("name", PLAIN)
def test_other_names_go_on(name: str) -> None:
    assert not is_credential(name)


def test_what_is_not_judged_each_time_goes_on() -> None:
    assert not [name for name in USUAL if is_credential_header(name) or name[:9] in INTERNAL or name in REPLACED]


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ("", ""),
        ("beta=true", "beta=true"),
        ("key=a", ""),
        ("a=%2F&key=s&b", "a=%2F&b"),
        ("%6bey=s&a=1", "a=1"),
        ("api%2Dkey=s&&a=1&access_token=t", "&a=1"),
        ("api-version=2024-10-21&API-KEY=s", "api-version=2024-10-21"),
    ],
)
def test_a_query_loses_such_parameters_alone(query: str, left: str) -> None:
    assert without_credentials(query) == left
