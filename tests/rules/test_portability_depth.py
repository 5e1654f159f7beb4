"""What leaves of a body's inside: made fit where that is safe, else it stays. OpenAI's API is the measure."""

import copy
import json
import re
from typing import Any

import pytest
from msgspec.structs import replace

from forebay.resources.table import ModelEntry
from forebay.resources.terms import Api, Modality, Task
from forebay.rules.api_shapes import SHAPES
from forebay.rules.body_shapes import MOST_STEPS, portable_id
from forebay.rules.credentials import is_credential, is_public
from forebay.rules.depths import Depths
from forebay.rules.endpoints import CHAT, COMPLETIONS, EMBEDDINGS, ENDPOINTS, MESSAGES, RERANK, RESPONSES
from forebay.rules.facts import RequestFacts
from forebay.rules.portability import foreign_fields, obstacles, outgoing, spoken

PLAIN = ModelEntry(name="big", inputs=(Modality.TEXT, Modality.IMAGE, Modality.AUDIO))
ASKED = {"role": "user", "content": "hi"}
LONG = "chatcmpl-tool-0123456789abcdef0123456789abcdef"  # 46 characters, as vLLM makes them
ODD = "functions.get_weather:0"


def blocked(document: dict[str, Any], path: str = CHAT, model: ModelEntry = PLAIN) -> set[str]:
    facts = RequestFacts(path=path, fields=spoken(path, document), depths=Depths(path, document))
    return {text.removeprefix("field ") for text in obstacles(facts, model)}


def sent(document: dict[str, Any], path: str = CHAT, model: ModelEntry = PLAIN) -> dict[str, Any]:
    """The body that leaves; it must be free to, and the client's document must stay as it was."""
    before = copy.deepcopy(document)
    assert blocked(document, path, model) == set()
    body = outgoing(path, document, model)
    assert document == before
    return body


def call(name: str = "f", given: str = "call_1", **more: Any) -> dict[str, Any]:
    return {"id": given, "type": "function", "function": {"name": name, "arguments": "{}"}, **more}


