"""What a provider is sent and what keeps a request here: one table, row by row."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from forebay.resources.table import ModelEntry
from forebay.resources.terms import Api, MaxTokensField, Modality, Task
from forebay.rules import portability
from forebay.rules.depths import NOTHING, Depths
from forebay.rules.endpoints import CHAT, COMPLETIONS, EMBEDDINGS, ENDPOINTS, RESPONSES
from forebay.rules.facts import RequestFacts
from forebay.rules.portability import foreign_fields, obstacles, outgoing, spoken

STANDARD = {path: row.standard for path, row in ENDPOINTS.items() if row.standard is not None}
PLAIN = ModelEntry(name="big", context_tokens=1000)
NEWER = replace(PLAIN, max_tokens_field=MaxTokensField.MAX_COMPLETION_TOKENS)
TEXT = frozenset({Modality.TEXT})
MESSAGES = [{"role": "user", "content": "hi"}]


def facts(document: dict[str, Any], path: str = CHAT, inputs: frozenset[Modality] = TEXT) -> RequestFacts:
    limit = next((document[name] for name in portability.LIMITS if document.get(name)), None)
    task = Task.EMBED if path == EMBEDDINGS else Task.GENERATE
    return RequestFacts(
        task=task, path=path, fields=spoken(path, document), inputs=inputs, prompt_tokens=10, max_tokens=limit,
        depths=Depths(path, document),
    )  # fmt: skip


FIELDS_THAT_STAY = {
    "guided_json": {"type": "object"},
    "guided_regex": "a+",
    "guided_choice": ["a", "b"],
    "guided_grammar": "root ::= x",
    "structured_outputs": {"regex": "a"},
    "top_k": 40,
    "min_p": 0.05,
    "repetition_penalty": 1.1,
    "length_penalty": 0.8,
    "min_tokens": 5,
    "ignore_eos": True,
    "stop_token_ids": [2],
    "bad_words": ["no"],
    "allowed_token_ids": [1],
    "use_beam_search": True,
    "chat_template": "{{ x }}",
    "chat_template_kwargs": {"enable_thinking": False},
    "mm_processor_kwargs": {"num_crops": 4},
    "add_generation_prompt": False,
    "continue_final_message": True,
    "documents": [{"title": "a"}],
    "echo": True,
    "prompt_logprobs": 3,
    "prompt_embeds": "AAAA",
    "return_token_ids": True,
    "cache_salt": "s",
    "kv_transfer_params": {"do_remote_decode": True},
    "priority": 3,
    "truncate_prompt_tokens": 100,
    "vllm_xargs": {"a": 1},
    "invented_tomorrow": 1,
}


@pytest.mark.parametrize("name", FIELDS_THAT_STAY)
def test_a_field_that_only_the_engine_knows_keeps_the_request_here(name: str) -> None:
    request = facts({"model": "auto", "messages": MESSAGES, name: FIELDS_THAT_STAY[name]})
    assert obstacles(request, PLAIN) == (f"field {name}",)
    assert foreign_fields(request) == (name,)


@pytest.mark.parametrize("name", FIELDS_THAT_STAY)
def test_it_may_be_left_out_where_the_entry_says_so_and_goes_along_where_the_model_takes_it(name: str) -> None:
    document = {"model": "auto", "messages": MESSAGES, name: FIELDS_THAT_STAY[name]}
    dropping, taking = replace(PLAIN, drop_fields=(name,)), replace(PLAIN, accept_fields=(name,))
    for model, there in ((dropping, False), (taking, True)):
        assert obstacles(facts(document), model) == ()
        assert (name in outgoing(CHAT, document, model)) is there


@pytest.mark.parametrize(("name", "values"), portability.OFF.items())
def test_a_value_that_says_nothing_is_no_obstacle_and_is_not_sent(name: str, values: tuple[Any, ...]) -> None:
    for value in (*values, None):
        document = {"model": "auto", "messages": MESSAGES, name: value}
        assert obstacles(facts(document), PLAIN) == ()
        assert name not in outgoing(CHAT, document, PLAIN)


def test_off_is_a_matter_of_kind_too() -> None:
    assert spoken(CHAT, {"min_p": False, "ignore_eos": 0}) == {"min_p", "ignore_eos"}  # odd, so somebody meant it
    assert spoken(CHAT, {"repetition_penalty": 1.0, "top_k": -1.0}) == frozenset()


@pytest.mark.parametrize(
    ("path", "model", "sent", "name"),
    [
        (CHAT, PLAIN, {"max_tokens": 5}, "max_tokens"),
        (CHAT, PLAIN, {"max_completion_tokens": 5}, "max_tokens"),
        (CHAT, NEWER, {"max_tokens": 5}, "max_completion_tokens"),
        (CHAT, NEWER, {"max_completion_tokens": 5, "max_tokens": 9}, "max_completion_tokens"),
        (CHAT, NEWER, {"max_completion_tokens": None, "max_tokens": 5}, "max_completion_tokens"),
        (COMPLETIONS, NEWER, {"max_tokens": 5}, "max_tokens"),
        (RESPONSES, NEWER, {"max_output_tokens": 5}, "max_output_tokens"),
        (RESPONSES, PLAIN, {"max_tokens": 5}, "max_output_tokens"),
    ],
)
def test_the_token_limit_goes_by_the_providers_name(
    path: str, model: ModelEntry, sent: dict[str, Any], name: str
) -> None:
    body = outgoing(path, sent, model)
    assert {key: body[key] for key in portability.LIMITS if key in body} == {name: 5}


@pytest.mark.parametrize("path", STANDARD)
def test_every_standard_field_goes_out_as_it_is(path: str) -> None:
    document = {name: f"value of {name}" for name in STANDARD[path] - {"model", "stream", "stream_options"}}
    body = outgoing(path, document, PLAIN)
    model = replace(PLAIN, task=facts({}, path).task, apis=tuple(Api))
    assert obstacles(replace(facts(document, path), depths=NOTHING), model) == ()
    assert {key: body[key] for key in document} == document
    assert body["model"] == "big"


@pytest.mark.parametrize("name", sorted(portability.KEPT_HERE))
def test_what_concerns_only_this_fleet_is_never_sent(name: str) -> None:
    document = {"messages": MESSAGES, name: {"task_type": "extract"}}
    assert obstacles(facts(document), PLAIN) == ()
    assert name not in outgoing(CHAT, document, PLAIN)


def test_a_provider_is_told_to_store_nothing() -> None:
    assert outgoing(RESPONSES, {"input": "hi"}, PLAIN)["store"] is False
    assert outgoing(RESPONSES, {"input": "hi", "store": True}, PLAIN)["store"] is False
    assert "store" not in outgoing(CHAT, {"messages": MESSAGES, "store": True}, PLAIN)
    takes = replace(PLAIN, accept_fields=("store",))
    for path in (CHAT, RESPONSES):
        assert outgoing(path, {"store": True}, takes)["store"] is True


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
def test_what_is_to_be_stored_stays_unless_a_policy_says_otherwise(path: str) -> None:
    document = {"store": True}
    assert obstacles(facts(document, path), PLAIN) == ("field store",)
    for said in ("accept_fields", "drop_fields"):
        assert obstacles(facts(document, path), replace(PLAIN, **{said: ("store",)})) == ()
    for off in (False, None):
        assert obstacles(facts({"store": off}, path), PLAIN) == ()


@pytest.mark.parametrize("name", ["previous_response_id", "conversation", "prompt"])
def test_what_names_stored_things_keeps_a_response_here(name: str) -> None:
    assert obstacles(facts({"input": "hi", name: "id_1"}, RESPONSES), PLAIN) == (f"field {name}",)


def test_embeddings_go_only_to_a_model_that_makes_them_and_nothing_else_does() -> None:
    embeds, hello = replace(PLAIN, task=Task.EMBED), {"messages": MESSAGES}
    assert obstacles(facts({"input": "hi"}, EMBEDDINGS), PLAIN) == ("task Embed",)
    assert obstacles(facts({"input": "hi"}, EMBEDDINGS), embeds) == ()
    assert obstacles(facts(hello), embeds) == ("task Generate",)


@pytest.mark.parametrize("path", ["/tokenize", "/detokenize"])
def test_other_paths_never_leave(path: str) -> None:
    assert obstacles(facts({"prompt": "hi"}, path), PLAIN) == (f"path {path}",)


@pytest.mark.parametrize(
    ("inputs", "takes", "obstacle"),
    [
        (TEXT, (Modality.TEXT,), ()),
        (TEXT | {Modality.IMAGE}, (Modality.TEXT,), ("input Image",)),
        (TEXT | {Modality.IMAGE}, (Modality.TEXT, Modality.IMAGE), ()),
        (TEXT | {Modality.AUDIO}, (Modality.TEXT, Modality.IMAGE), ("input Audio",)),
    ],
)
def test_inputs(inputs: frozenset[Modality], takes: tuple[Modality, ...], obstacle: tuple[str, ...]) -> None:
    assert obstacles(RequestFacts(inputs=inputs), replace(PLAIN, inputs=takes)) == obstacle


@pytest.mark.parametrize(
    ("prompt", "limit", "context", "fits"),
    [(990, 10, 1000, True), (991, 10, 1000, False), (999, None, 1000, True), (1000, None, 1000, False),
     (10**9, None, None, True)],
)  # fmt: skip
def test_length(prompt: int, limit: int | None, context: int | None, fits: bool) -> None:
    model = replace(PLAIN, context_tokens=context)
    assert (obstacles(RequestFacts(prompt_tokens=prompt, max_tokens=limit), model) == ()) is fits


def test_usage_is_asked_for_on_streams_that_can_carry_it() -> None:
    streamed = {"messages": MESSAGES, "stream": True}
    assert outgoing(CHAT, streamed, PLAIN)["stream_options"] == {"include_usage": True}
    assert outgoing(CHAT, {**streamed, "stream_options": {"include_obfuscation": False}}, PLAIN)["stream_options"] == {
        "include_obfuscation": False,
        "include_usage": True,
    }
    assert "stream_options" not in outgoing(CHAT, {"messages": MESSAGES}, PLAIN)
    assert "stream_options" not in outgoing(RESPONSES, {"input": "a", "stream": True}, PLAIN)
    assert "stream_options" not in outgoing(CHAT, streamed, replace(PLAIN, drop_fields=("stream_options",)))


NAMES = st.sampled_from([*FIELDS_THAT_STAY, *STANDARD[CHAT], *portability.KEPT_HERE, *portability.LIMITS])
VALUES = st.sampled_from([None, 0, 1, -1, True, False, "x", [], {}, 0.5])


@given(st.dictionaries(NAMES, VALUES), st.sets(NAMES), st.sets(NAMES))
def test_what_is_portable_loses_nothing_that_it_said(
    document: dict[str, Any], dropped: set[str], accepted: set[str]
) -> None:
    """No word of the client's vanishes except by the entry's leave, or because it concerns the fleet alone."""
    model = replace(PLAIN, drop_fields=tuple(dropped), accept_fields=tuple(accepted))
    request = replace(facts(document), prompt_tokens=0, max_tokens=1)
    if obstacles(request, model) == ():
        body = outgoing(CHAT, document, model)
        lost = spoken(CHAT, document) - set(body)
        idle = {"parallel_tool_calls", "stream_options"}  # beside no tools, no stream
        assert lost <= dropped | portability.KEPT_HERE | set(portability.LIMITS) | idle
        assert not set(body) & (dropped - {"model"})
