"""A gateway's account in one period of a budget: what it holds, has spent and has reserved. Picodollars; pure."""

from msgspec import Struct
from msgspec.structs import replace


class Account(Struct, frozen=True, gc=False):
    """What is spent and reserved is at most what it holds, at every send. `granted`, `returned` and `spent` only rise.

    `limit` is the operator's word, which may fall: what lies above it and is not in use is to be returned.
    """

    granted: int = 0
    returned: int = 0
    spent: int = 0
    reserved: int = 0
    limit: int | None = None
    closed: bool = False

    @property
    def used(self) -> int:
        """What it has spent or may still be billed for."""
        return self.spent + self.reserved

    @property
    def room(self) -> int:
        """What a further request may cost at worst; below 0 where an answer cost more than was reserved."""
        if self.closed:
            return 0
        held = self.granted - self.returned
        return (held if self.limit is None else min(held, self.limit)) - self.used


def learn(account: Account, granted: int, limit: int | None) -> Account:
    """The ledger's word, perhaps an old one: a grant never falls."""
    return replace(account, granted=max(account.granted, granted), limit=limit)


def fits(account: Account, worst: int) -> bool:
    """Whether a request that costs so much at worst may be sent."""
    return not account.closed and worst <= account.room


def begin(account: Account, worst: int) -> Account:
    """Put the worst case of a request aside that is about to be sent, or was."""
    return replace(account, reserved=account.reserved + worst)


def settle(account: Account, worst: int, cost: int) -> Account:
    """A request has ended and cost so much; once for each reservation."""
    return replace(account, reserved=account.reserved - worst, spent=account.spent + cost)


def give_back(account: Account) -> Account:
    """Return what lies above the limit and is not in use. To be journaled before anybody is told."""
    if account.limit is None:
        return account
    returned = account.granted - max(account.limit, account.used)
    return replace(account, returned=max(account.returned, returned))


def close(account: Account) -> Account:
    """No request begins any more."""
    return replace(account, closed=True)
