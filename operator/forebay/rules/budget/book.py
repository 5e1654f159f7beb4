"""All accounts of a gateway and the reservations that are open: in every account a request touches at once, or in none.

What is to be remembered goes through `note` before it counts. A note that fails (OSError) leaves the book as it was.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from forebay.rules.budget import account as accounts
from forebay.rules.budget.account import Account

MOST_ACCOUNTS: Final = 4
"""That one request touches: policy, provider, client, and one to spare."""


class AccountKey(NamedTuple):
    """A budget and the start of its period, in Unix seconds."""

    budget: str
    start: int


class Begun(Struct, frozen=True):
    """A request was sent whose worst case is reserved in these accounts."""

    id: int
    worst: int
    keys: tuple[AccountKey, ...]


class Ended(Struct, frozen=True):
    """It has cost so much."""

    id: int
    cost: int


class Returned(Struct, frozen=True):
    """So much was given back, in all."""

    key: AccountKey
    returned: int


class Closed(Struct, frozen=True):
    """The account takes no request any more."""

    key: AccountKey


class Kept(Struct, frozen=True):
    """An account as it was when the journal was written anew."""

    key: AccountKey
    spent: int
    returned: int
    closed: bool = False


BookNote = Begun | Ended | Returned | Closed | Kept


def _forget(_: BookNote) -> None:
    """Where nothing outlives the process."""


class AccountBook:
    """The book of one gateway process."""

    def __init__(self, note: Callable[[BookNote], None] = _forget) -> None:
        self.accounts: dict[AccountKey, Account] = {}
        self.open: dict[int, Begun] = {}
        self.beyond = 0  # what answers cost above their worst case, in all
        self.note = note
        self._next = 1

    def account(self, key: AccountKey) -> Account:
        """One account; of one that nobody has spoken of yet, an empty one."""
        return self.accounts.get(key, _NOTHING)

    def learn(self, key: AccountKey, granted: int, limit: int | None) -> None:
        """What a ledger says, perhaps an old one; then give back what lies above the limit."""
        found = self.accounts[key] = accounts.learn(self.account(key), granted, limit)
        after = accounts.give_back(found)
        if after.returned > found.returned:
            self.note(Returned(key, after.returned))
            self.accounts[key] = after

    def reserve(self, groups: Sequence[Sequence[AccountKey]], worst: int, *, force: bool = False) -> int | None:
        """Reserve in one account of each group, the first with room; the reservation's number, or None: in none.

        `force`: where none of a group has room, its first is overdrawn.
        """
        chosen: list[AccountKey] = []
        for group in groups:
            key = next((key for key in group if accounts.fits(self.account(key), worst)), None)
            if key is None and not force:
                return None
            key = key or group[0]
            chosen.append(key)
        begun = Begun(self._next, worst, tuple(chosen))
        self.note(begun)
        self._begin(begun)
        return begun.id

    def settle(self, number: int, cost: int) -> bool:
        """A request has ended; False for a number that was settled already, which changes nothing."""
        begun = self.open.get(number)
        if begun is None:
            return False
        cost = max(0, cost)
        with suppress(OSError):  # then the journal keeps it open, at its worst case
            self.note(Ended(number, cost))
        self._end(begun, cost)
        return True

    def close(self, keys: Iterable[AccountKey]) -> None:
        """No request begins in these any more."""
        for key in keys:
            if not self.account(key).closed:
                self.note(Closed(key))
                self.accounts[key] = accounts.close(self.account(key))

    def forget(self, known: Callable[[AccountKey], bool]) -> None:
        """Drop accounts that no ledger has any more, once nothing is open in them."""
        busy = {key for begun in self.open.values() for key in begun.keys}
        for key in [key for key in self.accounts if key not in busy and not known(key)]:
            del self.accounts[key]

    # What the journal holds.

    def replay(self, note: BookNote) -> None:
        """Take over what an earlier process of the same pod has noted. Notes twice, or of what is gone, do nothing."""
        match note:
            case Begun():
                if note.id >= self._next:
                    self._begin(note)
            case Ended():
                if (begun := self.open.get(note.id)) is not None:
                    self._end(begun, note.cost)
            case Returned(key=key):
                found = self.account(key)
                self.accounts[key] = replace(found, returned=max(found.returned, note.returned))
            case Closed(key=key):
                self.accounts[key] = accounts.close(self.account(key))
            case Kept(key=key):
                self.accounts[key] = Account(returned=note.returned, spent=note.spent, closed=note.closed)

    def settle_open(self) -> int:
        """What an earlier process had begun counts at its worst case; how many there were."""
        numbers = list(self.open)
        for number in numbers:
            self.settle(number, self.open[number].worst)
        return len(numbers)

    def notes(self) -> list[BookNote]:
        """What a journal written anew has to hold. A reservation is kept beside what was spent without it."""
        kept: list[BookNote] = [
            Kept(key, account.spent, account.returned, account.closed) for key, account in self.accounts.items()
        ]
        return [*kept, *self.open.values()]

    def _begin(self, begun: Begun) -> None:
        for key in begun.keys:
            self.accounts[key] = accounts.begin(self.account(key), begun.worst)
        self.open[begun.id] = begun
        self._next = begun.id + 1

    def _end(self, begun: Begun, cost: int) -> None:
        del self.open[begun.id]
        self.beyond += max(0, cost - begun.worst)
        for key in begun.keys:
            self.accounts[key] = accounts.settle(self.account(key), begun.worst, cost)


_NOTHING: Final = Account()
