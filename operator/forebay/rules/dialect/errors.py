"""What is wrong with a request."""


class BadRequestError(Exception):
    """The client's mistake; the message says what, where and what to do."""
