"""How a try at a provider can fail while the client has heard nothing."""

from forebay.rules.breaker import CallResult


class CloudError(Exception):
    """This provider did not take the request, and the client has heard nothing: there may be another way.

    `sent`: it may have had the request.
    """

    def __init__(self, message: str, sent: bool = False) -> None:
        super().__init__(message)
        self.sent = sent


class FailedError(Exception):
    """Why a provider gave no answer, in one CamelCase word of the closed list in docs/cloud.md, and what that says.

    `outcome` is None where it says nothing, as when the client's own deadline came first; `pause` is how many seconds
    the provider asks to be let alone.
    """

    def __init__(self, word: str, outcome: CallResult | None, pause: float = 0.0) -> None:
        super().__init__(word)
        self.word = word
        self.outcome = outcome
        self.pause = pause