def message(**members: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": "yes", **members}


FITS: dict[str, tuple[dict[str, Any], dict[str, Any] | None]] = {
    "vLLM's thoughts": (message(reasoning="hm"), message()),
    "DeepSeek's thoughts": (message(reasoning_content="hm"), message()),
    "OpenRouter's thoughts": (message(reasoning_details=[{"type": "reasoning.text", "text": "hm"}]), message()),
    "LiteLLM's thoughts": (message(thinking_blocks=[{"thinking": "hm", "signature": "x"}]), message()),
    "Anthropic's thoughts": (
        message(content=[{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "yes"}]),
        message(content=[{"type": "text", "text": "yes"}]),
    ),
    "nothing but thoughts": (message(content=None, reasoning="hm"), None),
    "no calls": (message(tool_calls=[]), message()),
    "calls that are null": (message(tool_calls=None, function_call=None, refusal=None, audio=None), message()),
    "what answers bring along": (message(annotations=[], provider_specific_fields={"a": 1}, invented=1), message()),
    "calls beside no text": (
        message(content=None, tool_calls=[call()]), {"role": "assistant", "content": None, "tool_calls": [call()]},
    ),
    "calls beside thoughts in parts": (
        message(content=[{"type": "thinking", "thinking": "x"}], tool_calls=[call()]),
        {"role": "assistant", "content": None, "tool_calls": [call()]},
    ),
    "places of calls, and arguments that are parsed": (
        message(tool_calls=[{**call(index=0), "function": {"name": "f", "arguments": {"a": 1}, "parsed": 1}}]),
        message(tool_calls=[{**call(), "function": {"name": "f", "arguments": '{"a":1}'}}]),
    ),
    "a call without a type": (
        message(tool_calls=[{"id": "call_1", "function": {"name": "f", "arguments": "{}"}}]),
        message(tool_calls=[call()]),
    ),
    "a result's name, and nothing in it": (
        {"role": "tool", "tool_call_id": "call_1", "name": "f", "content": None},
        {"role": "tool", "tool_call_id": "call_1", "content": ""},
    ),
    "marks for a cache": (
        {"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]},
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
    ),
    "parts without a type": (
        {"role": "user", "content": ["hi", {"text": "ho"}, {"image_url": "https://example.com/a.png"}]},
        {"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "text", "text": "ho"},
                                     {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]},
    ),
    "what a client keeps beside its messages": (
        {**ASKED, "id": "m1", "timestamp": 1, "metadata": {"a": 1}, "name": None, "empty": []}, ASKED,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("given", "fits"), FITS.values(), ids=FITS.keys())
def test_a_message_is_made_fit(given: dict[str, Any], fits: dict[str, Any] | None) -> None:
    body = sent({"messages": [ASKED, given, ASKED]})
    assert body["messages"] == [ASKED, *([] if fits is None else [fits]), ASKED]


@pytest.mark.parametrize("given", [LONG, ODD, "ü", "a b", "x" * 41])
def test_an_id_that_some_api_refuses_is_another_one_in_the_call_and_in_its_result(given: str) -> None:
    chat = [message(content=None, tool_calls=[call(given=given), call(given="call_2")]),
            {"role": "tool", "tool_call_id": given, "content": "1"},
            {"role": "tool", "tool_call_id": "call_2", "content": "2"}]  # fmt: skip
    said = sent({"messages": chat})["messages"]
    new = said[0]["tool_calls"][0]["id"]
    assert re.fullmatch("[A-Za-z0-9]{9}", new)  # Mistral's form, which is the narrowest
    assert [said[1]["tool_call_id"], said[2]["tool_call_id"]] == [new, "call_2"]
    items = [{"type": "function_call", "call_id": given, "name": "f", "arguments": "{}", "id": "fc_1", "status": "x"},
             {"type": "function_call_output", "call_id": given, "output": "1", "id": "fco_1"}]  # fmt: skip
    assert sent({"input": items}, RESPONSES)["input"] == [
        {"type": "function_call", "call_id": new, "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": new, "output": "1"},
    ]
    keeping = replace(PLAIN, accept_fields=("messages.tool_calls.id",))
    assert sent({"messages": chat}, model=keeping)["messages"][1]["tool_call_id"] == given


def test_an_id_is_the_same_in_every_turn_and_good_ones_stay() -> None:
    assert portable_id(LONG) == portable_id(LONG) != portable_id(LONG + "0")
    assert [portable_id(good) for good in ("call_1", "toolu_01-A", "x" * 40, "abc123DEF")] == [
        "call_1", "toolu_01-A", "x" * 40, "abc123DEF",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "given", "leaves"),
    [
        (CHAT, {"stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}},
         {"stream": True, "stream_options": {"include_usage": True}}),
        (CHAT, {"stream_options": {"include_usage": True}}, {}),
        (CHAT, {"tools": [], "tool_choice": "auto", "parallel_tool_calls": True}, {}),
        (CHAT, {"tools": [{"type": "function", "function": {"name": "f", "strict": None, "parameters": None}}]},
         {"tools": [{"type": "function", "function": {"name": "f"}}]}),
        (CHAT, {"response_format": {"type": "json_object", "json_schema": None}},
         {"response_format": {"type": "json_object"}}),
        (CHAT, {"logit_bias": {}, "functions": []}, {}),
        (RESPONSES, {"stream": True, "stream_options": {"include_usage": True}},
         {"stream": True, "stream_options": {}}),
        (RESPONSES, {"store": False}, {}),
    ],
)  # fmt: skip
def test_a_field_is_made_fit(path: str, given: dict[str, Any], leaves: dict[str, Any]) -> None:
    asked = {"messages": [ASKED]} if path == CHAT else {"input": "hi"}
    body = sent({**asked, **given}, path)
    assert {key: body[key] for key in body if key not in ("model", "store", *asked)} == leaves


def test_items_of_a_response_lose_what_another_backend_made_of_them() -> None:
    items = [
        {"role": "user", "content": "hi"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}],
         "encrypted_content": None},
        {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
         "content": [{"type": "output_text", "text": "yes", "annotations": [], "logprobs": None}]},
    ]  # fmt: skip
    assert sent({"input": items}, RESPONSES)["input"] == [
        {"type": "message", "role": "user", "content": "hi"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "yes"}]},
    ]


