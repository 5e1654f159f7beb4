"""What a trace says of one request. Readers make these (readers.py); the fleet plays them."""

from dataclasses import dataclass

from forebay.resources.reasons import Capability, Priority


@dataclass(frozen=True, slots=True)
class TraceRequest:
    """One request. `at` in seconds from the trace's begin; `prompt` and `output` in tokens.

    Without `model` the capability map chooses; without `capability` either, it is a general request. `blocks` are the
    hashes of the prompt's whole blocks (simulator.prefix), `session` what a gateway would know the conversation by;
    without one it is a conversation of its own. `max_tokens` is the client's limit, where it set one.
    """

    at: float
    prompt: int
    output: int
    priority: Priority = Priority.NORMAL
    client: str = ""
    model: str = ""
    capability: Capability | None = None
    blocks: tuple[int, ...] = ()
    session: str = ""
    max_tokens: int | None = None
