"""The API paths that go to an engine: one row each, with everything that is known of a path. The rest is derived.

A path that stands here is served, counted, classified, and sent to providers as its row says; any other is 404.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from forebay.resources.terms import Api, MaxTokensField, Task
from forebay.word_enum import WordEnum

ROOT: Final = "/v1"
"""What the base URL of a provider ends with in place of a path's beginning."""
CHAT: Final = "/v1/chat/completions"
COMPLETIONS: Final = "/v1/completions"
RESPONSES: Final = "/v1/responses"
EMBEDDINGS: Final = "/v1/embeddings"
MESSAGES: Final = "/v1/messages"
COUNT_TOKENS: Final = "/v1/messages/count_tokens"
RERANK: Final = "/v1/rerank"
SCORE: Final = "/v1/score"
TRANSCRIPTIONS: Final = "/v1/audio/transcriptions"
TRANSLATIONS: Final = "/v1/audio/translations"
TOKENIZE: Final = "/tokenize"
DETOKENIZE: Final = "/detokenize"
MODELS: Final = "/v1/models"
"""Answered by the routers from their table; an engine's own answer to it tells its sidecar that it runs."""


class Stream(WordEnum):
    """What a streamed answer looks like. Its content and its end are told by its bytes (router/dialect/content.py)."""

    CHUNKS = "Chunks"  # of choices; ends with [DONE], and tells its usage only if it is asked to
    EVENTS = "Events"  # each with a type; its usage comes unasked


PROMPT: Final = ("messages", "prompt", "input", "instructions", "system", "tools", "functions", "response_format",
                 "text", "structured_outputs", "guided_json", "guided_regex", "guided_choice", "guided_grammar",
                 "documents", "suffix")  # fmt: skip
"""Fields that hold what a model is told, in any API: clients and logs mix them up, and engines ignore what is not
theirs. `rules/dialect/prompt_content.py` reads whatever shape they have."""


class Endpoint(Struct, frozen=True, kw_only=True):
    """What is known of one path."""

    path: str
    meaning: str  # for the reference, in Markdown
    operation: str  # OpenTelemetry's `gen_ai_operation_name`, or a word of ours where it has none
    task: Task = Task.GENERATE
    also: frozenset[Task] = frozenset()  # tasks whose engines serve it, too, for a client that names their model
    form: bool = False  # its body is a form with a file, not JSON
    texts: tuple[str, ...] = PROMPT  # fields of the body that hold the prompt
    leaves_as: str = ""  # its path at a provider, where that is another one
    api: Api | None = None  # what a provider has to speak; None: it never leaves
    passed: tuple[str, ...] = ()  # headers of the request that a provider is sent, too
    classified: bool = False  # its words say what is asked for
    standard: frozenset[str] | None = None  # fields that every provider is expected to know; None: it never leaves
    limit: str | None = MaxTokensField.MAX_TOKENS.value  # name of the token limit; None: as the provider's model has it
    stream: Stream | None = None  # None: always whole
    output_tokens: bool = True  # its answer grows with its tokens; False: it is there at once, and has none
    stored: bool = False  # the replica that answers keeps the answer, and later requests may refer to it
    probe: Mapping[str, Any] | None = None  # beside the model: the least that makes an engine compute


_SAMPLING: Final = frozenset({"temperature", "top_p", "stream", "stream_options", "model", "user"})
_CHOICE: Final = frozenset({"frequency_penalty", "presence_penalty", "logprobs", "n", "seed", "stop"})
_TOOLS: Final = frozenset({"tools", "tool_choice", "parallel_tool_calls", "top_logprobs", "prompt_cache_key",
                           "prompt_cache_retention", "safety_identifier"})  # fmt: skip

