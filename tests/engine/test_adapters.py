"""What forebay relies on when it loads and unloads adapters of an engine that serves."""

import json
import threading

from testing.real_engine import ADAPTERS
from tests.engine.cases import HELLO, LOAD, UNLOAD
from tests.engine.engines import ONE, TWO, Engine

NAME = "third"


def load(engine: Engine, folder: str) -> None:
    answer = engine.post(LOAD, {"lora_name": NAME, "lora_path": str(ADAPTERS[folder])})
    assert (answer.status_code, answer.text) == (200, f"Success: LoRA adapter '{NAME}' added successfully.")


def unload(engine: Engine) -> None:
    answer = engine.post(UNLOAD, {"lora_name": NAME})
    assert (answer.status_code, answer.text) == (200, f"Success: LoRA adapter '{NAME}' removed successfully.")


def listed(engine: Engine) -> dict[str, tuple[str, str]]:
    return {model["id"]: (model["root"], model["parent"]) for model in engine.http.get("/v1/models").json()["data"]}


def ask(engine: Engine, model: str, tokens: int = 5) -> str:
    body = {"model": model, "messages": HELLO, "max_tokens": tokens, "min_tokens": tokens, "temperature": 0}
    answer = engine.post("/v1/chat/completions", body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["message"]["content"])


def test_an_adapter_is_listed_with_where_it_came_from_while_it_is_loaded(generating: Engine) -> None:
    load(generating, ONE)
    assert listed(generating)[NAME] == (str(ADAPTERS[ONE]), "tiny")
    first = ask(generating, NAME)
    unload(generating)
    assert NAME not in listed(generating)
    load(generating, TWO)
    assert listed(generating)[NAME] == (str(ADAPTERS[TWO]), "tiny")
    if generating.real:
        assert (first, ask(generating, NAME)) == (ask(generating, ONE), ask(generating, TWO))
    unload(generating)


def test_what_runs_ends_with_the_weights_that_it_began_with(generating: Engine) -> None:
    """So that another source need not wait until nothing uses the one before."""
    load(generating, ONE)
    whole = ask(generating, NAME, 300)
    body = {"model": NAME, "messages": HELLO, "max_tokens": 300, "min_tokens": 300, "temperature": 0, "stream": True}
    begun, text = threading.Event(), []

    def stream() -> None:
        with generating.http.stream("POST", "/v1/chat/completions", json=body) as answer:
            for line in answer.iter_lines():
                begun.set()
                if line.startswith("data: {"):
                    text.append(json.loads(line[6:])["choices"][0]["delta"].get("content") or "")

    running = threading.Thread(target=stream)
    running.start()
    assert begun.wait(60)
    unload(generating)
    load(generating, TWO)
    assert running.is_alive(), "it was over before the other one came"
    running.join()
    assert "".join(text) == whole
    unload(generating)
