"""The requests of the contract: one row each, with the engine that it is for. What they are answered is recorded.

`make test-engine RECORD=1` writes `recorded.json` anew from the real engine.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Final

from forebay.engines.vllm import VLLM
from forebay.rules.endpoints import (
    CHAT,
    COMPLETIONS,
    COUNT_TOKENS,
    DETOKENIZE,
    EMBEDDINGS,
    MESSAGES,
    MODELS,
    RERANK,
    RESPONSES,
    SCORE,
    TOKENIZE,
)
from tests.engine.engines import CONTEXT, ONE

LOAD, UNLOAD = VLLM.adapter_routes.load, VLLM.adapter_routes.unload
GENERATING, PLAIN, POOLING = "generating", "plain", "pooling"
"""Kinds of engine: with all that a pool may ask for, with none of it, and one that embeds."""


@dataclass(frozen=True)
class Case:
    """One request. `body` is JSON, or the bytes themselves. `differs`: why the simulator answers otherwise, on purpose.

    `words`: whether the words of its refusal are held, beside type, code and parameter.
    """

    name: str
    path: str
    body: Any = None
    engine: str = GENERATING
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "application/json"})
    differs: str = ""
    words: bool = True


HELLO: Final = [{"role": "user", "content": "hello there"}]
FIVE: Final = {"max_tokens": 5, "min_tokens": 5, "temperature": 0}
SCHEMA: Final = {
    "type": "object",
    "properties": {"go": {"type": "boolean"}},
    "required": ["go"],
    "additionalProperties": False,
}
FUNCTION: Final = {"name": "steer", "description": "Steers.", "parameters": SCHEMA}
TOOLS: Final = [{"type": "function", "function": FUNCTION}]
NAMED: Final = {"type": "function", "function": {"name": "steer"}}
FORMAT: Final = {"type": "json_schema", "json_schema": {"name": "steer", "schema": SCHEMA, "strict": True}}
USAGE: Final = {"stream": True, "stream_options": {"include_usage": True}}
EVERY: Final = {"stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}
IMAGE: Final = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
LONG: Final = "one two three four five " * CONTEXT
PAIR: Final = {"text_1": "red fox", "text_2": ["fox", "dog"]}
RANKING: Final = {"query": "red fox", "documents": ["fox", "dog"], "top_n": 1}


def chat(name: str, engine: str = GENERATING, **fields: Any) -> Case:
    body = {"model": "tiny", "messages": HELLO, **FIVE, **fields}
    return Case(f"chat {name}", CHAT, {key: value for key, value in body.items() if value is not ...}, engine)


def text(name: str, **fields: Any) -> Case:
    return Case(f"completion {name}", COMPLETIONS, {"model": "tiny", "prompt": "hello there", **FIVE, **fields})


def response(name: str, engine: str = GENERATING, **fields: Any) -> Case:
    body = {"model": "tiny", "input": "hello there", "max_output_tokens": 16, "temperature": 0, **fields}
    return Case(f"response {name}", RESPONSES, body, engine)


def message(name: str, **fields: Any) -> Case:
    body = {"model": "tiny", "messages": HELLO, "max_tokens": 5, "temperature": 0, **fields}
    return Case(f"message {name}", MESSAGES, {key: value for key, value in body.items() if value is not ...})


def post(name: str, path: str, body: Any, engine: str = GENERATING, headers: dict[str, str] | None = None) -> Case:
    return Case(name, path, body, engine, headers={"content-type": "application/json"} if headers is None else headers)


def get(name: str, path: str, engine: str = GENERATING, method: str = "GET") -> Case:
    return Case(name, path, None, engine, method, {})


def but(why: str, *cases: Case) -> tuple[Case, ...]:
    """Those in which the simulator differs."""
    return tuple(replace(case, differs=why) for case in cases)


def in_other_words(*cases: Case) -> tuple[Case, ...]:
    """Those whose words are a list of the validator's, or the model's own."""
    return tuple(replace(case, words=False) for case in cases)


ANSWERS: Final = (
    chat("whole"),
    chat("stream", stream=True),
    chat("stream with usage", **USAGE),
    chat("stream with usage in every chunk", **EVERY),
    chat("of two", n=2, temperature=1, seed=1),
    chat("of two as a stream", n=2, temperature=1, seed=1, **USAGE),
    chat("log probabilities", logprobs=True, top_logprobs=2),
    chat("log probabilities as a stream", logprobs=True, top_logprobs=1, stream=True),
    chat("log probabilities without others", logprobs=True),
    chat("by an adapter", model=ONE),
    chat("parts", messages=[{"role": "user", "content": [{"type": "text", "text": "hello"}]}]),
    chat("system", messages=[{"role": "system", "content": "Be brief."}, *HELLO]),
    chat("no model named", model=...),
    chat("schema", response_format=FORMAT, max_tokens=64, min_tokens=0),
    chat("schema as a stream", response_format=FORMAT, max_tokens=64, min_tokens=0, stream=True),
    *but("it has no tokens", chat("token ids", return_token_ids=True)),
    chat(
        "a larger limit than there is room",
        messages=[{"role": "user", "content": "hello " * 90}],
        max_tokens=CONTEXT,
        min_tokens=0,
    ),
    *but(
        "it calls a tool whenever it may",
        chat("tools that are not called", tools=TOOLS),
        chat("tools that are not called as a stream", tools=TOOLS, stream=True),
    ),
    chat("tools but none", tools=TOOLS, tool_choice="none"),
    *but(
        "a random model seldom ends its call in time",
        chat("a named tool", tools=TOOLS, tool_choice=NAMED, max_tokens=64, min_tokens=0),
        chat("a named tool as a stream", tools=TOOLS, tool_choice=NAMED, max_tokens=64, min_tokens=0, **USAGE),
        chat("a required tool", tools=TOOLS, tool_choice="required", max_tokens=200, min_tokens=0),
        chat("a required tool as a stream", tools=TOOLS, tool_choice="required", max_tokens=200, min_tokens=0, **USAGE),
    ),
    text("whole"),
    text("stream", stream=True),
    text("stream with usage", **USAGE),
    text("stream with usage in every chunk", **EVERY),
    text("of two prompts", prompt=["one", "two"]),
    text("of tokens", prompt=[5, 6, 7]),
    text("of two", n=2, temperature=1, seed=1),
    text("with its prompt", echo=True),
    text("log probabilities", logprobs=2),
    text("log probabilities as a stream", logprobs=1, stream=True),
    response("whole"),
    response("stream", stream=True),
    response("of turns", input=HELLO, instructions="Be brief."),
    response("of no state", store=False),
    message("whole"),
    message("stream", stream=True),
    message("system", system="Be brief."),
    post("tokens of a message", COUNT_TOKENS, {"model": "tiny", "messages": HELLO}),
    post("tokens of a text", TOKENIZE, {"model": "tiny", "prompt": "hello there"}),
    post("tokens of a chat", TOKENIZE, {"model": "tiny", "messages": HELLO}),
    post("text of tokens", DETOKENIZE, {"model": "tiny", "tokens": [5, 6, 7]}),
    get("models", MODELS),
    get("version", "/version"),
    get("health", "/health"),
    get("load", "/load"),
    post("embeddings", EMBEDDINGS, {"model": "tiny", "input": "hello"}, POOLING),
    post("embeddings of two", EMBEDDINGS, {"model": "tiny", "input": ["hello", "there"]}, POOLING),
    post("embeddings of tokens", EMBEDDINGS, {"model": "tiny", "input": [5, 6, 7]}, POOLING),
    post("embeddings packed", EMBEDDINGS, {"model": "tiny", "input": "a", "encoding_format": "base64"}, POOLING),
    post("rerank", RERANK, {"model": "tiny", **RANKING}, POOLING),
    post("score", SCORE, {"model": "tiny", **PAIR}, POOLING),
    get("models that embed", MODELS, POOLING),
)
REFUSALS: Final = (
    chat("unknown model", model="nope"),
    chat("unknown adapter", engine=PLAIN, model=ONE),
    chat("no messages", messages=...),
    chat("empty messages", messages=[]),
    chat("messages that are a text", messages="hello"),
    chat("unknown role", messages=[{"role": "nobody", "content": "hello"}]),
    chat("image", messages=[{"role": "user", "content": [IMAGE]}]),
    chat("negative temperature", temperature=-1),
    chat("top_p of two", top_p=2),
    chat("no choices", n=0),
    chat("limit of none", max_tokens=0, min_tokens=0),
    chat("limit above the context", max_tokens=CONTEXT + 1),
    chat("limit that is a word", max_tokens="many"),
    chat("too long", messages=[{"role": "user", "content": LONG}]),
    chat("too long as a stream", messages=[{"role": "user", "content": LONG}], stream=True),
    chat("log probabilities of too many", logprobs=True, top_logprobs=21),
    chat("log probabilities of none", top_logprobs=2),
    chat("stream options without a stream", stream_options={"include_usage": True}),
    chat("tools", PLAIN, tools=TOOLS),
    chat("tools as a stream", PLAIN, tools=TOOLS, stream=True),
    chat("required tools", PLAIN, tools=TOOLS, tool_choice="required"),
    chat("named tool", PLAIN, tools=TOOLS, tool_choice=NAMED),
    chat("named tool that is not there", tools=TOOLS, tool_choice={"type": "function", "function": {"name": "sink"}}),
    chat("required tools without tools", tool_choice="required"),
    *in_other_words(chat("unknown format", response_format={"type": "poem"})),
    chat("format without its schema", response_format={"type": "json_schema"}),
    text("of nothing", prompt=None),
    text("too long", prompt=LONG),
    text("of exactly the context", prompt=[5] * CONTEXT),
    text("limit above the context", max_tokens=CONTEXT + 1),
    text("unknown model", model="nope"),
    response("in the background", PLAIN, background=True),
    response("after an unknown one", previous_response_id="resp_nope"),
    response("after one that is not kept", PLAIN, previous_response_id="resp_nope"),
    response("too long", input=LONG),
    response("limit above the context", max_output_tokens=CONTEXT + 1),
    response("unknown model", model="nope"),
    get("unknown response", f"{RESPONSES}/resp_nope"),
    get("response where none is kept", f"{RESPONSES}/resp_nope", PLAIN),
    get("cancel an unknown response", f"{RESPONSES}/resp_nope/cancel", method="POST"),
    message("too long", messages=[{"role": "user", "content": LONG}]),
    message("unknown model", model="nope"),
    message("no limit", max_tokens=...),
    message("no messages", messages=...),
    *but("it calls a tool whenever it may", message("tools", tools=[{"name": "steer", "input_schema": SCHEMA}])),
    *in_other_words(post("no JSON", CHAT, b"{nonsense")),
    post("a list", CHAT, b"[]"),
    post("no content type", CHAT, b'{"messages": [{"role": "user", "content": "a"}]}', headers={}),
    post("text", CHAT, b'{"messages": [{"role": "user", "content": "a"}]}', headers={"content-type": "text/plain"}),
    post("embeddings of a model that generates", EMBEDDINGS, {"model": "tiny", "input": "a"}),
    post("rerank by a model that generates", RERANK, {"model": "tiny", **RANKING}),
    post("score by a model that generates", SCORE, {"model": "tiny", **PAIR}),
    get("unknown path", "/v1/nothing"),
    get("wrong method", CHAT),
    post("chat with a model that embeds", CHAT, {"model": "tiny", "messages": HELLO}, POOLING),
    post("completion by a model that embeds", COMPLETIONS, {"model": "tiny", "prompt": "a"}, POOLING),
    post("response of a model that embeds", RESPONSES, {"model": "tiny", "input": "a"}, POOLING),
    post("message of a model that embeds", MESSAGES, {"model": "tiny", "max_tokens": 5, "messages": HELLO}, POOLING),
    post("embeddings too long", EMBEDDINGS, {"model": "tiny", "input": LONG}, POOLING),
    *in_other_words(post("embeddings of nothing", EMBEDDINGS, {"model": "tiny"}, POOLING)),
    post("embeddings by an unknown model", EMBEDDINGS, {"model": "nope", "input": "a"}, POOLING),
    *but(
        "its vectors have any size",
        post("embeddings of other dimensions", EMBEDDINGS, {"model": "tiny", "input": "a", "dimensions": 4}, POOLING),
    ),
    post("tokens of an unknown model", TOKENIZE, {"model": "nope", "prompt": "a"}),
    post("load an adapter that it has", LOAD, {"lora_name": ONE, "lora_path": "/nowhere"}),
    post("load an adapter by the model's name", LOAD, {"lora_name": "tiny", "lora_path": "/nowhere"}),
    post("load an adapter without a name", LOAD, {"lora_name": "", "lora_path": "/nowhere"}),
    post("load an adapter without a path", LOAD, {"lora_name": "third"}),
    post("load an adapter as text", LOAD, b"{}", headers={"content-type": "text/plain"}),
    post("load where nothing may be loaded", LOAD, {"lora_name": "third", "lora_path": "/nowhere"}, PLAIN),
    *but("it reads no files", post("load an adapter from nowhere", LOAD, {"lora_name": "x", "lora_path": "/nowhere"})),
    post("unload an adapter that it has not", UNLOAD, {"lora_name": "third"}),
    post("unload the model", UNLOAD, {"lora_name": "tiny"}),
    post("unload an adapter without a name", UNLOAD, {"lora_name": ""}),
    post("unload nothing", UNLOAD, {}),
    post("unload where nothing may be unloaded", UNLOAD, {"lora_name": ONE}, PLAIN),
    get("wrong method for an adapter", LOAD),
)
CASES: Final = (*ANSWERS, *REFUSALS)
