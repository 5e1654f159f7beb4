"""Chat and text completions as vLLM writes them, whole and streamed."""

import time
import uuid
from dataclasses import replace
from typing import Any, Protocol

from forebay.simulator import api
from forebay.simulator.http import encode, event
from forebay.simulator.script import Script

DONE = event(b"[DONE]")


class Shape(Protocol):
    """One answer of one API. Events are ready to be sent."""

    script: Script

    def begin(self) -> list[bytes]:
        """What a stream begins with, before its first token."""

    def token(self, index: int) -> list[bytes]:
        """Token number `index` of every choice."""

    def end(self) -> list[bytes]:
        """What follows the last token."""

    def whole(self, made: int) -> dict[str, Any]:
        """The answer in one piece, after `made` tokens."""

    def abort(self, made: int) -> list[bytes]:
        """The rest of a stream that the engine gives up after `made` tokens; `whole` is of those from now on."""


class ChatShape:
    """/v1/chat/completions."""

    def __init__(self, document: dict[str, Any], model: str, script: Script, prompt: int, identity: str) -> None:
        self.script = script
        self.prompt = prompt
        self.usage_wanted = api.asks_for_usage(document)
        self.usage_always = api.asks_for_usage_always(document)
        self.head = {"id": f"chatcmpl-{identity}", "object": "", "created": int(time.time()),
                     "model": model}  # fmt: skip
        self.calls = [f"chatcmpl-tool-{uuid.uuid4().hex[:16]}" for _ in range(script.choices)]

    def begin(self) -> list[bytes]:
        """The role."""
        known = {"prompt_token_ids": None, "prompt_text": None}
        return [
            self._chunk(_choice(choice, {"role": "assistant", "content": ""}), 0, known)
            for choice in range(self.script.choices)
        ]

    def token(self, index: int) -> list[bytes]:
        """A delta of the content, or of the call's arguments; the first one of a call names it."""
        script, events = self.script, []
        end = script.finish if index == script.length - 1 else None
        for number in range(script.choices):
            piece = script.piece(index, number)
            delta: dict[str, Any] = {"content": piece}
            if script.tool:
                delta = {"tool_calls": [self._call(number, piece, named=index == 0)]}
            events.append(self._piece(number, delta, index + 1, end, self._logprobs((index,), number)))
        return events

    def end(self) -> list[bytes]:
        """Usage, where it was asked for."""
        if not self.usage_wanted:
            return [DONE]
        return [event(encode(_usage_chunk(self.head, "chat.completion.chunk", self.script, self.prompt))), DONE]

    def abort(self, made: int) -> list[bytes]:
        """An end like any other, but for its word."""
        self.script = aborted(self.script, made)
        return [
            *(self._piece(number, {"content": ""}, made, "abort", None) for number in range(self.script.choices)),
            *self.end(),
        ]

    def whole(self, made: int) -> dict[str, Any]:
        """The recorded document, field by field."""
        script = self.script
        choices = [
            {
                "index": choice,
                "message": self._message(made, choice),
                "logprobs": self._logprobs(range(made), choice),
                "finish_reason": script.finish,
                "stop_reason": script.stop,
                "token_ids": None,
                "routed_experts": None,
            }
            for choice in range(self.script.choices)
        ]
        return {
            **self.head,
            "object": "chat.completion",
            "choices": choices,
            "service_tier": None,
            "system_fingerprint": api.FINGERPRINT,
            "usage": {**api.usage(self.prompt, made * script.choices), **api.NO_DETAILS},
            "prompt_logprobs": None,
            "prompt_token_ids": None,
            "prompt_text": None,
            "kv_transfer_params": None,
            "ec_transfer_params": None,
            "metrics": None,
        }

    def _message(self, made: int, choice: int) -> dict[str, Any]:
        text, tool = self.script.text(made, choice), self.script.tool
        message: dict[str, Any] = {
            "role": "assistant",
            "content": None if tool else text,
            "refusal": None,
            "annotations": None,
            "audio": None,
            "function_call": None,
            "reasoning": None,
        }
        if tool:
            function = {"name": tool, "arguments": text}
            message["tool_calls"] = [{"id": self.calls[choice], "type": "function", "function": function}]
        return message

    def _call(self, choice: int, arguments: str, *, named: bool) -> dict[str, Any]:
        if not named:
            return {"index": 0, "function": {"arguments": arguments}}
        function = {"name": self.script.tool, "arguments": arguments}
        return {"id": self.calls[choice], "type": "function", "index": 0, "function": function}

    def _logprobs(self, indexes: Any, choice: int) -> dict[str, Any] | None:
        top = self.script.top_logprobs
        if top is None:
            return None
        content = []
        for index in indexes:
            one = _likely(self.script.piece(index, choice))
            content.append({**one, "top_logprobs": [one] * top})
        return {"content": content}

    def _piece(self, number: int, delta: dict[str, Any], made: int, finish: str | None, logprobs: Any) -> bytes:
        """A chunk behind the first ones."""
        choice = _choice(number, delta, finish, logprobs)
        if finish is not None:
            choice["stop_reason"] = self.script.stop
        choice["token_ids"] = None
        last = finish is not None and not self.usage_wanted
        return self._chunk(choice, made, {"system_fingerprint": api.FINGERPRINT} if last else {})

    def _chunk(self, choice: dict[str, Any], made: int, more: dict[str, Any]) -> bytes:
        chunk = {**self.head, "object": "chat.completion.chunk", "choices": [choice], **more}
        if self.usage_always:
            chunk["usage"] = {**api.usage(self.prompt, made), "completion_tokens_details": None}
        return event(encode(chunk))


