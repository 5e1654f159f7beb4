"""What a stream is made of, what ends an answer, and what may be asked of it: the same at both engines."""

import json
import threading
from typing import Any, Final

import pytest

from forebay.engines.vllm import VLLM
from forebay.rules.endpoints import CHAT, COMPLETIONS, MESSAGES, RESPONSES
from tests.engine.cases import FORMAT, HELLO, NAMED, SCHEMA, TOOLS
from tests.engine.engines import ONE, TWO, Engine, newer
from tests.engine.outline import events

TWENTY: Final = {"max_tokens": 20, "min_tokens": 20, "temperature": 0}


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "tiny", "messages": HELLO, **TWENTY, **fields}


def chunks(engine: Engine, path: str = CHAT, **fields: Any) -> list[Any]:
    """Data of a stream's events."""
    return [document for _, document in events(engine.post(path, {**chat(stream=True), **fields}).text)]


def text_of(found: list[Any]) -> str:
    choices = [chunk["choices"] for chunk in found if chunk != "[DONE]"]
    return "".join(one["delta"].get("content") or "" for choice in choices for one in choice)


def test_a_stream_says_what_the_whole_answer_says(generating: Engine) -> None:
    whole = generating.post(CHAT, chat()).json()
    found = chunks(generating)
    assert found[-1] == "[DONE]"
    assert found[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert text_of(found) == whole["choices"][0]["message"]["content"]
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in found[:-1]]
    assert reasons == [*[None] * (len(reasons) - 1), whole["choices"][0]["finish_reason"]]


def test_usage_comes_in_a_last_chunk_without_choices(generating: Engine) -> None:
    whole = generating.post(CHAT, chat()).json()["usage"]
    *_, last, end = chunks(generating, stream_options={"include_usage": True})
    assert (end, last["choices"], last["usage"]["completion_tokens"]) == ("[DONE]", [], 20)
    assert last["usage"]["prompt_tokens"] == whole["prompt_tokens"]
    assert not any("usage" in chunk for chunk in chunks(generating)[:-1])


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_usage_in_every_chunk_counts_up(generating: Engine, path: str) -> None:
    more = {"stream_options": {"include_usage": True, "continuous_usage_stats": True}, "prompt": "hello there"}
    if path == COMPLETIONS:
        more["messages"] = None
    counted = [chunk["usage"]["completion_tokens"] for chunk in chunks(generating, path, **more)[:-1]]
    assert counted == sorted(counted)
    assert (counted[0] <= 1, counted[-1]) == (True, 20)


