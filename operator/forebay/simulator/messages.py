"""Anthropic's Messages API as vLLM serves it: named events, blocks with an index, and no [DONE]."""

import uuid
from typing import Any, Final

import msgspec

from forebay.simulator.http import encode, event
from forebay.simulator.script import Script
from forebay.simulator.shapes import aborted

STOP_REASONS: Final = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "abort": "end_turn"}
"""By the word of chat completions."""


class Messages:
    """/v1/messages."""

    def __init__(self, document: dict[str, Any], model: str, script: Script, prompt: int, identity: str) -> None:
        self.script = script
        self.prompt = prompt
        self.head = {"id": f"chatcmpl-{identity}", "type": "message", "role": "assistant", "model": model}
        self.call = f"toolu_{uuid.uuid4().hex[:16]}"

    def begin(self) -> list[bytes]:
        """The message without content, and its block."""
        message: dict[str, Any] = {
            **self.head,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": self._usage(0),
        }
        block = self._block("", {}) if self.script.tool else {"type": "text", "text": ""}
        return [_event("message_start", message=message), _event("content_block_start", index=0, content_block=block)]

    def token(self, index: int) -> list[bytes]:
        """A delta of the text, or of the tool's input."""
        piece = self.script.piece(index)
        delta = {"type": "input_json_delta", "partial_json": piece} if self.script.tool else _text_delta(piece)
        return [_event("content_block_delta", index=0, delta=delta)]

    def end(self) -> list[bytes]:
        """Why it ended, and the usage."""
        delta = {"stop_reason": self._reason(), "stop_sequence": self.script.stop}
        return [
            _event("content_block_stop", index=0),
            _event("message_delta", delta=delta, usage=self._usage(self.script.length)),
            _event("message_stop"),
        ]

    def abort(self, made: int) -> list[bytes]:
        """An end like any other: nothing tells."""
        self.script = aborted(self.script, made)
        return self.end()

    def whole(self, made: int) -> dict[str, Any]:
        """The message in one piece."""
        text = self.script.text(made)
        return {
            **self.head,
            "content": [self._block(text, None)],
            "stop_reason": self._reason(),
            **({"stop_sequence": self.script.stop} if self.script.stop else {}),
            "usage": self._usage(made),
        }

    def _reason(self) -> str:
        return "stop_sequence" if self.script.stop else STOP_REASONS[self.script.finish]

    def _block(self, text: str, given: Any) -> dict[str, Any]:
        if not self.script.tool:
            return {"type": "text", "text": text}
        value = given if given is not None else _decoded(text)
        return {"type": "tool_use", "id": self.call, "name": self.script.tool, "input": value}

    def _usage(self, output: int) -> dict[str, int]:
        return {"input_tokens": self.prompt, "output_tokens": output}


def error(document: dict[str, Any]) -> dict[str, Any]:
    """An error of the other APIs in Anthropic's frame."""
    inner = document["error"]
    return {"type": "error", "error": {"type": inner["type"], "message": inner["message"]}}


def _text_delta(text: str) -> dict[str, str]:
    return {"type": "text_delta", "text": text}


def _decoded(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:  # cut by the limit
        return {}


def _event(kind: str, **fields: Any) -> bytes:
    return event(encode({"type": kind, **fields}), kind)
