"""Which capability a request needs: by what the client says of it, else by its words, else by a heuristic."""

from msgspec import Struct

from forebay.resources.reasons import Capability
from forebay.rules.learned import Words, guess, load

SHORT_ANSWER_TOKENS = 200
COMPLEX = 0.7


class Hints(Struct, frozen=True, gc=False):
    """What the heuristic looks at. `task_type` and `complexity_score` (0..1) come from headers or `metadata`."""

    max_tokens: int | None = None
    has_context: bool = False
    task_type: str = ""
    complexity_score: float | None = None


def classify(hints: Hints, words: Words) -> Capability:
    """What the words ask for, where the client gave no hint and the model is sure; else the heuristic.

    The heuristic: short answer without context: classification; told to extract: extraction; complex: reasoning;
    else general.
    """
    return by_words(hints, words) or by_hints(hints)


def by_words(hints: Hints, words: Words) -> Capability | None:
    """The learned model's guess; None where the client gave a hint, or the model is not sure."""
    if hints.task_type or hints.complexity_score is not None:
        return None
    if not words.user and not words.system and not words.evidence:
        return None
    model = load()
    found = guess(words, model)
    return found.capability if found.confidence >= model.threshold else None


def by_hints(hints: Hints) -> Capability:
    """The heuristic."""
    if hints.max_tokens is not None and hints.max_tokens < SHORT_ANSWER_TOKENS and not hints.has_context:
        return Capability.CLASSIFICATION
    if "extract" in hints.task_type.lower():
        return Capability.EXTRACTION
    if hints.complexity_score is not None and hints.complexity_score > COMPLEX:
        return Capability.REASONING
    return Capability.GENERAL
