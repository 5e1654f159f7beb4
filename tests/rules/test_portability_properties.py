"""What leaves of any chat request, held against OpenAI's API as written here, beside the product's own tables."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from forebay.rules.body_shapes import portable_id
from testing.examples import examples
from tests.rules.test_portability_depth import LONG, ODD, blocked, sent

# Read strictly: what stands in no schema is refused, as Anthropic's, Mistral's and Azure's layers do.


def thing(needs: tuple[str, ...] = (), **members: Any) -> dict[str, Any]:
    return {"type": "object", "properties": members, "required": list(needs), "additionalProperties": False}


def just(word: str) -> dict[str, Any]:
    return {"const": word}


STRING: dict[str, Any] = {"type": "string"}
ANYTHING: dict[str, Any] = {"type": "object"}
ID = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,40}$"}
TEXT_PART = thing(("type", "text"), type=just("text"), text=STRING)
IMAGE_PART = thing(
    ("type", "image_url"),
    type=just("image_url"),
    image_url=thing(("url",), url={"type": "string", "pattern": "^(data:|https://)"}, detail=STRING),
)
SOUND_PART = thing(("type", "input_audio"), type=just("input_audio"),
                   input_audio=thing(("data", "format"), data=STRING, format=STRING))  # fmt: skip
REFUSAL_PART = thing(("type", "refusal"), type=just("refusal"), refusal=STRING)


def content(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [STRING, {"type": "array", "minItems": 1, "items": {"anyOf": list(parts)}}]}


TOOL_CALL = thing(("id", "type", "function"), id=ID, type=just("function"),
                  function=thing(("name", "arguments"), name=STRING, arguments=STRING))  # fmt: skip
ASSISTANT = {
    **thing(("role",), role=just("assistant"), name=STRING, refusal=STRING,
            content={"anyOf": [content(TEXT_PART, REFUSAL_PART), {"type": "null"}]},
            tool_calls={"type": "array", "minItems": 1, "items": TOOL_CALL},
            function_call=thing(("name", "arguments"), name=STRING, arguments=STRING)),
    "anyOf": [{"required": [key]} for key in ("tool_calls", "function_call", "refusal")]
    + [{"required": ["content"], "properties": {"content": {"type": ["string", "array"]}}}],
}  # fmt: skip
MESSAGE = {
    "anyOf": [
        thing(("role", "content"), role={"enum": ["system", "developer"]}, content=content(TEXT_PART), name=STRING),
        thing(("role", "content"), role=just("user"), name=STRING,
              content=content(TEXT_PART, IMAGE_PART, SOUND_PART)),
        ASSISTANT,
        thing(("role", "content", "tool_call_id"), role=just("tool"), content=content(TEXT_PART), tool_call_id=ID),
    ]
}  # fmt: skip
FUNCTION_TOOL = thing(("type", "function"), type=just("function"), function=thing(
    ("name",), name=STRING, description=STRING, parameters=ANYTHING, strict={"type": "boolean"}))  # fmt: skip
BODY = thing(
    ("model", "messages"),
    model=just("big"),
    messages={"type": "array", "items": MESSAGE},
    tools={"type": "array", "minItems": 1, "items": FUNCTION_TOOL},
    tool_choice={"enum": ["none", "auto", "required"]},
    response_format={"anyOf": [
        thing(("type",), type={"enum": ["text", "json_object"]}),
        thing(("type", "json_schema"), type=just("json_schema"), json_schema=thing(
            ("name",), name=STRING, description=STRING, schema=ANYTHING, strict={"type": "boolean"})),
    ]},
    stream={"type": "boolean"},
    stream_options=thing(include_usage={"type": "boolean"}, include_obfuscation={"type": "boolean"}),
    max_tokens={"type": "integer"},
    temperature={"type": "number"},
)  # fmt: skip

SECRET = "sk-live-do-not-tell"
WORDS = st.sampled_from(["", "hi", "f", "call_1", LONG, ODD, "x" * 64])
IDS = st.sampled_from(["call_1", LONG, ODD, "x" * 41, "ä"])
SECRETS = st.fixed_dictionaries({}, optional={
    key: st.just(SECRET) for key in ("api_key", "Authorization", "password", "access_token", "X-Auth-Token")
})  # fmt: skip
NOISE: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries({}, optional={
    "reasoning": WORDS, "reasoning_content": st.none() | WORDS, "refusal": st.none(), "audio": st.none() | st.just({}),
    "annotations": st.just([]), "name": st.none() | st.just("ann"), "id": WORDS, "index": st.integers(0, 3),
    "cache_control": SECRETS, "provider_specific_fields": SECRETS, "mood": st.none() | WORDS, "type": st.none(),
    "function_call": st.none(), "tool_calls": st.none() | st.just([]), "headers": SECRETS,
})  # fmt: skip


def mixed(inner: dict[str, Any], noise: st.SearchStrategy[dict[str, Any]] = NOISE) -> st.SearchStrategy[dict[str, Any]]:
    """An object with members that do not belong into it; its own win."""
    return st.builds(lambda bad, good: {**bad, **good}, noise, st.fixed_dictionaries(inner))


def typed(kind: str, **inner: Any) -> st.SearchStrategy[dict[str, Any]]:
    extra = st.fixed_dictionaries({}, optional={"cache_control": SECRETS, "uuid": WORDS, "mood": st.none() | WORDS})
    return mixed({"type": st.just(kind), **inner}, extra)


PARTS = (
    typed("text", text=WORDS)
    | typed("thinking", thinking=WORDS, signature=WORDS)
    | typed("image_url", image_url=st.fixed_dictionaries(
        {"url": st.sampled_from(["https://example.com/a.png", "data:,", "http://a.svc/b", "https://a.svc/b"])},
        optional={"detail": st.none() | st.just("auto"), "uuid": WORDS}))
    | typed("video_url", video_url=st.just({"url": "https://example.com/a"}))
    | typed("refusal", refusal=WORDS)
)  # fmt: skip
CONTENTS = st.none() | WORDS | st.lists(PARTS | WORDS, max_size=3)
CALLS = mixed({"id": IDS, "function": mixed({"name": WORDS, "arguments": st.just("{}") | st.just({"a": 1})})})
MESSAGES = (
    mixed({"role": st.sampled_from(["system", "developer", "user"]), "content": CONTENTS})
    | mixed({"role": st.just("assistant"), "content": CONTENTS})
    | mixed({"role": st.just("assistant"), "content": CONTENTS, "tool_calls": st.lists(CALLS, max_size=2)})
    | mixed({"role": st.just("tool"), "content": CONTENTS, "tool_call_id": IDS})
)
SCHEMAS = st.sampled_from([{}, {"properties": {"password": {"type": "string"}}}, {"default": {"token": SECRET}}, None])
TOOLS = typed("function", function=st.fixed_dictionaries(
    {"name": WORDS, "parameters": SCHEMAS}, optional={"strict": st.none() | st.booleans(), "invented": st.just(SECRET)}
)) | typed("mcp", server_url=st.just("http://a.svc"), authorization=st.just(SECRET))  # fmt: skip
DOCUMENTS = st.fixed_dictionaries({"messages": st.lists(MESSAGES, max_size=5)}, optional={
    "tools": st.lists(TOOLS, max_size=2),
    "tool_choice": st.sampled_from([None, "auto", "none"]),
    "stream": st.booleans(),
    "stream_options": st.fixed_dictionaries({}, optional={
        "include_usage": st.booleans(), "continuous_usage_stats": st.booleans()}),
    "response_format": st.sampled_from([None, {"type": "text", "json_schema": None}, {"type": "json_schema",
        "json_schema": {"name": "a", "schema": {"default": {"secret": SECRET}}}}, {"type": "structural_tag"}]),
    "logit_bias": st.just({}) | st.just({"5": 1}),
    "top_k": st.sampled_from([-1, 40]), "temperature": st.just(0.5), "max_tokens": st.none() | st.just(5),
    "metadata": SECRETS, "api_key": st.just(SECRET),
})  # fmt: skip


@examples(4)
@given(DOCUMENTS)
def test_what_leaves_is_openais_api_holds_no_secret_and_every_result_finds_its_call(document: dict[str, Any]) -> None:
    if blocked(document):
        return
    body = sent(document)
    Draft202012Validator(BODY).validate(body)
    assert SECRET not in json.dumps(body)
    assert ids(body) == [portable_id(given) for given in ids(document)]
    assert len(set(ids(body))) == len(set(ids(document)))
    assert [m["role"] for m in body["messages"]] == [m["role"] for m in document["messages"] if not _thought(m)]


def ids(document: dict[str, Any]) -> list[str]:
    """Of calls and of results, in order."""
    found: list[str] = []
    for item in document["messages"]:
        found += [made["id"] for made in item.get("tool_calls") or ()] if item["role"] == "assistant" else []
        found += [item["tool_call_id"]] if item["role"] == "tool" else []
    return found


def _thought(said: dict[str, Any]) -> bool:
    """An answer that holds nothing that another backend reads."""
    parts = said["content"]
    empty = parts is None or (
        isinstance(parts, list) and all(isinstance(p, dict) and p["type"] == "thinking" for p in parts)
    )
    return said["role"] == "assistant" and empty and not said.get("tool_calls")


TEXTS = st.sampled_from(["hi", "f", "password", '{"api_key": 1}'])
CLEAN_PARTS = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "text": TEXTS}),
    st.fixed_dictionaries({"type": st.just("image_url"), "image_url": st.fixed_dictionaries(
        {"url": st.sampled_from(["https://example.com/a.png", "data:image/png;base64,AAAA"])},
        optional={"detail": st.just("low")})}),
)  # fmt: skip
CLEAN_IDS = st.sampled_from(["call_1", "toolu_01Ab", "x" * 40])
CLEAN_CALLS = st.fixed_dictionaries({
    "id": CLEAN_IDS, "type": st.just("function"),
    "function": st.fixed_dictionaries({"name": TEXTS, "arguments": TEXTS}),
})  # fmt: skip
CLEAN_MESSAGES = st.one_of(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "developer"]), "content": TEXTS}),
    st.fixed_dictionaries(
        {"role": st.just("user"), "content": TEXTS | st.lists(CLEAN_PARTS, min_size=1)},
        optional={"name": st.just("ann")}),
    st.fixed_dictionaries({"role": st.just("assistant"), "content": TEXTS}),
    st.fixed_dictionaries({"tool_calls": st.lists(CLEAN_CALLS, min_size=1), "role": st.just("assistant")}),
    st.fixed_dictionaries({"tool_call_id": CLEAN_IDS, "role": st.just("tool"), "content": TEXTS}),
)  # fmt: skip
CLEAN_SCHEMAS = st.sampled_from([
    {}, {"type": "object", "properties": {"password": {"type": "string"}}, "required": ["password"]},
    {"type": "object", "properties": {"a": {"anyOf": [{"type": "null"}, {"enum": [1, 2]}]}}, "$defs": {"token": {}}},
])  # fmt: skip
CLEAN = st.fixed_dictionaries({"model": st.just("chat"), "messages": st.lists(CLEAN_MESSAGES, min_size=1)}, optional={
    "tools": st.lists(st.fixed_dictionaries({"type": st.just("function"), "function": st.fixed_dictionaries(
        {"name": TEXTS}, optional={"description": TEXTS, "parameters": CLEAN_SCHEMAS, "strict": st.booleans()})}),
        min_size=1),
    "response_format": st.fixed_dictionaries({"type": st.just("json_schema"), "json_schema": st.fixed_dictionaries(
        {"name": TEXTS, "schema": CLEAN_SCHEMAS, "strict": st.booleans()})}),
    "temperature": st.floats(0, 2), "seed": st.integers(0, 9), "stop": TEXTS, "user": TEXTS,
    "prediction": st.just({"type": "content", "content": "x"}),
})  # fmt: skip


@given(CLEAN)
def test_a_body_that_every_provider_takes_leaves_as_it_came(document: dict[str, Any]) -> None:
    assert json.dumps(sent(document)) == json.dumps({**document, "model": "big"})


@given(DOCUMENTS)
def test_looking_twice_finds_the_same_and_what_is_fit_is_fit(document: dict[str, Any]) -> None:
    assert blocked(document) == blocked(document)
    if not blocked(document):
        body = sent(document)
        assert blocked(body) == set()
        assert sent(body) == {**body}
