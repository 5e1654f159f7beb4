"""What OpenAI's API knows inside the fields of a body, object by object: what is kept, what is left out, what stays.

A conversation's state was made by some backend, and another one refuses or misreads it. `Walk` goes through a body once
and makes it fit: members of the API are kept; what says nothing, what another backend added to its own answers, and
what is known to change no answer is left out; ids of calls become such as every API takes. Anything else is named by
its path, such as `tools.mcp.authorization`, and keeps the request here, as do credentials. A policy may say otherwise
by path: `dropFields` leaves out, `acceptFields` keeps.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from forebay.rules.credentials import TooLargeError, credentials, is_public, without

MOST_STEPS: Final = 10_000
"""Members that are looked at: some milliseconds. A body with more of them stays here, as `size`."""
LONGEST_ID: Final = 40
TOO_LARGE: Final = "size"
MOST_FOUND: Final = 16
"""Names that are told; one is enough to stay."""
CALL_ID: Final = "messages.tool_calls.id"
"""The name that ids of calls go by in `acceptFields`, in results and in Responses too."""

_PORTABLE_ID: Final = re.compile(r"[A-Za-z0-9_-]+")
NEW_ID: Final = 9
ABSENT: Final = object()
"""What a member becomes that is left out."""


class Walk:
    """One look through a body: what the policy's entry says by path, and what was found to stay.

    `most` bounds the members that are looked at; beyond it everything raises TooLargeError.
    """

    __slots__ = ("_bounded", "_left", "accepted", "dropped", "found")

    def __init__(
        self, accepted: frozenset[str] = frozenset(), dropped: frozenset[str] = frozenset(), most: int | None = None
    ) -> None:
        self.accepted = accepted
        self.dropped = dropped
        self.found: set[str] = set()
        self._bounded = most is not None
        self._left = most or 0

    def steps(self, count: int) -> None:
        """So many more members."""
        self._left -= count
        if self._bounded and self._left < 0:
            raise TooLargeError

    def odd(self, name: str, value: Any) -> Any:
        """What no provider is expected to take, unless the entry says so."""
        if name in self.dropped:
            return ABSENT
        if name not in self.accepted and len(self.found) < MOST_FOUND:
            self.found.add(name)
        return self.plain(name, value)

    def plain(self, name: str, value: Any) -> Any:
        """A value that is sent as it is, provided that it holds no credentials."""
        if not isinstance(value, dict | list):
            return value
        for path in credentials(name, value, self.steps):
            if path not in self.accepted and len(self.found) < MOST_FOUND:
                self.found.add(path)
        return without(name, value, self.dropped) if self.dropped else value

    def holds_credentials(self, name: str, value: Any) -> bool:
        """Whether there is any, other than those that the entry accepts."""
        return any(path not in self.accepted for path in credentials(name, value, self.steps))


Fit = Callable[[Walk, str, Any], Any]
"""Makes one member fit; its name is its path."""


class ObjectShape:
    """An object: its members, those that may be left out (`lenient`: all others may be), and those that it needs."""

    __slots__ = ("_fits", "_left_out", "_lenient", "_needs", "path")

    def __init__(
        self, path: str, fits: Mapping[str, Fit], *, left_out: frozenset[str] = frozenset(), lenient: bool = False,
        needs: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        self.path = path
        self._fits = {key: (f"{path}.{key}", fit) for key, fit in fits.items()}
        self._left_out = left_out
        self._lenient = lenient
        self._needs = needs

    def __call__(self, walk: Walk, name: str, value: Any) -> Any:
        """The object as it fits."""
        if not isinstance(value, dict):
            return walk.odd(name, value)
        made: dict[str, Any] = {}
        walk.steps(len(value))
        for key, member in value.items():
            known = self._fits.get(key)
            if known is None:
                fitted = self._unknown(walk, key, member)
            elif member is None or (walk.dropped and known[0] in walk.dropped):
                continue
            else:
                fitted = known[1](walk, known[0], member)
            if fitted is not ABSENT:
                made[key] = fitted
        for key in self._needs:
            if key not in made and f"{self.path}.{key}" not in walk.dropped:
                walk.odd(f"{self.path}.{key}", None)
        return made

    def _unknown(self, walk: Walk, key: str, member: Any) -> Any:
        name = f"{self.path}.{key[:LONGEST_ID]}"
        if self._lenient or key in self._left_out:
            kept = name in walk.accepted and name not in walk.dropped and not walk.holds_credentials(name, member)
            return member if kept else ABSENT
        return walk.odd(name, member) if member or name in walk.accepted else ABSENT


# Single values.


def text(walk: Walk, name: str, value: Any) -> Any:
    """A string."""
    return value if isinstance(value, str) else walk.odd(name, value)


def scalar(walk: Walk, name: str, value: Any) -> Any:
    """A string, a number, a truth value."""
    return walk.odd(name, value) if isinstance(value, dict | list) else value


def plain(walk: Walk, name: str, value: Any) -> Any:
    """The client's own data, a schema for instance."""
    return walk.plain(name, value)


