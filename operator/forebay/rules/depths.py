"""What stays here of the inside of a body: found when somebody asks whether it may leave, and then only once."""

from collections.abc import Mapping
from typing import Any, Final

from forebay.rules.api_shapes import NEVER_SENT, SHAPES
from forebay.rules.body_shapes import ABSENT, MOST_STEPS, TOO_LARGE, Fit, Walk, plain
from forebay.rules.credentials import TooLargeError

_NO_SHAPES: Final[Mapping[str, Fit]] = {}


class Depths:
    """The inside of one body. Local requests never look into it: only `found` costs anything."""

    __slots__ = ("_document", "_found", "_path")

    def __init__(self, path: str, document: Mapping[str, Any]) -> None:
        self._path = path
        self._document = document
        self._found: frozenset[str] | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Depths) and (self._path, self._document) == (other._path, other._document)

    def __hash__(self) -> int:
        return hash(self._path)

    def found(self) -> frozenset[str]:
        """The paths of what no provider is expected to take, or must not have."""
        if self._found is None:
            self._found = look(self._path, self._document)
        return self._found


NOTHING: Final = Depths("", {})


def look(path: str, document: Mapping[str, Any]) -> frozenset[str]:
    """What `Depths.found` tells. `size` for a body with more in it than is looked at."""
    walk = Walk(most=MOST_STEPS)
    try:
        for name, value in document.items():
            if name not in NEVER_SENT:
                fitted(walk, path, name, value)
    except TooLargeError:
        return frozenset({TOO_LARGE})
    return frozenset(walk.found)


def fitted(walk: Walk, path: str, name: str, value: Any) -> Any:
    """One field as it fits; ABSENT where it is left out."""
    return ABSENT if value is None else SHAPES.get(path, _NO_SHAPES).get(name, plain)(walk, name, value)
