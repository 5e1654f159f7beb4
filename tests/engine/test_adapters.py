"""What forebay relies on when it loads and unloads adapters of an engine that serves."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from testing.real_engine import ADAPTERS
from tests.engine.cases import HELLO, LOAD, UNLOAD
from tests.engine.engines import ONE, TWO, Engine
from tests.engine.routed import Routed, routed

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


def until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


def status(router: Routed, model: str) -> int:
    body = {"model": model, "messages": HELLO, "max_tokens": 5}
    return httpx.post(f"{router.url}/v1/chat/completions", json=body, timeout=120, trust_env=False).status_code


def test_a_sidecar_keeps_its_engine_as_the_table_says(generating: Engine, tmp_path: Path) -> None:
    kept = {name: listed(generating)[name][0] for name in (ONE, TWO)}
    file, names = tmp_path / "table.json", ["tiny", ONE, TWO, NAME]

    def adapters(**more: str) -> list[dict[str, str]]:
        return [{"name": name, "source": source} for name, source in {**kept, **more}.items()]

    def write(wanted: list[dict[str, str]]) -> None:
        table = json.loads(file.read_text())
        table["generation"] += 1
        table["pools"][0]["adapters"] = wanted
        (tmp_path / "new").write_text(json.dumps(table))
        (tmp_path / "new").replace(file)

    first, second, nowhere = str(ADAPTERS[ONE]), str(ADAPTERS[TWO]), "/nowhere"
    with routed(generating, tmp_path, servedNames=names, adapters=adapters(third=first)) as router:
        router.until_serving()
        assert listed(generating)[NAME] == (first, "tiny"), "it serves once each was loaded"
        until(lambda: status(router, NAME) == 200)
        write(adapters(third=second))
        until(lambda: listed(generating).get(NAME) == (second, "tiny"))
        assert status(router, NAME) == 200
        write(adapters())
        until(lambda: NAME not in listed(generating))
        assert [status(router, name) for name in (NAME, ONE, "tiny")] == [404, 200, 200]
        if generating.real:  # the simulator reads no files
            write(adapters(third=nowhere))
            until(
                lambda: any("No adapter found for /nowhere" in said["problem"] for said in router.report()["adapters"])
            )
            assert [status(router, name) for name in (NAME, ONE, "tiny")] == [404, 200, 200]
    assert {name: listed(generating)[name][0] for name in (ONE, TWO)} == kept
