"""What is wrong with a request."""

from typing import ClassVar


class BadRequestError(Exception):
    """The client's mistake; the message says what, where and what to do."""

    status: ClassVar[int] = 400


class ForeignCodingError(BadRequestError):
    """The body is written in a way that nobody here reads: compressed, for one."""

    status: ClassVar[int] = 415
