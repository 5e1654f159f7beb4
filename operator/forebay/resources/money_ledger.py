"""The ledger of a budget, which the operator writes and gateways read, and what a gateway says of its accounts.

Money is whole picodollars, in which a price of six decimals for a million tokens is exact for one token. One text a
budget stands in the ConfigMap names.BUDGET_CONFIGMAP. `granted` and `returned` are cumulative and only rise, so what is
lost, repeated or out of order does no harm.
"""

import hashlib
from typing import Final

import msgspec

from forebay.resources.table import Frozen, TableError

HIGH: Final = "_high"
"""Ends the name of the budget that only High requests use; no policy's name has such a character."""

SCHEMA: Final = 1
MOST_PICODOLLARS: Final = 2**63 - 1
"""What JSON carries as a whole number: nine million dollars."""


class AccountEntry(Frozen, frozen=True):
    """What one gateway was granted in one period. It may bill `granted` less `returned`, and no more than `limit`.

    `spent` is what it last said, for people to read.
    """

    id: str  # the name of its journal
    gateway: str = ""  # pod name
    granted: int = 0
    returned: int = 0
    limit: int | None = None
    spent: int = 0

    @property
    def held(self) -> int:
        """What it may bill in all."""
        return self.granted - self.returned


class PeriodEntry(Frozen, frozen=True):
    """A budget in one period, from `start` until before `end` (Unix seconds).

    `short` is the least worst case of a request that no longer fits; 0 while none was refused for good. `paced_until`
    is when pacing lets the next one through. `told` are percents of the amount that Events were written about; 0 stands
    for SPENT_TOLD, -1 for BEGUN_TOLD.
    `recovering`: the ledger was lost when so much was committed; nothing is granted until every gateway was heard.
    """

    start: int
    end: int
    amount: int
    accounts: tuple[AccountEntry, ...] = ()
    closed_spent: int = 0  # of accounts that said their last word
    written_off: int = 0  # what lost gateways may have spent beyond what they said
    short: int = 0
    paced_until: int = 0
    recovering: int | None = None
    carried: int = 0  # of `closed_spent`: what was spent in a period that this one took the place of
    told: tuple[int, ...] = ()

    @property
    def committed(self) -> int:
        """What is spent, or may be by those that hold it."""
        return sum(account.held for account in self.accounts) + self.closed

    @property
    def closed(self) -> int:
        """What of it nobody who runs will tell of again."""
        return self.closed_spent + self.written_off

    @property
    def left(self) -> int:
        """What nobody holds."""
        return self.amount - self.committed

    @property
    def spent(self) -> int:
        """As far as gateways have said."""
        return sum(account.spent for account in self.accounts) + self.closed_spent

    def account(self, name: str) -> AccountEntry | None:
        """One of its accounts."""
        return next((account for account in self.accounts if account.id == name), None)


class LedgerEntry(Frozen, frozen=True):
    """One budget's periods: the one that runs, the next one, and the last one while its streams may still settle."""

    budget: str
    schema: int = SCHEMA
    version: int = 0  # rises with every write
    hash: str = ""
    periods: tuple[PeriodEntry, ...] = ()
    days: tuple[tuple[int, int], ...] = ()  # days since 1970 (UTC), and what was spent on them

    def period(self, start: int) -> PeriodEntry | None:
        """The one that begins then."""
        return next((period for period in self.periods if period.start == start), None)

    def at(self, now: float) -> PeriodEntry | None:
        """The one that runs."""
        return next((period for period in self.periods if period.start <= now < period.end), None)


class AccountReport(Frozen, frozen=True, omit_defaults=True):
    """What a gateway says of its account in one period of a budget. `granted` and `returned` as far as it has obeyed.

    `wanted` are worst cases that found no room lately, `worst` the largest of one request lately, `least` the smallest
    of those that found none; `per_hour` is its rate. `closed`: it bills no more, and this is its last word.
    """

    budget: str
    start: int
    id: str
    granted: int = 0
    returned: int = 0
    spent: int = 0
    reserved: int = 0
    wanted: int = 0
    worst: int = 0
    least: int = 0
    version: int = 0  # of the ledger that it has
    per_hour: int = 0
    idle: bool = False
    closed: bool = False


SPENT_TOLD: Final = 0
"""An Event has told that a request no longer fits."""
BEGUN_TOLD: Final = -1
"""An Event has told that the period began, or none had to."""

_encoder = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder(LedgerEntry)


def encode_words(words: tuple[AccountReport, ...]) -> bytes:
    """A gateway's last words, for its pod's status."""
    return msgspec.json.encode(words)


def decode_words(text: str) -> tuple[AccountReport, ...]:
    """Those of a pod's status; none where it says something else."""
    try:
        return msgspec.json.decode(text, type=tuple[AccountReport, ...])
    except ValueError:
        return ()


def encode_ledger(ledger: LedgerEntry) -> str:
    """The text as it is written, with its hash filled in."""
    bare = msgspec.structs.replace(ledger, hash="")
    return _encoder.encode(msgspec.structs.replace(bare, hash=_hash(bare))).decode()


def decode_ledger(text: bytes | str) -> LedgerEntry:
    """Read one. Raises TableError for one that must not be used."""
    try:
        ledger = _decoder.decode(text)
    except ValueError as error:
        raise TableError(f"the ledger does not parse: {error}") from error
    if ledger.schema != SCHEMA:
        raise TableError(f"the ledger has schema {ledger.schema}, this release reads {SCHEMA}")
    if ledger.hash != _hash(msgspec.structs.replace(ledger, hash="")):
        raise TableError(f"the ledger of {ledger.budget} is damaged: its hash is not {ledger.hash}")
    return ledger


def _hash(bare: LedgerEntry) -> str:
    return hashlib.sha256(_encoder.encode(bare)).hexdigest()[:16]
