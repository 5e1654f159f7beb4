"""A client that leaves while its answer comes: what it was sent is written down."""

import asyncio
import json
from pathlib import Path

import pytest
import uvloop

from testing.fleet import Pool, fleet


@pytest.mark.parametrize("began", [True, False])
def test_the_line_of_a_stream_whose_client_left_says_when_its_first_token_came(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], began: bool
) -> None:
    async def story() -> None:
        async with asyncio.timeout(60), fleet(tmp_path, {"chat": Pool()}, gateway={"access_log": True}) as f:
            engine = f.engines["chat-0"]
            engine.faults.dead_gpu = not began
            body = {
                "model": "auto",
                "messages": [{"role": "user", "content": "hi"}],
                "stream": True,
                "max_tokens": 9000,
            }
            asking = f.http.stream("POST", f.url(f.gateway) + "/v1/chat/completions", json={**body, "min_tokens": 9000})
            if began:
                async with asking as answer:
                    async for _ in answer.aiter_lines():
                        break
            else:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.5), asking:
                        pass
            await f.until(lambda: f.side("chat-0").admission.requests == 0)

    uvloop.run(story())
    line = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert ("first_token_ms" in line) == began
