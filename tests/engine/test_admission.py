"""An engine behind the routers: never more than its slots, nobody waits in it, and it may start late."""

import threading
import time
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import httpx

from forebay.engines.vllm import VLLM
from forebay.rules.endpoints import CHAT
from tests.engine.cases import HELLO
from tests.engine.engines import SLOTS, START_SECONDS, Engine, made
from tests.engine.outline import events
from tests.engine.routed import Routed, cut_stream, routed

CLIENTS: Final = 4 * SLOTS


def ask(router: Routed, tokens: int, **fields: Any) -> httpx.Response:
    asked = {"model": "tiny", "messages": HELLO, "max_tokens": tokens, "min_tokens": tokens, **fields}
    return httpx.post(router.url + CHAT, json=asked, timeout=START_SECONDS, trust_env=False, verify=False)


def test_four_times_the_slots_ask_and_the_engine_never_has_more(generating: Engine, tmp_path: Path) -> None:
    answers: list[httpx.Response] = []
    samples: list[tuple[float, float]] = []
    with routed(generating, tmp_path) as router:
        router.until_serving()
        threads = [
            threading.Thread(target=lambda n=number: answers.append(ask(router, 60 + 5 * n, stream=n % 2 == 0)))
            for number in range(CLIENTS)
        ]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            found = generating.samples()
            names = (VLLM.metrics.running, VLLM.metrics.waiting)
            running, waiting = (sum(v for (name, _), v in found.items() if name == one) for one in names)
            samples.append((running, waiting))
            time.sleep(0.02)
    assert [answer.status_code for answer in answers] == [200] * CLIENTS, [
        answer.text for answer in answers if answer.status_code != 200
    ]
    for answer in answers:
        if "event-stream" in answer.headers["content-type"]:
            found = [document for _, document in events(answer.text)]
            assert (found[-1], found[-2]["choices"][0]["finish_reason"]) == ("[DONE]", "length")
        else:
            assert answer.json()["choices"][0]["finish_reason"] == "length"
    assert max(running for running, _ in samples) == SLOTS
    waited = [waiting > 0 for _, waiting in samples]  # one that has just come may be seen so, once
    assert not any(one and other for one, other in pairwise(waited))


def test_who_asks_while_the_engine_starts_is_served(kind: str, tmp_path: Path) -> None:
    """And when its process is killed, a stream never looks whole; then it comes back, and serves at once."""
    process = made(kind)
    engine = Engine(process)
    with ExitStack() as stack:
        stack.push(process)  # it is ended, and not yet started
        stack.callback(engine.http.close)
        router = stack.enter_context(routed(engine, tmp_path))
        answers: list[httpx.Response] = []
        threads = [threading.Thread(target=lambda: answers.append(ask(router, 5))) for _ in range(2 * SLOTS)]
        for thread in threads:
            thread.start()
        process.start()
        process.wait_ready()
        for thread in threads:
            thread.join()
        assert [answer.status_code for answer in answers] == [200] * 2 * SLOTS
        killed = cut_stream(router, 1000, process.kill)
        assert 'finish_reason":"length' not in killed and not killed.endswith("[DONE]\n\n")
