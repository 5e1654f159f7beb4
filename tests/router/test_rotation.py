"""The control token changes under load: each router's mount follows when it likes, and no request notices."""

import asyncio
import random
from pathlib import Path

import httpx
import uvloop

from forebay.resources.names import PATH_REPORT, TOKEN_CURRENT_KEY, TOKEN_PREVIOUS_KEY
from forebay.resources.report import decode, token_digest
from forebay.router.ports import Router
from testing.fleet import Fleet, Pool, fleet

STEPS = (("old", ""), ("old", "new"), ("new", "old"), ("new", ""))
"""What lies under `current` and `previous`, as the operator writes it one after the other."""


def mount(router: Router, folder: Path, step: tuple[str, str]) -> None:
    """What the kubelet does with a Secret's new content."""
    folder.mkdir(parents=True, exist_ok=True)
    for key, value in zip((TOKEN_CURRENT_KEY, TOKEN_PREVIOUS_KEY), step, strict=True):
        (folder / key).unlink(missing_ok=True)
        if value:
            (folder / key).write_text(value)
    router.context.token.folder = folder
    router.context.token.reload()


async def control(f: Fleet, router: Router, token: str) -> httpx.Response:
    url = f.url(router, "control") + PATH_REPORT
    return await f.http.get(url, headers={"authorization": f"Bearer {token}"} if token else {})


def test_no_request_notices_and_the_old_token_is_void_afterwards(tmp_path: Path) -> None:
    async def work() -> None:
        pools = {"chat": Pool(slots=4, replicas=3)}
        async with fleet(tmp_path, pools, cloud=False, gateways=2) as f:
            routers = {**f.sidecars, "gateway-0": f.gateway, "gateway-1": f.more_gateways[0]}
            for name, router in routers.items():
                mount(router, tmp_path / "tokens" / name, STEPS[0])
            answers: list[httpx.Response] = []
            over = asyncio.Event()
            clients = [asyncio.create_task(client(f, number, answers, over)) for number in range(6)]
            rng, seen = random.Random(7), []
            for step in STEPS[1:]:
                for name in rng.sample(sorted(routers), len(routers)):
                    mount(routers[name], tmp_path / "tokens" / name, step)
                    await asyncio.sleep(0.05)
                seen.append(len(answers))
            over.set()
            await asyncio.gather(*clients)
            assert [answer.status_code for answer in answers] == [200] * len(answers)
            assert {answer.headers["x-forebay-destination"] for answer in answers} == {"chat"}
            assert seen[0] < seen[1] < seen[2]
            for router in routers.values():
                assert (await control(f, router, "old")).status_code == 401
                report = decode((await control(f, router, "new")).content)
                assert report.tokens == (token_digest(b"new"),)

    uvloop.run(work())


async def client(f: Fleet, number: int, answers: list[httpx.Response], over: asyncio.Event) -> None:
    doors = (f.url(f.gateway), f.url(f.more_gateways[0]), f.url(f.sidecars["chat-0"]))
    while not over.is_set():
        answers.append(await f.ask(5, base=doors[number % len(doors)], model="chat-model"))


def test_the_control_port_refuses_without_the_token(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool()}, cloud=False) as f:
            for name, router in {**f.sidecars, "gateway-0": f.gateway}.items():
                mount(router, tmp_path / "tokens" / name, ("right", ""))
                for wrong in ("", "wrong", "righ", "right2", "Bearer right"):
                    refused = await control(f, router, wrong)
                    assert refused.status_code == 401
                    assert "right" not in refused.text
                url = f.url(router, "control") + "/v1/chat/completions"
                assert (await f.http.post(url, json={"model": "auto", "messages": []})).status_code == 401
                assert (await control(f, router, "right")).status_code == 200

    uvloop.run(work())
