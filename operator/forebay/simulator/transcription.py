"""/v1/audio/transcriptions and translations as vLLM answers them: a text with its seconds, or chunks of choices."""

import time
from typing import Any, Final

from forebay.simulator.http import encode, event
from forebay.simulator.script import Script
from forebay.simulator.shapes import DONE, aborted

SECONDS: Final = 1
"""What every file is taken for."""


class Transcription:
    """One answer. What is said in a file is made up."""

    def __init__(self, document: dict[str, Any], model: str, script: Script, prompt: int, identity: str) -> None:
        self.script = script
        self.head = {
            "id": f"trsc-{identity}",
            "object": "transcription.chunk",
            "created": int(time.time()),
            "model": model,
        }

    def begin(self) -> list[bytes]:
        """Nothing comes before the text."""
        return []

    def token(self, index: int) -> list[bytes]:
        """A piece of the text."""
        end = self.script.finish if index == self.script.length - 1 else None
        choice = {"delta": {"content": self.script.piece(index)}, "finish_reason": end, "stop_reason": None}
        return [event(encode({**self.head, "choices": [choice]}))]

    def end(self) -> list[bytes]:
        """[DONE]."""
        return [DONE]

    def abort(self, made: int) -> list[bytes]:
        """An end like any other, but for its word."""
        self.script = aborted(self.script, made)
        choice = {"delta": {"content": ""}, "finish_reason": "abort", "stop_reason": None}
        return [event(encode({**self.head, "choices": [choice]})), *self.end()]

    def whole(self, made: int) -> dict[str, Any]:
        """The text in one piece."""
        return {"text": self.script.text(made), "usage": {"type": "duration", "seconds": SECONDS}}