def test_a_stop_ends_the_answer_before_it(generating: Engine) -> None:
    text = generating.post(CHAT, chat()).json()["choices"][0]["message"]["content"]
    stop = text[len(text) // 2 :][:2]
    for stream in (False, True):
        asked = chat(stop=["\x00never", stop], min_tokens=0, stream=stream, stream_options=None)
        answer = generating.post(CHAT, asked)
        if stream:
            found = [document for _, document in events(answer.text)]
            choice, said = found[-2]["choices"][0], text_of(found)
        else:
            choice = answer.json()["choices"][0]
            said = choice["message"]["content"]
        assert (choice["finish_reason"], choice["stop_reason"], said) == ("stop", stop, text[: text.find(stop)])


def test_a_stop_sequence_of_a_message_is_named(generating: Engine, kind: str) -> None:
    newer(kind, f"has no {MESSAGES}")
    asked = {"model": "tiny", "messages": HELLO, "max_tokens": 20, "temperature": 0}
    text = generating.post(MESSAGES, asked).json()["content"][0]["text"]
    stop = text[len(text) // 2 :][:2]
    message = generating.post(MESSAGES, {**asked, "stop_sequences": [stop]}).json()
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", stop)
    assert message["content"][0]["text"] == text[: text.find(stop)]


@pytest.mark.parametrize("choice", ["required", NAMED], ids=["required", "named"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_tool_is_called_with_what_its_schema_asks_for(generating: Engine, choice: Any, stream: bool) -> None:
    if generating.real:
        pytest.skip("a random model seldom ends its call in time")
    asked = chat(tools=TOOLS, tool_choice=choice, max_tokens=200, min_tokens=0, stream=stream)
    answer = generating.post(CHAT, asked)
    if stream:
        deltas = [c for _, document in events(answer.text)[:-1] for c in document["choices"]]
        parts = [call for c in deltas for call in c["delta"].get("tool_calls") or []]
        name = "".join(part["function"].get("name") or "" for part in parts)
        arguments = "".join(part["function"].get("arguments") or "" for part in parts)
        finish = deltas[-1]["finish_reason"]
    else:
        (found,) = answer.json()["choices"]
        (call,) = found["message"]["tool_calls"]
        name, arguments, finish = call["function"]["name"], call["function"]["arguments"], found["finish_reason"]
    assert (name, type(json.loads(arguments)["go"])) == ("steer", bool)
    assert finish == ("stop" if choice is NAMED else "tool_calls")


def test_an_answer_is_json_of_the_schema(generating: Engine) -> None:
    more = {"response_format": FORMAT, "max_tokens": 200, "min_tokens": 0, "temperature": 1}
    for seed in range(20):  # a random model may write white space until its limit
        (choice,) = generating.post(CHAT, chat(**more, seed=seed)).json()["choices"]
        if choice["finish_reason"] == "stop":
            break
    document = json.loads(choice["message"]["content"])
    assert list(document) == list(SCHEMA["properties"])
    assert isinstance(document["go"], bool)


def test_every_token_has_its_log_probability(generating: Engine) -> None:
    answer = generating.post(CHAT, chat(logprobs=True, top_logprobs=2)).json()
    content = answer["choices"][0]["logprobs"]["content"]
    assert len(content) == answer["usage"]["completion_tokens"] == 20
    assert all(len(token["top_logprobs"]) == 2 and token["logprob"] <= 0 for token in content)


def test_choices_are_numbered(generating: Engine) -> None:
    answer = generating.post(CHAT, chat(n=3, temperature=1, seed=1)).json()
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert answer["usage"]["completion_tokens"] == 60
    found = chunks(generating, n=3, temperature=1, seed=1)
    assert {chunk["choices"][0]["index"] for chunk in found[:-1]} == {0, 1, 2}


def test_a_list_of_prompts_has_a_choice_for_each(generating: Engine) -> None:
    asked = {"model": "tiny", "prompt": ["one", "two"], "n": 2, "temperature": 1, "seed": 1, "max_tokens": 3}
    answer = generating.post(COMPLETIONS, asked).json()
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_an_id_is_made_of_the_requests(generating: Engine, kind: str, path: str) -> None:
    """And of requests that have the same one at a time, all are served."""
    newer(kind, "refuses a second request with an id that runs: sidecars give each its own")
    asked, answers = {"model": "tiny", "prompt": "a", "messages": HELLO, **TWENTY}, []
    if path == COMPLETIONS:
        del asked["messages"]

    def ask() -> None:
        answers.append(generating.post(path, asked, headers={"x-request-id": "given"}))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} == {200}
    prefix = "chatcmpl-" if path == CHAT else "cmpl-"
    assert {answer.json()["id"] for answer in answers} == {f"{prefix}given"}


def test_an_adapter_is_a_model_with_a_parent(generating: Engine) -> None:
    listed = generating.http.get(VLLM.ready_path).json()["data"]
    assert [(model["id"], model["parent"]) for model in listed] == [("tiny", None), (ONE, "tiny"), (TWO, "tiny")]
    for name in ("tiny", ONE, TWO):
        assert generating.post(CHAT, chat(model=name)).json()["model"] == name


def test_adapters_run_in_one_batch(generating: Engine) -> None:
    """With --max-loras: nobody waits for the other's turn."""
    long = {"max_tokens": 900, "min_tokens": 900, "ignore_eos": True}
    thread = threading.Thread(target=lambda: generating.post(CHAT, chat(model=ONE, **long)))
    thread.start()
    generating.until(VLLM.metrics.running, 1)
    assert generating.post(CHAT, chat(model=TWO)).status_code == 200
    assert generating.metric(VLLM.metrics.running) == 1
    thread.join()


def test_a_response_goes_on_from_one_that_is_kept(generating: Engine, kind: str) -> None:
    newer(kind, "breaks a streamed response off")
    asked = {"model": "tiny", "input": "hello", "max_output_tokens": 16}
    whole = generating.post(RESPONSES, asked).json()["id"]
    streamed = events(generating.post(RESPONSES, {**asked, "stream": True}).text)[-1][1]["response"]["id"]
    for previous in (whole, streamed):
        again = generating.post(RESPONSES, {**asked, "previous_response_id": previous})
        assert (again.status_code, again.json()["previous_response_id"]) == (200, previous)
        assert generating.http.get(f"{RESPONSES}/{previous}").json()["id"] == previous
    assert generating.post(f"{RESPONSES}/{whole}/cancel").status_code == 400
    assert generating.http.delete(f"{RESPONSES}/{whole}").status_code == (405 if generating.real else 200)


def test_a_responses_events_are_numbered(generating: Engine, kind: str) -> None:
    newer(kind, "breaks a streamed response off")
    asked = {"model": "tiny", "input": "hello", "max_output_tokens": 16, "stream": True}
    found = events(generating.post(RESPONSES, asked).text)
    assert [document["sequence_number"] for _, document in found] == list(range(len(found)))
    assert all(name == document["type"] for name, document in found)
    assert (found[0][0], found[-1][0]) == ("response.created", "response.completed")


def test_a_limit_above_the_room_is_cut(generating: Engine, kind: str) -> None:
    newer(kind, "refuses it")
    tokens = 1000
    answer = generating.post(COMPLETIONS, {"model": "tiny", "prompt": [5] * tokens, "max_tokens": 500, "min_tokens": 0,
                                           "ignore_eos": True}).json()  # fmt: skip
    usage, choice = answer["usage"], answer["choices"][0]
    assert (usage["prompt_tokens"], usage["completion_tokens"], choice["finish_reason"]) == (tokens, 24, "length")


def test_without_a_limit_an_answer_may_fill_the_context(generating: Engine) -> None:
    asked = {"model": "tiny", "messages": HELLO, "ignore_eos": True, "temperature": 0}
    usage = generating.post(CHAT, asked).json()["usage"]
    assert usage["total_tokens"] == 1024
