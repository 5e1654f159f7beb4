"""Reranking and scores: by pools of that task, by embedding models that are named, and by providers that say so."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from forebay.resources.terms import Api, Task
from testing.fleet import Pool, fleet
from tests.router.clouds import clouds
from tests.router.provider import answer

RERANK = {"query": "the red fox", "documents": ["a red fox", "one dog", {"text": "the red fox"}], "top_n": 2}
SCORE = {"text_1": "red fox", "text_2": ["fox", "dog"]}
POOLS = {"chat": Pool(), "rank": Pool(task=Task.SCORE), "vec": Pool(task=Task.EMBED)}


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    uvloop.run(asyncio.wait_for(work(), 60))


@pytest.mark.parametrize("path", ["/v1/rerank", "/rerank", "/v2/rerank", "/v1/score", "/score"])
def test_pools_of_the_task_serve_and_others_by_name(tmp_path: Path, path: str) -> None:
    async def work() -> None:
        async with fleet(tmp_path, POOLS, cloud=False) as f:
            body = RERANK if "rerank" in path else SCORE
            places = {"auto": "rank", "rank-model": "rank", "vec-model": "vec"}
            for model, pool in places.items():
                served = await f.http.post(f.url(f.gateway) + path, json={**body, "model": model})
                assert (served.status_code, served.headers["x-forebay-destination"]) == (200, pool)
                document = served.json()
                if body is RERANK:
                    assert [found["index"] for found in document["results"]] == [2, 0]
                else:
                    assert [found["score"] for found in document["data"]] == [0.5, 0.0]
            refused = await f.http.post(f.url(f.gateway) + path, json={**body, "model": "chat-model"})
            assert (refused.status_code, refused.headers["x-forebay-reason"]) == (404, "ModelNotFound")
            for pool in ("rank", "vec"):
                served = await f.http.post(f.url(f.sidecars[f"{pool}-0"]) + path, json=body)
                assert (served.status_code, served.headers["x-forebay-destination"]) == (200, pool)

    run(work)


def test_a_score_pool_serves_nothing_else(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, POOLS, cloud=False) as f:
            for path, body in (("/v1/embeddings", {"input": "x"}), ("/v1/completions", {"prompt": "x"})):
                refused = await f.http.post(f.url(f.gateway) + path, json={**body, "model": "rank-model"})
                assert (refused.status_code, refused.headers["x-forebay-reason"]) == (404, "ModelNotFound")
            counted = await f.http.post(f.url(f.gateway) + "/tokenize", json={"prompt": "x", "model": "rank-model"})
            assert counted.status_code == 200

    run(work)


@pytest.mark.parametrize("path", ["/v1/rerank", "/rerank", "/v2/rerank"])
def test_a_provider_that_speaks_it_may_rerank(tmp_path: Path, path: str) -> None:
    async def work() -> None:
        model = {"apis": (Api.RERANK,), "task": Task.SCORE}
        async with clouds(tmp_path, answer(200, {"id": "r", "results": []}), model=model) as c:
            url = c.fleet.url(c.fleet.gateway)
            served = await c.fleet.http.post(url + path, json=RERANK)
            assert (served.status_code, served.headers["x-forebay-destination"]) == (200, "acme/big")
            assert (c.acme.asked[0].path, c.acme.documents[0]["documents"]) == ("/v1/rerank", RERANK["documents"])
            refused = await c.fleet.http.post(url + "/v1/score", json=SCORE)
            assert refused.headers["x-forebay-destination"] == "none"

    run(work)
