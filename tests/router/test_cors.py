"""Pages of the origins that a gateway is told may use it from a browser; by default none may."""

from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
import uvloop

from forebay.resources.options import GatewayOptions
from testing.fleet import Fleet, Pool, fleet

PAGE = "https://chat.example.com"
PREFLIGHT = {
    "origin": PAGE,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,x-stainless-lang",
}


async def ask(f: Fleet, method: str, headers: Mapping[str, str], model: str = "chat-model") -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "x"}], "max_tokens": 1}
    url = f.url(f.gateway) + "/v1/chat/completions"
    return await f.http.request(method, url, headers=headers, json=body if method == "POST" else None)


def cross_origin(answer: httpx.Response) -> dict[str, str]:
    found = {name: value for name, value in answer.headers.items() if name.startswith("access-control")}
    assert not found or "origin" in answer.headers["vary"], "no cache may give it to another page"
    return found


@pytest.mark.parametrize(
    ("origins", "origin", "may"),
    [
        ((), PAGE, False),
        ((PAGE,), PAGE, True),
        (("http://a", PAGE), PAGE, True),
        (("*",), PAGE, True),
        ((PAGE,), "https://evil.example.com", False),
        ((PAGE,), "http://chat.example.com", False),
        ((PAGE,), f"{PAGE}:8443", False),
        ((PAGE,), "null", False),
        ((PAGE,), None, False),
    ],
)
def test_a_page_may_where_its_origin_is_named(
    origins: tuple[str, ...], origin: str | None, may: bool, tmp_path: Path
) -> None:
    async def work() -> None:
        options = {"gateway": GatewayOptions(cors_origins=origins)}
        async with fleet(tmp_path, {"chat": Pool()}, cloud=False, gateway=options) as f:
            said = {name: value for name, value in (PREFLIGHT | {"origin": origin}).items() if value is not None}
            preflight = await ask(f, "OPTIONS", said)
            assert preflight.status_code == (204 if may else 404)
            allowed = {"access-control-allow-origin": origin, "access-control-expose-headers": "*"}
            asked = PREFLIGHT["access-control-request-headers"]
            own = {"access-control-allow-methods": "GET, POST, DELETE", "access-control-allow-headers": asked}
            assert cross_origin(preflight) == ({**allowed, **own, "access-control-max-age": "600"} if may else {})
            said = {"origin": origin} if origin else {}
            for model, status in (("chat-model", 200), ("nobody", 404)):
                answer = await ask(f, "POST", said, model)
                assert answer.status_code == status, "whoever asks is answered: browsers keep it from the page"
                assert cross_origin(answer) == (allowed if may else {})
            assert (await ask(f, "OPTIONS", {"origin": PAGE})).status_code == 404, "no preflight"

    uvloop.run(work())
