"""How a try at a provider can fail while the client has heard nothing."""

from typing import NamedTuple

from forebay.resources.reasons import Reason
from forebay.router.cloud.verdict import Tell
from forebay.rules.breaker import CallResult


class Refusal(NamedTuple):
    """A provider's 4xx in its own words, without the key: the client's answer if nobody takes the request.

    `request_id` is the provider's own.
    """

    status: int
    tell: Tell
    body: bytes
    request_id: str = ""


class CloudError(Exception):
    """This provider did not take the request, and the client has heard nothing: there may be another way.

    `sent`: it may have had the request. `refusal` is what it said to it, if that is something to tell. `no_money`: it
    was not asked, for lack of money, and why that is.
    """

    def __init__(
        self, message: str, sent: bool = False, refusal: Refusal | None = None, no_money: Reason | None = None
    ) -> None:
        super().__init__(message)
        self.sent = sent
        self.refusal = refusal
        self.no_money = no_money


class FailedError(Exception):
    """Why a provider gave no answer, in one CamelCase word of the closed list in docs/cloud.md, and what that says.

    `outcome` is None where it says nothing, as when the client's own deadline came first; `pause` is how many seconds
    the provider asks to be let alone. `refusal`: it answered 4xx, and whose fault that is depends on who else is
    refused; `request` tells this request from others.
    """

    def __init__(
        self,
        word: str,
        outcome: CallResult | None,
        pause: float = 0.0,
        refusal: Refusal | None = None,
        request: bytes = b"",
    ) -> None:
        super().__init__(word)
        self.word = word
        self.outcome = outcome
        self.pause = pause
        self.refusal = refusal
        self.request = request
