"""What is said of an API server that does not answer: an error without words of its own has a name."""

import asyncio

import aiohttp
import pytest

from forebay.controller.cluster.kubernetes_api import POOL, Cluster, ClusterError

WORDLESS = {TimeoutError(): "TimeoutError", ConnectionResetError(): "ConnectionResetError",
            aiohttp.ServerDisconnectedError(): "Server disconnected"}  # fmt: skip


class Silent(Cluster):
    """Each call ends with one error."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def _send(self, method: str, path: str, **more: object) -> object:
        raise self.error


@pytest.mark.parametrize(("error", "words"), WORDLESS.items(), ids=WORDLESS.values())
def test_an_api_server_that_does_not_answer_is_told_of_in_words(error: Exception, words: str) -> None:
    async def watch() -> None:
        async for _ in Silent(error).watch(POOL, "ml", "0"):
            pass

    for call in (Silent(error).list(POOL), watch()):
        with pytest.raises(ClusterError) as raised:
            asyncio.run(call)
        assert str(raised.value).endswith(f"the API server does not answer: {words}")
