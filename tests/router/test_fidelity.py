"""What reaches the engine is what the client sent, byte for byte, except what must change."""

import asyncio
from pathlib import Path

import uvloop

from tests.router.wire import door, read_answer


def test_a_body_of_a_get_does_not_reach_the_engine_as_a_request_of_its_own(tmp_path: Path) -> None:
    async def work() -> None:
        async with door(tmp_path) as d:
            hidden = b"POST /pause HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"
            for method in ("GET", "HEAD"):
                reader, writer = await d.connect("sidecar")
                head = f"{method} /v1/models HTTP/1.1\r\nhost: x\r\ncontent-length: {len(hidden)}\r\n\r\n"
                writer.write(head.encode() + hidden)
                answer = await asyncio.wait_for(read_answer(reader, method), 10)
                assert answer is not None and answer.status == 200
                writer.close()
            assert d.engine.seen == []  # the table knows the models

    uvloop.run(work())