_RERANK: Final = Endpoint(
    path=RERANK,
    meaning="documents by what they have to do with a query: pools of `task: Score`, and those with `task: Embed` for "
            "a client that names their model",
    operation="rerank",
    task=Task.SCORE,
    also=frozenset({Task.EMBED}),
    api=Api.RERANK,
    texts=("query", "documents"),
    standard=frozenset({"model", "query", "documents", "top_n"}),
    output_tokens=False,
)  # fmt: skip
_SCORE: Final = Endpoint(
    path=SCORE,
    meaning="how near texts are to each other, by the same pools; never leaves",
    operation="score",
    task=Task.SCORE,
    also=frozenset({Task.EMBED}),
    texts=("text_1", "text_2", "data_1", "data_2", "queries", "documents", "items"),
    output_tokens=False,
    probe={"text_1": "a", "text_2": "b"},
)
_SILENCE: Final = (
    b"RIFF\x64\x06\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x80\x3e\x00\x00\x80\x3e\x00\x00"
    b"\x01\x00\x08\x00data\x40\x06\x00\x00" + b"\x80" * 1600
)
"""A tenth of a second, as a WAV of 16 kHz and 8 bits."""
_AUDIO: Final = Endpoint(
    path=TRANSCRIPTIONS,
    meaning="what is said in an audio file, whole or as a stream; a form of at most 32 MiB: pools with "
            "`task: Transcribe`, and those with `task: Generate` for a client that names their model; never leaves",
    operation="transcription",
    task=Task.TRANSCRIBE,
    also=frozenset({Task.GENERATE}),
    form=True,
    texts=("prompt",),
    probe={"file": _SILENCE},
)  # fmt: skip
_ROWS: Final = (
    Endpoint(
        path=CHAT,
        api=Api.CHAT_COMPLETIONS,
        meaning="chat, whole or as a stream; tools, JSON schemas, images, log probabilities as the engine has them",
        operation="chat",
        classified=True,
        standard=_SAMPLING | _CHOICE | _TOOLS | {
            "messages", "audio", "modalities", "function_call", "functions", "prediction", "reasoning_effort",
            "response_format", "verbosity", "web_search_options",
        },
        limit=None,
        stream=Stream.CHUNKS,
        probe={"messages": [{"role": "user", "content": "a"}], "max_tokens": 1},
    ),
    Endpoint(
        path=COMPLETIONS,
        api=Api.COMPLETIONS,
        meaning="text, whole or as a stream",
        operation="text_completion",
        classified=True,
        standard=_SAMPLING | _CHOICE | {"prompt", "best_of", "echo", "suffix"},
        stream=Stream.CHUNKS,
        probe={"prompt": "a", "max_tokens": 1},
    ),
    Endpoint(
        path=RESPONSES,
        api=Api.RESPONSES,
        meaning="the Responses API, whole or as a stream, not in the background; what follows a `previous_response_id` "
                "goes to the replica that has it, never to the cloud. vLLM stores responses only with "
                "`VLLM_ENABLE_RESPONSES_API_STORE=1` in its environment (`engine.podTemplate`)",
        operation="chat",
        classified=True,
        standard=_SAMPLING | _TOOLS | {
            "input", "instructions", "include", "max_tool_calls", "reasoning", "text", "truncation",
        },
        limit="max_output_tokens",
        stream=Stream.EVENTS,
        stored=True,
    ),
    Endpoint(
        path=EMBEDDINGS,
        api=Api.EMBEDDINGS,
        meaning="vectors, by pools with `task: Embed`",
        operation="embeddings",
        task=Task.EMBED,
        standard=frozenset({"model", "input", "dimensions", "encoding_format", "user"}),
        output_tokens=False,
        probe={"input": "a"},
    ),
    Endpoint(
        path=MESSAGES,
        api=Api.MESSAGES,
        passed=("anthropic-version", "anthropic-beta"),
        meaning="Anthropic's API, whole or as a stream, with its tools, images and thinking; errors have its shape",
        operation="chat",
        classified=True,
        standard=frozenset({
            "model", "messages", "system", "tools", "tool_choice", "stop_sequences", "stream", "temperature", "top_k",
            "top_p", "thinking", "cache_control", "context_management", "output_config",
        }),
        stream=Stream.EVENTS,
    ),
    Endpoint(
        path=COUNT_TOKENS,
        meaning="tokens of such a request, by the engine of the model that is named; never leaves",
        operation="tokenize",
        output_tokens=False,
    ),
    _AUDIO,
    replace(_AUDIO, path=TRANSLATIONS, operation="translation", probe=None, meaning="the same, in English"),
    _RERANK,
    replace(_RERANK, path="/rerank", leaves_as=RERANK, meaning=f"the same as `{RERANK}`"),
    replace(_RERANK, path="/v2/rerank", leaves_as=RERANK, meaning=f"the same as `{RERANK}`"),
    _SCORE,
    replace(_SCORE, path="/score", probe=None, meaning=f"the same as `{SCORE}`"),
    Endpoint(
        path=TOKENIZE,
        meaning="tokens of a text, by the engine of the model that is named; never leaves",
        operation="tokenize",
        also=frozenset(Task),
    ),
    Endpoint(path=DETOKENIZE, meaning="the other way round", operation="detokenize", also=frozenset(Task)),
)  # fmt: skip

STORED_RESPONSES: Final = {
    ("GET", ""): "a response that an engine stores, from the replica that has it; 404 where none has",
    ("DELETE", ""): "forgets it",
    ("POST", "/cancel"): "ends it, where it still runs",
}
"""What may be done with a stored response: method, and what follows its id in the path."""
RESPONSE_ID: Final = re.compile(r"resp_[A-Za-z0-9_-]{1,128}")
"""An id that an engine gives to a response."""
ENDPOINTS: Final[Mapping[str, Endpoint]] = MappingProxyType({row.path: row for row in _ROWS})
"""By path."""
PROBES: Final[Mapping[Task, Endpoint]] = MappingProxyType({row.task: row for row in _ROWS if row.probe is not None})
"""By task: where the smallest request goes; the last row of a task that has one."""
TEXTS: Final = tuple(dict.fromkeys(text for row in _ROWS for text in row.texts))
"""Every field that holds a prompt anywhere."""
MEANINGS: Final[Mapping[str, str]] = MappingProxyType({
    **{f"POST {row.path}": row.meaning for row in _ROWS},
    **{f"{method} {RESPONSES}/{{id}}{tail}": meaning for (method, tail), meaning in STORED_RESPONSES.items()},
    f"GET {MODELS}": "every name that a client may use, LoRA adapters and `auto` included",
    f"GET {MODELS}/{{name}}": "one of them",
})  # fmt: skip
"""All of the request port. Anything else is 404 and reaches no engine."""


def stored_response(method: str, path: str) -> str:
    """The id of the stored response that a request is about; "" for any other request."""
    if not path.startswith(_BEFORE_ID):
        return ""
    name, slash, tail = path[len(_BEFORE_ID) :].partition("/")
    return name if (method, slash + tail) in STORED_RESPONSES and RESPONSE_ID.fullmatch(name) else ""


_BEFORE_ID: Final = f"{RESPONSES}/"


def operation(path: str) -> str:
    """OpenTelemetry's word for what a request to this path is."""
    return ENDPOINTS.get(path, ENDPOINTS[CHAT]).operation
