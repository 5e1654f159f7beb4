"""The sidecar's end of the lines to gateways: slot reports and offers down, words and answers up.

Which reports go out at once, and which are gathered for REPORT_SECONDS, says rules/slot_reports.py.
"""

import asyncio
import itertools
from collections.abc import Callable
from typing import Final

from forebay.resources.report import (
    OfferAnswer,
    SlotOffer,
    SlotReport,
    WaitingWord,
    decode_from_gateway,
    encode,
)
from forebay.router import metrics
from forebay.router.http.message_channel import MessageChannel
from forebay.router.placement.prefill import Prefill
from forebay.rules.admission import Admission
from forebay.rules.slot_reports import REPORT_SECONDS, urgent

HEARTBEAT_SECONDS: Final = 0.5


class SlotChannel:
    """All lines of one sidecar."""

    def __init__(self, admission: Admission, report: Callable[[tuple[tuple[int, int], ...]], SlotReport]) -> None:
        self.admission = admission
        self.report = report
        self.prefill = Prefill(self.soon)
        self._links: dict[str, MessageChannel] = {}
        self._ids = itertools.count(1)
        self._last_report: SlotReport | None = None
        self._later: asyncio.TimerHandle | None = None
        self._expiry: asyncio.TimerHandle | None = None
        admission.on_change = self.changed

    def open(self) -> MessageChannel:
        """The sidecar's end of a new line."""
        gateway = f"gateway-{next(self._ids)}"
        lines = MessageChannel(lambda line: self._hear(gateway, line), lambda: self._lost(gateway))
        self._links[gateway] = lines
        asyncio.get_running_loop().call_soon(lambda: lines.send(encode(self.report(()))))
        return lines

    @property
    def heard(self) -> bool:
        """Whether any gateway listens."""
        return bool(self._links)

    async def run(self) -> None:
        """Heartbeats, for ever."""
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            self._make()
            self._tell()

    def close(self) -> None:
        """Hang up on everybody."""
        for link in list(self._links.values()):
            link.close()

    def changed(self) -> None:
        """Something about the slots changed: offer what is free to those who wait, then report."""
        self._make()
        if not self._links:
            return
        told, a = self._last_report, self.admission
        if (
            told is None
            or told.state is not a.state
            or told.slots != a.slots
            or urgent((told.free, told.free_high), (a.free, a.free_high))
        ):
            self._tell()
        else:
            self.soon()

    def soon(self) -> None:
        """Report within REPORT_SECONDS."""
        if self._later is None and self._links:
            self._later = asyncio.get_running_loop().call_later(REPORT_SECONDS, self._tell)

    def _tell(self) -> None:
        placed = self.prefill.take()
        if self._later is not None:
            self._later.cancel()
            self._later = None
        self._last_report = self.report(placed)
        line = encode(self._last_report)
        for link in self._links.values():
            link.send(line)

    def _make(self, since: float | None = None) -> None:
        """Offer free slots; `since` belongs to one that was offered in vain just now."""
        a = self.admission
        if not a.offers.words:
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        for offer in a.offers.make(a.free, a.free_high, now, since):
            rank, deadline = offer.rival or (None, 0.0)
            left = (deadline - now) * 1000
            said = SlotOffer(id=offer.id, high_only=offer.high_only, rival_rank=rank, rival_ms=left)
            self._links[offer.gateway].send(encode(said))
        self._arm()

    def _arm(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        due = self.admission.offers.next_expiry()
        if due is not None:
            self._expiry = asyncio.get_running_loop().call_at(due, self._expire)

    def _expire(self) -> None:
        self._expiry = None
        late = self.admission.offers.expire(asyncio.get_running_loop().time())
        for offer in late:
            metrics.OFFERS.labels("Late" if not offer.taken else "Lost").inc()
        self._make(min((offer.since for offer in late), default=None))
        self.changed()

    def _hear(self, gateway: str, line: bytes) -> None:
        try:
            said = decode_from_gateway(line)
        except ValueError:
            self._links[gateway].close()
            return
        now = asyncio.get_running_loop().time()
        offers = self.admission.offers
        match said:
            case WaitingWord(counts=counts, deadlines_ms=left):
                offers.hear(gateway, counts, [[now + ms / 1000 for ms in rank] for rank in left], now)
                self.changed()
            case OfferAnswer(id=number, taken=True):
                offers.take(number, now)
                self._arm()
            case OfferAnswer(id=number, spent=spent):
                metrics.OFFERS.labels("Declined").inc()
                self._make(offers.decline(number, now, spent))
                self.changed()

    def _lost(self, gateway: str) -> None:
        self._links.pop(gateway, None)
        self.admission.offers.forget(gateway)
        self.changed()
