"""A request's body as a form (multipart/form-data, RFC 7578). What two readers could read in two ways is refused.

The search for a boundary costs up to 10 ns a byte in bodies made for it, so that a form is read in steps: a router lets
others have their turn between two of them.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from forebay.rules.dialect.errors import BadRequestError
from forebay.rules.portability import LIMITS

STEP_BYTES: Final = 256 * 1024
MOST_PARTS: Final = 64
HEAD_BYTES: Final = 4096
VALUE_BYTES: Final = 64 * 1024
FILE: Final = "file"
"""The one part that may be a file."""
BOUNDARY: Final = "forebay-8ef2c1a6b3d94b5f"
"""Of forms that are written here."""
_TYPE: Final = re.compile(rb"multipart/form-data\s*(?:;(.*))?", re.I | re.S)
_BOUNDARY: Final = re.compile(rb"""\s*boundary=(?:"([\w'()+,./:=?-]{1,70})"|([\w'+.-]{1,70}))\s*""", re.I)
_PARAMETER: Final = rb';[ \t]*([\w*-]+)=("(?:[^"\\\r\n]|\\[^\r\n])*"|[^\s;"]+)[ \t]*'
_DISPOSITION: Final = re.compile(rb"form-data[ \t]*((?:" + _PARAMETER + rb")+)", re.I)
_PARAMETERS: Final = re.compile(_PARAMETER)
_NAME: Final = re.compile(r"[\w.-]{1,64}(\[\w*\])?", re.ASCII)
_YES: Final = frozenset({"true", "1", "yes", "on", "y", "t"})
_MANY: Final = "[]"
"""What a name ends with that may stand several times."""


class FormReader:
    """One form. `fields` are its texts by name; numbers and `stream` as JSON would have them. `step` until `done`.

    `model_at`: where the model's name stands in the body.
    """

    __slots__ = ("_body", "_content", "_delimiter", "_file", "_name", "_parts", "_searched", "done", "fields",
                 "model_at")  # fmt: skip

    def __init__(self, content_type: bytes, body: bytes) -> None:
        boundary = _boundary(content_type)
        self._body = body
        self._delimiter = b"\r\n--" + boundary
        self._parts: set[str] = set()
        self._name = ""
        self._file = False
        self._content = self._searched = 0
        self.done = False
        self.fields: dict[str, Any] = {}
        self.model_at: tuple[int, int] | None = None
        if not body.startswith(self._delimiter[2:]):
            raise BadRequestError("the form must begin with its boundary")
        self._behind_delimiter(len(self._delimiter) - 2)

    def read(self) -> None:
        """To its end. Raises BadRequestError."""
        while not self.done:
            self.step()

    def step(self) -> None:
        """Look for the end of the part through the next STEP_BYTES. Raises BadRequestError."""
        end = self._searched + STEP_BYTES
        found = self._body.find(self._delimiter, self._searched, end + len(self._delimiter))
        if found >= 0:
            self._part(found)
            self._behind_delimiter(found + len(self._delimiter))
        elif end >= len(self._body):
            raise BadRequestError("the form ends without its last boundary")
        else:
            self._searched = end

    def _behind_delimiter(self, at: int) -> None:
        """Another part, or the end."""
        body, following = self._body, self._body[at : at + 2]
        if following == b"--":
            if body[at + 2 : at + 6] not in (b"", b"\r\n"):
                raise BadRequestError("something follows the form's last boundary")
            self.done = True
            return
        head = body.find(b"\r\n\r\n", at, at + HEAD_BYTES) if following == b"\r\n" else -1
        if head < 0:
            raise BadRequestError("a part of the form has no head that can be read")
        self._name, self._file = _named(body[at + 2 : head])
        if self._name in self._parts and not self._name.endswith(_MANY):
            raise BadRequestError(f"the form says {self._name!r} more than once: send it once")
        if self._file is not (self._name == FILE):
            raise BadRequestError(f"the form's part {self._name!r} must {'not ' if self._file else ''}be a file")
        self._parts.add(self._name)
        if len(self._parts) > MOST_PARTS:
            raise BadRequestError(f"the form has more than {MOST_PARTS} parts")
        self._content = self._searched = head + 4

    def _part(self, end: int) -> None:
        """The part's content ends here."""
        if self._file:
            return
        if end - self._content > VALUE_BYTES:
            raise BadRequestError(f"the form's part {self._name!r} is longer than {VALUE_BYTES} bytes")
        try:
            text = self._body[self._content : end].decode()
        except UnicodeDecodeError:
            raise BadRequestError(f"the form's part {self._name!r} is no UTF-8") from None
        if self._name == "model":
            self.model_at = (self._content, end)
        self.fields[self._name] = _value(self._name, text)


def write(fields: Mapping[str, str | bytes]) -> tuple[bytes, bytes]:
    """Content type and body of a small form; bytes become a file."""
    parts = []
    for name, value in fields.items():
        more = f'; filename="{name}"' if isinstance(value, bytes) else ""
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'
        parts.append(head.encode() + (value if isinstance(value, bytes) else value.encode()) + b"\r\n")
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    return kind.encode(), b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def _boundary(content_type: bytes) -> bytes:
    kind = _TYPE.fullmatch(content_type.strip())
    if kind is None:
        raise BadRequestError("this path takes a form: send Content-Type: multipart/form-data")
    found = [match for part in (kind[1] or b"").split(b";") if (match := _BOUNDARY.fullmatch(part)) is not None]
    if len(found) != 1:
        raise BadRequestError("Content-Type must name the form's boundary once, in plain letters")
    boundary: bytes = found[0][1] or found[0][2]
    return boundary


def _named(head: bytes) -> tuple[str, bool]:
    """The name of a part, and whether it is a file."""
    disposition = None
    for line in head.split(b"\r\n"):
        key, _, value = line.partition(b":")
        match key.lower():
            case b"content-disposition" if disposition is None:
                disposition = _DISPOSITION.fullmatch(value.strip())
            case b"content-type" | b"content-length":
                pass
            case _:
                raise BadRequestError("a part of the form has a header that is not understood")
    if disposition is None:
        raise BadRequestError("a part of the form has no Content-Disposition that can be read")
    given = [(key.lower(), value.strip(b'"')) for key, value in _PARAMETERS.findall(disposition[1])]
    keys = [key for key, _ in given]
    if sorted(set(keys) - {b"filename*"}) not in ([b"name"], [b"filename", b"name"]) or len(set(keys)) < len(keys):
        raise BadRequestError("a part of the form has a Content-Disposition that could be read in two ways")
    name = dict(given)[b"name"].decode("latin-1")
    if _NAME.fullmatch(name) is None:
        raise BadRequestError("a part of the form has no plain name")
    return name, len(keys) > 1


def _value(name: str, text: str) -> Any:
    if name in LIMITS and text.isascii() and text.isdigit() and len(text) < 20:
        return int(text)
    if name == "stream":
        return text.strip().lower() in _YES
    return text