def as_json(walk: Walk, name: str, value: Any) -> Any:
    """A string of JSON; some clients and templates have the object itself."""
    return msgspec.json.encode(value).decode() if isinstance(value, dict) else text(walk, name, value)


def call_id(walk: Walk, name: str, value: Any) -> Any:
    """The id of a call, in the call and in its result."""
    if not isinstance(value, str) or not value:
        return walk.odd(name, value)
    return value if CALL_ID in walk.accepted else portable_id(value)


def portable_id(given: str) -> str:
    """An id that every API takes: itself, or nine letters and digits made of it, the same for the same id.

    Nothing has to be mapped back: an id of the history stands in no answer, and new ones are opaque to engines.
    """
    if len(given) <= LONGEST_ID and _PORTABLE_ID.fullmatch(given):
        return given
    return hashlib.blake2b(given.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()[:NEW_ID]


def image_address(walk: Walk, name: str, value: Any) -> Any:
    """Where an image is: in the request itself, or where anybody may read it."""
    good = isinstance(value, str) and (value.startswith("data:") or is_public(value))
    return value if good else walk.odd("content.image_url", value)


# Lists.


def each(fit: Fit, empty: Any = ABSENT) -> Fit:
    """A list of such; `empty` is what an empty one becomes."""

    def fit_all(walk: Walk, name: str, value: Any) -> Any:
        if not isinstance(value, list):
            return walk.odd(name, value)
        if not value:
            return empty
        made = []
        walk.steps(len(value))
        for item in value:
            if (fitted := fit(walk, name, item)) is not ABSENT:
                made.append(fitted)
        return made

    return fit_all


def by_type(fits: Mapping[str, Fit], prefix: str, *, usual: str = "", left_out: frozenset[str] = frozenset()) -> Fit:
    """One of several objects, told by its `type`; without one it is `usual`, or else what its key says.

    Others are named PREFIX.TYPE; those that are `left_out` are the state of the backend that made them.
    """

    def fit_one(walk: Walk, name: str, value: Any) -> Any:
        if not isinstance(value, dict):
            return walk.odd(name, value)
        kind = value.get("type")
        if kind is None:
            kind = usual or next((key for key in fits if key in value), "")
            value = {"type": kind, **{key: member for key, member in value.items() if key != "type"}}
        kind = kind[:LONGEST_ID] if isinstance(kind, str) else "type"
        path = f"{prefix}.{kind}"
        fit = fits.get(kind)
        if fit is not None:
            return ABSENT if path in walk.dropped else fit(walk, path, value)
        if kind in left_out and path not in walk.accepted:
            return ABSENT
        return walk.odd(path, value)

    return fit_one


def parts_of(fit: Fit, kind: str) -> Fit:
    """A string, or a list of parts; a string among them is a part of this kind."""

    def fit_part(walk: Walk, name: str, value: Any) -> Any:
        return {"type": kind, "text": value} if isinstance(value, str) else fit(walk, name, value)

    fit_list = each(fit_part)

    def fit_content(walk: Walk, name: str, value: Any) -> Any:
        return value if isinstance(value, str) else fit_list(walk, name, value)

    return fit_content


def prompts(walk: Walk, name: str, value: Any) -> Any:
    """A string, or several; token ids are numbers of one tokenizer."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return walk.odd(name, value)
    walk.steps(len(value))
    for item in value:
        if not isinstance(item, str):
            return walk.odd(f"{name}.token_ids" if isinstance(item, int | list) else name, value)
    return value