class TextShape:
    """/v1/completions."""

    def __init__(self, document: dict[str, Any], model: str, script: Script, prompt: int, identity: str) -> None:
        self.script = script
        self.prompt = prompt
        self.usage_wanted = api.asks_for_usage(document)
        self.usage_always = api.asks_for_usage_always(document)
        self.head = {"id": f"cmpl-{identity}", "object": "text_completion", "created": int(time.time()),
                     "model": model}  # fmt: skip
        self.opening = str(document.get("prompt")) if document.get("echo") else ""

    def begin(self) -> list[bytes]:
        """Nothing comes before the text."""
        return []

    def token(self, index: int) -> list[bytes]:
        """A piece of the text."""
        end = self.script.finish if index == self.script.length - 1 else None
        pieces = range(index, index + 1)
        return [self._chunk(self._choice(pieces, choice, end), index + 1) for choice in range(self.script.choices)]

    def end(self) -> list[bytes]:
        """Usage, where it was asked for."""
        if not self.usage_wanted:
            return [DONE]
        return [event(encode(_usage_chunk(self.head, "text_completion", self.script, self.prompt))), DONE]

    def abort(self, made: int) -> list[bytes]:
        """An end like any other, but for its word."""
        self.script = aborted(self.script, made)
        ends = (self._choice(range(made, made), choice, "abort") for choice in range(self.script.choices))
        return [*(self._chunk(choice, made) for choice in ends), *self.end()]

    def whole(self, made: int) -> dict[str, Any]:
        """The whole text of every choice."""
        more = {"prompt_logprobs": None, "prompt_token_ids": None, "routed_experts": None}
        choices = [
            {**self._choice(range(made), choice, self.script.finish), **more} for choice in range(self.script.choices)
        ]
        return {
            **self.head,
            "choices": choices,
            "service_tier": None,
            "system_fingerprint": api.FINGERPRINT,
            "usage": {**api.usage(self.prompt, made * self.script.choices), **api.NO_DETAILS},
            "kv_transfer_params": None,
            "ec_transfer_params": None,
            "metrics": None,
        }

    def _chunk(self, choice: dict[str, Any], made: int) -> bytes:
        chunk: dict[str, Any] = {**self.head, "choices": [{**choice, "prompt_token_ids": None}]}
        if choice["finish_reason"] is not None and not self.usage_wanted:
            chunk["system_fingerprint"] = api.FINGERPRINT
        if self.usage_always:
            chunk["usage"] = api.usage(self.prompt, made)
        return event(encode(chunk))

    def _choice(self, indexes: range, choice: int, finish: str | None) -> dict[str, Any]:
        pieces = [self.script.piece(index, choice) for index in indexes]
        logprobs, offset = None, len(self.script.text(indexes.start, choice))
        if self.script.top_logprobs is not None:
            likely = [_likely(piece)["logprob"] for piece in pieces]
            offsets = [offset + len("".join(pieces[:i])) for i in range(len(pieces))]
            top = [{piece: one} for piece, one in zip(pieces, likely, strict=True)]
            logprobs = {"text_offset": offsets, "token_logprobs": likely, "tokens": pieces, "top_logprobs": top}
        opening = self.opening if indexes.start == 0 else ""
        return {"index": choice, "text": opening + "".join(pieces), "logprobs": logprobs, "finish_reason": finish,
                "stop_reason": self.script.stop if finish else None, "token_ids": None}  # fmt: skip


def aborted(script: Script, made: int) -> Script:
    """An answer that the engine gave up."""
    return replace(script, length=made, finish="abort", stop=None)


def _choice(index: int, delta: dict[str, Any], finish: str | None = None, logprobs: Any = None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}


def _usage_chunk(head: dict[str, Any], kind: str, script: Script, prompt: int) -> dict[str, Any]:
    """The last chunk of a stream whose client asked for usage."""
    used = api.usage(prompt, script.length * script.choices)
    return {**head, "object": kind, "choices": [], "usage": used, "system_fingerprint": api.FINGERPRINT}


def _likely(piece: str) -> dict[str, Any]:
    return {"token": piece, "logprob": -0.25, "bytes": list(piece.encode())}
