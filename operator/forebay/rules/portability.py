"""What of a request a provider's model takes, and the body it is sent: one table, applied twice.

`obstacles` says why a request cannot go to a model at all (reason NotPortable); `outgoing` makes the body of one that
can. A field is sent when its API has it as a standard one or the model lists it in `acceptFields`. It is left out when
it concerns only this fleet, says nothing (null, or the value that means "off"), or stands in `dropFields`. Anything
else is an obstacle: to leave it out would change what the client asked for. What lies within fields goes by the same
rule, with paths such as `tools.mcp.authorization` for names (rules/api_shapes).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from forebay.resources.table import ModelEntry
from forebay.rules.api_shapes import NEVER_SENT
from forebay.rules.body_shapes import ABSENT, Walk
from forebay.rules.depths import fitted
from forebay.rules.endpoints import ENDPOINTS, Stream
from forebay.rules.facts import RequestFacts

LIMITS: Final = ("max_completion_tokens", "max_tokens", "max_output_tokens")
"""Spellings of the token limit; where a request uses several, the first of these counts."""

KEPT_HERE: Final = NEVER_SENT
"""Fields that are about this fleet. `store` is none of them: what is to be stored stays, for it is looked for here."""

OFF: Final[Mapping[str, tuple[Any, ...]]] = MappingProxyType({
    "add_generation_prompt": (True,),
    "allowed_token_ids": ([],),
    "background": (False,),
    "bad_words": ([],),
    "chat_template_kwargs": ({},),
    "continue_final_message": (False,),
    "documents": ([],),
    "echo": (False,),
    "functions": ([],),
    "ignore_eos": (False,),
    "include_stop_str_in_output": (False,),
    "length_penalty": (1,),
    "logit_bias": ({},),
    "min_p": (0,),
    "min_tokens": (0,),
    "priority": (0,),
    "repetition_penalty": (1,),
    "return_token_ids": (False,),
    "return_tokens_as_token_ids": (False,),
    "skip_special_tokens": (True,),
    "spaces_between_special_tokens": (True,),
    "stop_token_ids": ([],),
    "store": (False,),
    "tools": ([],),
    "top_k": (-1, 0),
    "use_beam_search": (False,),
})  # fmt: skip
"""Values with which a field says nothing; clients' libraries like to send them."""


_NONE: Final[frozenset[str]] = frozenset()
_STANDARD: Final = {path: row.standard for path, row in ENDPOINTS.items() if row.standard is not None}
_USUAL: Final = {path: fields.union(KEPT_HERE, LIMITS) for path, fields in _STANDARD.items()}
_IDLE: Final[Mapping[str, tuple[str, tuple[Any, ...]]]] = MappingProxyType({
    "tool_choice": ("tools", ("none", "auto")),
    "parallel_tool_calls": ("tools", (True, False)),
    "function_call": ("functions", ("none", "auto")),
    "stream_options": ("stream", ()),
})  # fmt: skip
"""Fields that say nothing, with these values or with any, beside an empty or absent other one; APIs refuse them."""


def spoken(path: str, document: Mapping[str, Any]) -> frozenset[str]:
    """The fields of a body that say something."""
    fields = frozenset(document)
    if fields <= _USUAL.get(path, _NONE) and None not in document.values():
        return fields
    return frozenset(name for name, value in document.items() if not _is_off(name, value))


def obstacles(request: RequestFacts, model: ModelEntry) -> tuple[str, ...]:
    """Why this model cannot take this request: fields, inputs, length. Empty when it can."""
    usual = _USUAL.get(request.path)
    if usual is None:
        return (f"path {request.path}",)
    found = [f"task {request.task}"] if request.task is not model.task else []
    if (api := ENDPOINTS[request.path].api) is not None and api not in model.apis:
        found.append(f"api {api}")
    found += [f"field {name}" for name in sorted(_staying(request, model, usual))]
    found += [f"input {kind}" for kind in sorted(request.inputs - frozenset(model.inputs))]
    needed = request.likely_tokens
    if model.context_tokens is not None and needed > model.context_tokens:
        found.append(f"length {needed} of {model.context_tokens} tokens")
    return tuple(found)


def is_portable(request: RequestFacts, model: ModelEntry) -> bool:
    """Fields, inputs and length all fit, or may be left out."""
    return not obstacles(request, model)


def foreign_fields(request: RequestFacts) -> tuple[str, ...]:
    """The fields that no provider knows unless its entry says so, for the sentence of a refusal."""
    return tuple(sorted((request.fields - _USUAL.get(request.path, _NONE)) | request.depths.found()))


def outgoing(path: str, document: Mapping[str, Any], model: ModelEntry) -> dict[str, Any]:
    """The body as this model takes it: its own name, its word for the token limit, nothing that it refuses."""
    body: dict[str, Any] = {}
    walk = Walk(frozenset(model.accept_fields), frozenset(model.drop_fields))
    for name, value in document.items():
        if _goes_out(path, name, value, model) and (fit := fitted(walk, path, name, value)) is not ABSENT:
            body[name] = fit
    for name, (needed, values) in _IDLE.items():
        if name in body and not document.get(needed) and (not values or body[name] in values):
            del body[name]
    body["model"] = model.name
    asked = next((document[name] for name in LIMITS if document.get(name) is not None), None)
    if (limit := sent_limit(path, asked, model)) is not None:
        body[limit_field(path, model)] = limit
    if ENDPOINTS[path].stored:
        body["store"] = document.get("store") is True and "store" in model.accept_fields
    if asks_for_usage(path, document, model):
        options = body.get("stream_options")
        body["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
    return body


def sent_limit(path: str, asked: int | None, model: ModelEntry) -> int | None:
    """The most output tokens that a provider is told of; `asked`: by the client. None where it is told of none."""
    if limit_field(path, model) in model.drop_fields:
        return None
    return model.answer_tokens or None if asked is None and ENDPOINTS[path].output_tokens else asked


def limit_field(path: str, model: ModelEntry) -> str:
    """What the token limit is called on this path."""
    return ENDPOINTS[path].limit or str(model.max_tokens_field)


def asks_for_usage(path: str, document: Mapping[str, Any], model: ModelEntry) -> bool:
    """Whether usage has to be asked for: on streams that do not carry it by themselves."""
    if document.get("stream") is not True or ENDPOINTS[path].stream is not Stream.CHUNKS:
        return False
    return "stream_options" not in model.drop_fields


def client_asked_for_usage(document: Mapping[str, Any]) -> bool:
    """Whether the client expects the usage chunk itself."""
    options = document.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def _staying(request: RequestFacts, model: ModelEntry, usual: frozenset[str]) -> set[str]:
    """Fields, and what lies within them, that this model is not sent."""
    allowed = frozenset(model.accept_fields + model.drop_fields)
    within = tuple(f"{name}." for name in model.drop_fields)
    deep = request.depths.found() - allowed
    if within:
        deep = frozenset(name for name in deep if not name.startswith(within))
    return {*(request.fields - usual - allowed), *deep}


def _goes_out(path: str, name: str, value: Any, model: ModelEntry) -> bool:
    if value is None or name in LIMITS or name in model.drop_fields:
        return False
    if name in model.accept_fields:
        return True
    return name in _STANDARD.get(path, _NONE)


def _is_off(name: str, value: Any) -> bool:
    return value is None or any(value == off and isinstance(off, bool) is isinstance(value, bool)
                                for off in OFF.get(name, ()))  # fmt: skip
