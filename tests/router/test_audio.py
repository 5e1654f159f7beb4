"""Files that are transcribed: forms at both doors, that stay here and hold up nobody."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from forebay.resources.terms import Task
from testing.fleet import Fleet, Pool, fleet
from tests.router.clouds import clouds
from tests.router.provider import answer
from tests.router.taps import tap

POOLS = {"chat": Pool(slots=8), "ear": Pool(slots=8, task=Task.TRANSCRIBE)}
AUDIO = {"file": ("a.wav", b"RIFF" + b"\r\n--" * 1000, "audio/wav")}
PATHS = pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/v1/audio/translations"])


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    uvloop.run(asyncio.wait_for(work(), 60))


def doors(f: Fleet) -> tuple[str, ...]:
    return f.url(f.gateway), f.url(f.sidecars["ear-0"]), f.url(f.sidecars["chat-0"])


@PATHS
def test_a_file_is_transcribed_whole_or_as_a_stream(tmp_path: Path, path: str) -> None:
    async def work() -> None:
        async with fleet(tmp_path, POOLS, cloud=False) as f:
            seen = tap(f.engines["ear-0"])
            for door in doors(f):
                for model in ("auto", "ear-model") if door != doors(f)[-1] else ("ear-model",):
                    fields = {"model": model, "language": "de", "max_completion_tokens": "5"}
                    whole = await f.http.post(door + path, data=fields, files=AUDIO, headers={"x-api-key": "sk-vip"})
                    assert (whole.status_code, whole.headers["x-forebay-destination"]) == (200, "ear")
                    streamed = await f.http.post(door + path, data={**fields, "stream": "true"}, files=AUDIO)
                    chunks = [json.loads(line[6:]) for line in streamed.text.splitlines() if line.startswith("data: {")]
                    said = "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks)
                    assert said and said.startswith(whole.json()["text"][:5])
            assert {request.headers[b"content-type"][:30] for request in seen} == {b"multipart/form-data; boundary="}
            assert all(b'name="model"\r\n\r\near-model\r\n' in request.body for request in seen)

    run(work)


def test_a_model_that_generates_transcribes_if_it_is_named(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, POOLS, cloud=False) as f:
            url = f.url(f.gateway) + "/v1/audio/transcriptions"
            served = await f.http.post(url, data={"model": "chat-model"}, files=AUDIO)
            assert (served.status_code, served.headers["x-forebay-destination"]) == (200, "chat")
            unknown = await f.http.post(url, data={"model": "nobody"}, files=AUDIO)
            assert (unknown.status_code, unknown.headers["x-forebay-reason"]) == (404, "ModelNotFound")

    run(work)


@PATHS
def test_a_file_never_leaves(tmp_path: Path, path: str) -> None:
    async def work() -> None:
        async with clouds(tmp_path, answer(), model={"task": Task.TRANSCRIBE}) as c:
            refused = await c.fleet.http.post(c.fleet.url(c.fleet.gateway) + path, files=AUDIO)
            assert refused.status_code >= 400
            assert c.acme.asked == c.bravo.asked == []

    run(work)


@pytest.mark.parametrize("body", [b"", b"{}", b"--x\r\n"])
def test_what_is_no_form_is_refused(tmp_path: Path, body: bytes) -> None:
    async def work() -> None:
        async with fleet(tmp_path, POOLS, cloud=False) as f:
            for door in doors(f):
                for kind in ("application/json", "multipart/form-data; boundary=x"):
                    refused = await f.http.post(
                        door + "/v1/audio/transcriptions", content=body, headers={"content-type": kind}
                    )
                    assert (refused.status_code, refused.headers["x-forebay-reason"]) == (400, "InvalidRequest")

    run(work)


def test_a_large_form_holds_up_nobody(tmp_path: Path) -> None:
    """The longest turn of the loop while the gateway reads bytes that are made to be searched slowly."""

    async def work() -> None:
        async with fleet(tmp_path, POOLS, cloud=False) as f:
            large = {"file": ("a.wav", b"\r\n--" * (6 * 1024 * 1024 // 4), "audio/wav")}
            served = await f.http.post(f.url(f.gateway) + "/v1/audio/transcriptions", files=large)
            assert served.status_code == 200
            too_large = {"file": ("a.wav", b"a" * (32 * 1024 * 1024), "audio/wav")}
            refused = await f.http.post(f.url(f.gateway) + "/v1/audio/transcriptions", files=too_large)
            assert refused.status_code == 413

    run(work)
