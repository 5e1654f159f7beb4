"""The Responses API as vLLM writes it: named events with sequence numbers, a final document, no [DONE]."""

import time
import uuid
from typing import Any

from forebay.simulator.http import encode, event
from forebay.simulator.script import Script
from forebay.simulator.shapes import aborted


class Responses:
    """/v1/responses."""

    def __init__(self, document: dict[str, Any], model: str, script: Script, prompt: int, identity: str) -> None:
        del identity  # it makes its own
        self.document = document
        self.model = model
        self.script = script
        self.prompt = prompt
        self.created = time.time()
        self.identity = f"resp_{uuid.uuid4().hex}"
        self.item = f"{'fc' if script.tool else 'msg'}_{uuid.uuid4().hex}"
        self.call = f"call_{uuid.uuid4().hex}"
        self._sequence = -1

    def begin(self) -> list[bytes]:
        """The response, its item and its part come into being."""
        running = self._document("in_progress", [])
        events = [
            self._event("response.created", response=running),
            self._event("response.in_progress", response=running),
            self._event("response.output_item.added", output_index=0, item=self._item("", "in_progress")),
        ]
        if not self.script.tool:
            part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
            events.append(self._within("response.content_part.added", part=part))
        return events

    def token(self, index: int) -> list[bytes]:
        """A delta of the text, or of the call's arguments."""
        piece = self.script.piece(index)
        if self.script.tool:
            return [self._event("response.function_call_arguments.delta", output_index=0, item_id=self.item,
                                delta=piece)]  # fmt: skip
        return [self._within("response.output_text.delta", delta=piece, logprobs=[])]

    def end(self) -> list[bytes]:
        """Everything once more, complete."""
        made = self.script.length
        text, item = self.script.text(made), self._item(self.script.text(made), "completed")
        if self.script.tool:
            events = [self._event("response.function_call_arguments.done", output_index=0, item_id=self.item,
                                  arguments=text, name=self.script.tool)]  # fmt: skip
        else:
            events = [
                self._within("response.output_text.done", text=text, logprobs=[]),
                self._within("response.content_part.done", part=item["content"][0]),
            ]
        whole = self.whole(made)
        return [
            *events,
            self._event("response.output_item.done", output_index=0, item=item),
            self._event("response.completed", response=whole),
        ]

    def abort(self, made: int) -> list[bytes]:
        """An end like any other: nothing tells."""
        self.script = aborted(self.script, made)
        return self.end()

    def whole(self, made: int) -> dict[str, Any]:
        """The answer in one piece."""
        usage = {
            "input_tokens": self.prompt,
            "input_tokens_details": {
                "cached_tokens": 0,
                "cache_write_tokens": 0,
                "input_tokens_per_turn": [],
                "cached_tokens_per_turn": [],
            },
            "output_tokens": made,
            "output_tokens_details": {
                "reasoning_tokens": 0,
                "tool_output_tokens": 0,
                "output_tokens_per_turn": [],
                "tool_output_tokens_per_turn": [],
            },
            "total_tokens": self.prompt + made,
        }
        cut = self.script.finish == "length"
        document = self._document("incomplete" if cut else "completed", [self._item(self.script.text(made))])
        return {**document, "usage": usage, "incomplete_details": {"reason": "max_output_tokens"} if cut else None}

    def _document(self, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
        asked = self.document
        return {
            "id": self.identity,
            "created_at": int(self.created),
            "incomplete_details": None,
            "instructions": asked.get("instructions"),
            "metadata": asked.get("metadata"),
            "model": self.model,
            "object": "response",
            "output": output,
            "parallel_tool_calls": True,
            "temperature": asked.get("temperature", 1.0),
            "tool_choice": asked.get("tool_choice", "auto"),
            "tools": asked.get("tools") or [],
            "top_p": asked.get("top_p", 1.0),
            "background": False,
            "max_output_tokens": asked.get("max_output_tokens") or self.script.length,
            "max_tool_calls": None,
            "prompt": None,
            "reasoning": asked.get("reasoning"),
            "top_logprobs": None,
            "user": asked.get("user"),
            "presence_penalty": asked.get("presence_penalty", 0.0),
            "frequency_penalty": asked.get("frequency_penalty", 0.0),
            "kv_transfer_params": None,
            "ec_transfer_params": None,
            "input_messages": None,
            "output_messages": None,
            "previous_response_id": asked.get("previous_response_id"),
            "service_tier": "auto",
            "status": status,
            "text": asked.get("text"),
            "truncation": "disabled",
            "usage": None,
        }

    def _item(self, text: str, status: str = "completed") -> dict[str, Any]:
        if self.script.tool:
            return {"id": self.item, "type": "function_call", "call_id": self.call, "name": self.script.tool,
                    "arguments": text, "status": status}  # fmt: skip
        content: list[dict[str, Any]] = []
        if text:
            content.append({"type": "output_text", "text": text, "annotations": [], "logprobs": None})
        return {
            "id": self.item,
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": content,
            "phase": None,
        }

    def _within(self, kind: str, **fields: Any) -> bytes:
        return self._event(kind, output_index=0, content_index=0, item_id=self.item, **fields)

    def _event(self, kind: str, **fields: Any) -> bytes:
        self._sequence += 1
        return event(encode({"type": kind, "sequence_number": self._sequence, **fields}), kind)