def mcp(**members: Any) -> dict[str, Any]:
    return {"type": "mcp", "server_label": "a", "server_url": "https://mcp.example.com/sse", **members}


def function(**parameters: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "parameters": parameters}}


def image(url: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]}


STAYS: dict[str, tuple[str, dict[str, Any], str]] = {
    "ids of tokens": (COMPLETIONS, {"prompt": [15339, 1917]}, "prompt.token_ids"),
    "lists of ids": (COMPLETIONS, {"prompt": [[15339, 1917]]}, "prompt.token_ids"),
    "ids to embed": (EMBEDDINGS, {"input": [[1, 2], [3]]}, "input.token_ids"),
    "ids to answer": (RESPONSES, {"input": [1, 2]}, "input.token_ids"),
    "a bias by token": (CHAT, {"logit_bias": {"50256": -100}}, "logit_bias"),
    "a tool server in the cluster": (
        RESPONSES,
        {"tools": [mcp(server_url="http://mcp.tools.svc/sse")]},
        "tools.mcp.server_url",
    ),
    "… over https": (
        RESPONSES,
        {"tools": [mcp(server_url="https://mcp.tools.svc.cluster.local")]},
        "tools.mcp.server_url",
    ),
    "… by its short name": (RESPONSES, {"tools": [mcp(server_url="https://mcp/sse")]}, "tools.mcp.server_url"),
    "… by its address": (RESPONSES, {"tools": [mcp(server_url="https://10.0.0.8/sse")]}, "tools.mcp.server_url"),
    "… with a password": (
        RESPONSES,
        {"tools": [mcp(server_url="https://u:p@mcp.example.com")]},
        "tools.mcp.server_url",
    ),
    "… with a key in its address": (
        RESPONSES,
        {"tools": [mcp(server_url="https://mcp.example.com/sse?api_key=secret")]},
        "tools.mcp.server_url",
    ),
    "a tool server's token": (RESPONSES, {"tools": [mcp(authorization="secret")]}, "tools.mcp.authorization"),
    "a tool server's headers": (RESPONSES, {"tools": [mcp(headers={"X-Key": "secret"})]}, "tools.mcp.headers"),
    "a connector": (
        RESPONSES,
        {"tools": [{"type": "mcp", "server_label": "a", "connector_id": "c"}]},
        "tools.mcp.connector_id",
    ),
    "tool servers in chat": (CHAT, {"tools": [mcp(authorization="secret")]}, "tools.mcp"),
    "files of another backend": (
        RESPONSES,
        {"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]},
        "tools.file_search",
    ),
    "a stored response": (RESPONSES, {"store": True}, "store"),
    "a stored chat": (CHAT, {"messages": [ASKED], "store": True}, "store"),
    "a stored item": (RESPONSES, {"input": [{"type": "item_reference", "id": "msg_1"}]}, "content.item_reference"),
    "a stored file": (
        RESPONSES,
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
        "content.input_file",
    ),
    "a stored image": (
        RESPONSES,
        {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
        "input.content.file_id",
    ),
    "encrypted thoughts": (
        RESPONSES,
        {"input": [{"type": "reasoning", "encrypted_content": "gAAA"}]},
        "reasoning.encrypted_content",
    ),
    "a search of another backend": (
        RESPONSES,
        {"input": [{"type": "web_search_call", "id": "ws_1"}]},
        "input.web_search_call",
    ),
    "sound that another backend keeps": (CHAT, {"messages": [message(audio={"id": "audio_1"})]}, "messages.audio"),
    "an answer to be gone on with": (CHAT, {"messages": [message(prefix=True)]}, "messages.prefix"),
    "an image that only we see": (CHAT, image("https://minio.media.svc/a.png"), "content.image_url"),
    "an image with a password": (CHAT, image("https://u:p@example.com/a.png"), "content.image_url"),
    "an image of a tool": (
        CHAT,
        {
            "messages": [
                {
                    "role": "tool",
                    "tool_call_id": "a",
                    "content": [{"type": "image_url", "image_url": {"url": "data:,"}}],
                }
            ]
        },
        "content.image_url",
    ),
    "a part of a new kind": (CHAT, {"messages": [{"role": "user", "content": [{"type": "smell"}]}]}, "content.smell"),
    "a role that only a template knows": (CHAT, {"messages": [{"role": "ipython", "content": "1"}]}, "messages.role"),
    "a member that says something": (CHAT, {"messages": [{**ASKED, "mood": "sad"}]}, "messages.mood"),
    "a call without an id": (
        CHAT,
        {"messages": [message(tool_calls=[{"function": {"name": "f", "arguments": ""}}])]},
        "messages.tool_calls.id",
    ),
    "vLLM's own format": (
        CHAT,
        {"response_format": {"type": "structural_tag", "structures": []}},
        "response_format.structural_tag",
    ),
    "a schema beside the format": (
        CHAT,
        {"response_format": {"type": "json_object", "schema": {"a": 1}}},
        "response_format.schema",
    ),
    "a key in a schema's default": (
        CHAT,
        {"tools": [function(default={"api_key": "secret"})]},
        "tools.function.parameters.default.api_key",
    ),
    "a password deep in a field": (
        CHAT,
        {"web_search_options": {"a": [{"b": {"Password": "secret"}}]}},
        "web_search_options.a.b.Password",
    ),
    "the value of an argument that is a password": (
        CHAT,
        {"tools": [function(properties={"password": {"type": "string", "default": "secret"}})]},
        "tools.function.parameters.properties.password",
    ),
    "a token under any name": (
        CHAT,
        {"tools": [function(properties={"x": {"default": "Bearer sk-0123456789abcdef"}})]},
        "tools.function.parameters.properties.x.default",
    ),
    "a token where a schema names its arguments": (
        CHAT,
        {"tools": [function(properties={"token": "secret"})]},
        "tools.function.parameters.properties.token",
    ),
    "headers with a key": (CHAT, {"prediction": {"headers": {"X-Api-Key": "secret"}}}, "prediction.headers.X-Api-Key"),
    "more than is looked at": (CHAT, {"messages": [ASKED] * MOST_STEPS}, "size"),
}


@pytest.mark.parametrize(("path", "given", "name"), STAYS.values(), ids=STAYS.keys())
def test_what_cannot_be_made_fit_stays_and_is_named_by_its_path(path: str, given: dict[str, Any], name: str) -> None:
    bodies: dict[str, dict[str, Any]] = {CHAT: {"messages": [ASKED]}, RESPONSES: {"input": "hi"}}
    document = {**bodies.get(path, {}), **given}
    assert name in blocked(document, path)
    said = RequestFacts(path=path, fields=spoken(path, document), depths=Depths(path, document))
    assert name in foreign_fields(said) or name in spoken(path, document)


@pytest.mark.parametrize(
    ("name", "left"),
    [("content.image_url", []), ("tools.mcp", None), ("tools", None), ("prediction.headers.X-Api-Key", None)],
)
def test_the_entry_may_leave_a_path_out(name: str, left: Any) -> None:
    path = RESPONSES if name == "tools.mcp" else CHAT
    model = replace(PLAIN, drop_fields=(name,))
    documents: dict[str, dict[str, Any]] = {
        "content.image_url": image("https://a.svc/a.png"),
        "tools.mcp": {"input": "hi", "tools": [mcp(authorization="secret")]},
        "tools": {"messages": [ASKED], "tools": [mcp(authorization="secret")]},
        "prediction.headers.X-Api-Key": {"messages": [ASKED], "prediction": {"headers": {"X-Api-Key": "secret"}}},
    }
    document = documents[name]
    body = sent(document, path, model)
    assert "secret" not in json.dumps(body)
    assert "svc" not in json.dumps(body)


def test_the_entry_may_keep_a_path_and_credentials_stay_even_then() -> None:
    thinking = {"messages": [message(reasoning_content="hm")]}
    keeps = replace(PLAIN, accept_fields=("messages.reasoning_content",))
    assert sent(thinking, model=keeps)["messages"] == thinking["messages"]
    told = {"messages": [message(reasoning_details={"api_key": "secret"})]}
    assert "secret" not in json.dumps(sent(told, model=replace(PLAIN, accept_fields=("messages.reasoning_details",))))
    server: dict[str, Any] = {"input": "hi", "tools": [mcp(headers={"X-Api-Key": "secret"})]}
    named = "tools.mcp.headers"
    assert blocked(server, RESPONSES, replace(PLAIN, accept_fields=(named,))) == {f"{named}.X-Api-Key"}
    both = replace(PLAIN, accept_fields=(named, f"{named}.X-Api-Key"))
    assert sent(server, RESPONSES, both)["tools"] == server["tools"]


@pytest.mark.parametrize(
    ("key", "is_one"),
    [
        *((key, True) for key in ("authorization", "Authorization", "X-API-Key", "apiKey", "api_key", "access_token",
                                  "accessToken", "client_secret", "password", "DB_PASSWORD", "private_key", "cookie",
                                  "aws_secret_access_key", "credentials", "token", "Proxy-Authorization", "id_token")),
        *((key, False) for key in ("max_tokens", "eos_token", "tokens", "key", "name", "author", "format", "passage",
                                   "secretary", "stop_token")),
    ],
)  # fmt: skip
def test_what_counts_as_a_credential(key: str, is_one: bool) -> None:
    assert is_credential(key) is is_one


@pytest.mark.parametrize(
    ("url", "public"),
    [
        ("https://example.com/a", True), ("https://8.8.8.8/a", True), ("https://example.com:8443/a?b=c@d", True),
        ("http://example.com/a", False), ("https://localhost/a", False), ("https://a.b.svc:443", False),
        ("https://a.internal", False), ("https://[::1]/a", False), ("https://169.254.169.254/", False),
        ("https://u@example.com", False), ("https://", False), ("https://[", False), (7, False), ("file:///a", False),
        ("https://0x7f.1", False), ("https://a.b.svc.", False), ("https://example.com/sse?exaApiKey=x", False),
        ("https://example.com/?a=1&access_token=x", False), ("https://example.com/?token=&page=2", True),
        ("https://example.com/a.png?X-Amz-Credential=x&X-Amz-Security-Token=y&X-Amz-Signature=z", True),
    ],
)  # fmt: skip
def test_what_anybody_may_read(url: Any, public: bool) -> None:
    assert is_public(url) is public


# Anthropic's API, and reranking.

PICTURE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aa"}}
SPOKEN = ModelEntry(name="big", inputs=tuple(Modality), apis=tuple(Api))
RANKS = ModelEntry(name="big", task=Task.SCORE, apis=tuple(Api))


def use(given: str = "toolu_1") -> dict[str, Any]:
    return {"type": "tool_use", "id": given, "name": "f", "input": {"a": 1}}


def result(given: str = "toolu_1", content: Any = "rain") -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": given, "content": content}


def turn(*blocks: Any, role: str = "user", **more: Any) -> dict[str, Any]:
    return {"role": role, "content": list(blocks), **more}


TURNS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a text": (ASKED, ASKED),
    "what a cache is told": (
        turn({"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}),
        turn({"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}),
    ),
    "an answer that is put back whole": (
        turn({"type": "text", "text": "yes", "citations": None, "index": 0}, role="assistant", id="msg_1",
             type="message", model="chat", stop_reason="end_turn", stop_sequence=None, usage={"input_tokens": 1}),
        turn({"type": "text", "text": "yes"}, role="assistant"),
    ),
    "ids that other engines make": (
        turn({**use(ODD), "caller": {"type": "direct"}}, result(ODD), use(LONG), result(LONG)),
        turn(use(portable_id(ODD)), result(portable_id(ODD)), use(portable_id(LONG)), result(portable_id(LONG))),
    ),
    "pictures in results": (
        turn(result(content=[PICTURE])),
        turn(result(content=[PICTURE])),
    ),
    "a picture that anybody may read": (
        turn({"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}),
        turn({"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("given", "fits"), TURNS.values(), ids=TURNS.keys())
def test_a_turn_of_anthropics_api_is_made_fit(given: dict[str, Any], fits: dict[str, Any]) -> None:
    assert sent({"messages": [ASKED, given], "max_tokens": 5}, MESSAGES, SPOKEN)["messages"] == [ASKED, fits]


@pytest.mark.parametrize(
    ("path", "document", "name"),
    [
        (MESSAGES, {"messages": [turn({"type": "thinking", "thinking": "x", "signature": "s"})]}, "content.thinking"),
        (MESSAGES, {"messages": [turn({"type": "redacted_thinking", "data": "x"})]}, "content.redacted_thinking"),
        (MESSAGES, {"messages": [turn({"type": "web_search_tool_result"})]}, "content.web_search_tool_result"),
        (MESSAGES, {"messages": [turn({"type": "image", "source": {"type": "file", "file_id": "f"}})]},
         "content.source.file"),
        (MESSAGES, {"messages": [turn({"type": "image", "source": {"type": "url", "url": "http://minio.svc/a"}})]},
         "content.image_url"),
        (MESSAGES, {"messages": [turn(result(content=[{"type": "smell"}]))]}, "content.smell"),
        (MESSAGES, {"messages": [{**ASKED, "mood": "sad"}]}, "messages.mood"),
        (MESSAGES, {"messages": [turn({"type": "text", "text": "hi", "mood": "sad"})]}, "messages.content.text.mood"),
        (MESSAGES, {"messages": [turn({"type": "tool_use", "name": "f", "input": {}})]},
         "messages.content.tool_use.id"),
        (MESSAGES, {"messages": [ASKED], "system": [{"type": "image"}]}, "system.image"),
        (RERANK, {"query": "q", "documents": ["a", {"content": [{"type": "image_url"}]}]}, "documents.content"),
        (RERANK, {"query": {"content": []}, "documents": ["a"]}, "query"),
        ("/rerank", {"query": "q", "documents": [1]}, "documents"),
        (MESSAGES, {"messages": [ASKED], "store": True}, "store"),
    ],
)  # fmt: skip
def test_what_a_dialect_does_not_know_keeps_a_request_here(path: str, document: dict[str, Any], name: str) -> None:
    model = SPOKEN if path == MESSAGES else RANKS
    assert name in blocked_by(document, path, model)
    assert name not in blocked_by(document, path, replace(model, accept_fields=(name,)))


def blocked_by(document: dict[str, Any], path: str, model: ModelEntry) -> set[str]:
    facts = RequestFacts(path=path, task=model.task, fields=spoken(path, document), depths=Depths(path, document))
    return {text.removeprefix("field ") for text in obstacles(facts, model)}


def test_documents_leave_as_texts_or_as_objects_that_have_one() -> None:
    document = {"query": "q", "documents": ["a", {"text": "b", "id": "1"}], "top_n": 1}
    for path in (path for path, row in ENDPOINTS.items() if row.api is Api.RERANK):
        assert blocked_by(document, path, RANKS) == set()
        assert outgoing(path, document, RANKS)["documents"] == ["a", {"text": "b"}]


def test_every_path_that_leaves_has_its_shapes() -> None:
    assert set(SHAPES) == {path for path, row in ENDPOINTS.items() if row.api is not None}
