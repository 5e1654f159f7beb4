"""Chat and text completions as vLLM writes them, whole and streamed."""

import time
import uuid
from typing import Any, Protocol

from forebay.simulator import api
from forebay.simulator.http import encode, event
from forebay.simulator.script import Script

DONE = event(b"[DONE]")


class Shape(Protocol):
    """One answer of one API. Events are ready to be sent."""

    def begin(self) -> list[bytes]:
        """What a stream begins with, before its first token."""

    def token(self, index: int) -> list[bytes]:
        """Token number `index` of every choice."""

    def end(self) -> list[bytes]:
        """What follows the last token."""

    def whole(self, made: int) -> dict[str, Any]:
        """The answer in one piece, after `made` tokens."""


class ChatShape:
    """/v1/chat/completions."""

    def __init__(self, document: dict[str, Any], model: str, script: Script, prompt: int) -> None:
        self.script = script
        self.prompt = prompt
        self.usage_wanted = api.asks_for_usage(document)
        self.head = {"id": f"chatcmpl-{uuid.uuid4().hex[:16]}", "object": "", "created": int(time.time()),
                     "model": model}  # fmt: skip
        self.calls = [f"chatcmpl-tool-{uuid.uuid4().hex[:16]}" for _ in range(script.choices)]

    def begin(self) -> list[bytes]:
        """The role; with a tool, its name."""
        events = [
            self._chunk(choice, {"role": "assistant", "content": ""}, first=True)
            for choice in range(self.script.choices)
        ]
        if self.script.tool:
            for choice, call in enumerate(self.calls):
                function = {"name": self.script.tool, "arguments": ""}
                named = {"id": call, "type": "function", "index": 0, "function": function}
                events.append(self._chunk(choice, {"tool_calls": [named]}))
        return events

    def token(self, index: int) -> list[bytes]:
        """A delta of the content, or of the call's arguments."""
        script, events = self.script, []
        end = script.finish if index == script.length - 1 else None
        for choice in range(script.choices):
            piece = script.piece(index, choice)
            delta: dict[str, Any] = {"content": piece}
            if script.tool:
                delta = {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}
            events.append(self._chunk(choice, delta, end, self._logprobs((index,), choice)))
        return events

    def end(self) -> list[bytes]:
        """Usage, where it was asked for."""
        if not self.usage_wanted:
            return [DONE]
        return [event(encode(_usage_chunk(self.head, "chat.completion.chunk", self.script, self.prompt))), DONE]

    def whole(self, made: int) -> dict[str, Any]:
        """The recorded document, field by field."""
        script = self.script
        choices = [
            {
                "index": choice,
                "message": self._message(made, choice),
                "logprobs": self._logprobs(range(made), choice),
                "finish_reason": script.finish,
                "stop_reason": None,
                "token_ids": None,
                "routed_experts": None,
            }
            for choice in range(script.choices)
        ]
        details = {"prompt_tokens_details": None, "completion_tokens_details": None}
        return {
            **self.head,
            "object": "chat.completion",
            "choices": choices,
            "service_tier": None,
            "system_fingerprint": api.FINGERPRINT,
            "usage": {**api.usage(self.prompt, made * script.choices), **details},
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

    def _logprobs(self, indexes: Any, choice: int) -> dict[str, Any] | None:
        top = self.script.top_logprobs
        if top is None:
            return None
        content = []
        for index in indexes:
            one = _likely(self.script.piece(index, choice))
            content.append({**one, "top_logprobs": [one] * top})
        return {"content": content}

    def _chunk(
        self, index: int, delta: dict[str, Any], finish: str | None = None, logprobs: Any = None, *, first: bool = False
    ) -> bytes:
        """One chunk; the first one carries the role and what is known of the prompt."""
        choice: dict[str, Any] = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        if finish is not None:
            choice["stop_reason"] = None
        chunk = {**self.head, "object": "chat.completion.chunk", "choices": [choice]}
        if first:
            return event(encode({**chunk, "prompt_token_ids": None, "prompt_text": None}))
        choice["token_ids"] = None
        return event(encode(chunk))


class TextShape:
    """/v1/completions."""

    def __init__(self, document: dict[str, Any], model: str, script: Script, prompt: int) -> None:
        self.script = script
        self.prompt = prompt
        self.usage_wanted = api.asks_for_usage(document)
        self.head = {"id": f"cmpl-{uuid.uuid4().hex[:16]}", "object": "text_completion", "created": int(time.time()),
                     "model": model}  # fmt: skip

    def begin(self) -> list[bytes]:
        """Nothing comes before the text."""
        return []

    def token(self, index: int) -> list[bytes]:
        """A piece of the text."""
        end = self.script.finish if index == self.script.length - 1 else None
        return [
            event(encode({**self.head, "choices": [self._choice(range(index, index + 1), choice, end)]}))
            for choice in range(self.script.choices)
        ]

    def end(self) -> list[bytes]:
        """Usage, where it was asked for."""
        if not self.usage_wanted:
            return [DONE]
        return [event(encode(_usage_chunk(self.head, "text_completion", self.script, self.prompt))), DONE]

    def whole(self, made: int) -> dict[str, Any]:
        """The whole text of every choice."""
        choices = [self._choice(range(made), choice, self.script.finish) for choice in range(self.script.choices)]
        return {
            **self.head,
            "choices": choices,
            "service_tier": None,
            "system_fingerprint": api.FINGERPRINT,
            "usage": {**api.usage(self.prompt, made * self.script.choices), "prompt_tokens_details": None},
            "kv_transfer_params": None,
        }

    def _choice(self, indexes: range, choice: int, finish: str | None) -> dict[str, Any]:
        pieces = [self.script.piece(index, choice) for index in indexes]
        logprobs, offset = None, len(self.script.text(indexes.start, choice))
        if self.script.top_logprobs is not None:
            likely = [_likely(piece)["logprob"] for piece in pieces]
            offsets = [offset + len("".join(pieces[:i])) for i in range(len(pieces))]
            top = [{piece: one} for piece, one in zip(pieces, likely, strict=True)]
            logprobs = {"text_offset": offsets, "token_logprobs": likely, "tokens": pieces, "top_logprobs": top}
        return {"index": choice, "text": "".join(pieces), "logprobs": logprobs, "finish_reason": finish,
                "stop_reason": None}  # fmt: skip


def _usage_chunk(head: dict[str, Any], kind: str, script: Script, prompt: int) -> dict[str, Any]:
    """The last chunk of a stream whose client asked for usage."""
    used = api.usage(prompt, script.length * script.choices)
    return {**head, "object": kind, "choices": [], "usage": used, "system_fingerprint": api.FINGERPRINT}


def _likely(piece: str) -> dict[str, Any]:
    return {"token": piece, "logprob": -0.25, "bytes": list(piece.encode())}
