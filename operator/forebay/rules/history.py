"""What a pool was asked for lately: fine samples that a restart may lose, and minutes that outlive it in the status."""

from dataclasses import dataclass, replace
from typing import Final

FINE_SECONDS: Final = 300  # how far back samples of a second go; further back there are minutes
MINUTES: Final = 120  # the longest window, with room for three cold starts of 40 minutes
GAP_SECONDS: Final = 90  # a longer pause in observing ends what counts as seen
AWAY_SECONDS: Final = 15  # that the first look after a restart speaks for: about as long as one takes
MINUTE: Final = 60


@dataclass(frozen=True, slots=True)
class Sample:
    """What was seen within one second."""

    second: int
    demand: float  # the latest
    need: int  # the most replicas


@dataclass(frozen=True, slots=True)
class History:
    """Demand, and the replicas that it needed, of the last minutes. Times are Unix seconds.

    The minutes outlive the operator in `status.scaling.history`: `peaks` (most replicas needed), `means` (mean demand,
    in concurrent requests) and `variances` (of the demand around the mean of its minute), one entry each a minute,
    oldest first, the last one of minute `until`. Replicas are kept as they were needed with the capacity and the
    prices of that time, so that a capacity that rises by itself shrinks nothing within the window; demand is kept as it
    was, so that a capacity that moves does not rewrite what was asked for.
    """

    samples: tuple[Sample, ...] = ()
    peaks: tuple[int, ...] = ()
    means: tuple[float, ...] = ()
    variances: tuple[float, ...] = ()
    until: int = 0
    fine_since: float = 0.0  # samples have no gap since then
    coarse_since: float = 0.0  # minutes have no gap since then
    last: float = 0.0  # look
    last_complete: float = 0.0  # look at which nobody was silent

    @classmethod
    def restored(
        cls,
        peaks: tuple[int, ...],
        until: int,
        now: float,
        means: tuple[float, ...] = (),
        variances: tuple[float, ...] = (),
    ) -> "History":
        """History after a restart, from what the status kept. Windows under a minute begin anew."""
        until = until if peaks else int(now // MINUTE)
        unbroken = now - (until + 1) * MINUTE <= GAP_SECONDS
        since = (until + 1 - len(peaks)) * MINUTE if unbroken else now
        return cls(
            peaks=peaks,
            means=_padded(means, len(peaks)),
            variances=_padded(variances, len(peaks)),
            until=until,
            fine_since=now,
            coarse_since=min(since, now),
            last=max(until * MINUTE, now - AWAY_SECONDS),
            last_complete=now,
        )

    def remember(self, now: float, demand: float, need: int, *, complete: bool = True) -> "History":
        """The history with one more look, and without what is too old to matter.

        A look that is not complete (a router was silent) counts, but after GAP_SECONDS without a complete one nothing
        before counts as seen.
        """
        second, broken = int(now), complete and now - self.last_complete > GAP_SECONDS
        kept = tuple(item for item in self.samples if second - FINE_SECONDS <= item.second < second)
        same = max((item.need for item in self.samples if item.second == second), default=0)
        grown = self._with_minute(now, demand, need)
        return replace(
            grown,
            samples=(*kept, Sample(second, demand, max(need, same))),
            fine_since=now if broken else self.fine_since,
            coarse_since=now if broken else self.coarse_since,
            last=now,
            last_complete=now if complete else self.last_complete,
        )

    def noted(self, need: int) -> "History":
        """The history in which the latest look needed at least so many replicas."""
        if not self.samples or need <= self.samples[-1].need:
            return self
        latest = replace(self.samples[-1], need=need)
        peaks = self.peaks if need <= self.peaks[-1] else (*self.peaks[:-1], need)
        return replace(self, samples=(*self.samples[:-1], latest), peaks=peaks)

    def covers(self, now: float, window: float) -> bool:
        """Whether the whole window has been observed, as far back as a history goes."""
        since = self.fine_since if window <= FINE_SECONDS else min(self.fine_since, self.coarse_since)
        return now - since >= min(window, (MINUTES - 1) * MINUTE)

    def most(self, now: float, window: float) -> int:
        """Most replicas needed within the window."""
        seen = [item.need for item in self.samples if item.second >= int(now - window)]
        if window > FINE_SECONDS:
            first = int(now // MINUTE) - int(window // MINUTE)
            seen += self.peaks[max(0, len(self.peaks) - (self.until - first + 1)) :] if self.until >= first else ()
        return max(seen, default=0)

    def mean(self, now: float, window: float) -> float:
        """Mean demand over the window, or over as much of it as was observed; of a window of 0, the latest."""
        if window < MINUTE:
            seen = [item.demand for item in self.samples if item.second > int(now - window)]
            seen = seen or [item.demand for item in self.samples[-1:]]
            return sum(seen) / len(seen) if seen else 0.0
        minutes = self.minutes(now, window)
        spoken = sum(seconds for _, seconds in minutes)
        if spoken == 0:  # the first look, on the stroke of a minute
            return self.means[-1] if self.means else 0.0
        return sum(mean * seconds for mean, seconds in minutes) / spoken

    def variance(self, now: float, window: float) -> float:
        """Mean variance of the demand within the minutes of the window that are over; 0 if there is none.

        What is longer than a minute, the mean follows; so this is what bursts add.
        """
        over = len(self.variances) - (self.until == int(now // MINUTE))
        seen = self.variances[max(0, over - int(window // MINUTE)) : over]
        return sum(seen) / len(seen) if seen else 0.0

    def minutes(self, now: float, window: float) -> list[tuple[float, float]]:
        """Mean demand of each minute within the window, newest first, and the seconds of it that lie within."""
        found = []
        for back in range(len(self.means)):
            begin = (self.until - back) * MINUTE
            inside = min(now, begin + MINUTE) - max(begin, now - window)
            if inside > 0:
                found.append((self.means[-1 - back], inside))
            elif back:
                break
        return found

    def _with_minute(self, now: float, demand: float, need: int) -> "History":
        """One more look at the minutes; those that nobody observed repeat the last one, on the safe side.

        What the first look at a minute saw counts from the minute's begin, so that nothing but the mean need be kept.
        """
        minute = int(now // MINUTE)
        if not self.peaks or minute - self.until >= MINUTES:
            return replace(self, peaks=(need,), means=(demand,), variances=(0.0,), until=minute)
        if minute <= self.until:
            elapsed = now - self.until * MINUTE
            share = max(now - self.last, 0.0) / elapsed if elapsed > 0 else 1.0
            off = demand - self.means[-1]
            return replace(
                self,
                peaks=(*self.peaks[:-1], max(self.peaks[-1], need)),
                means=(*self.means[:-1], self.means[-1] + off * share),
                variances=(*self.variances[:-1], (1.0 - share) * (self.variances[-1] + share * off * off)),
            )
        missed = minute - self.until - 1
        return replace(
            self,
            peaks=(*self.peaks, *(self.peaks[-1:] * missed), need)[-MINUTES:],
            means=(*self.means, *(self.means[-1:] * missed), demand)[-MINUTES:],
            variances=(*self.variances, *(self.variances[-1:] * missed), 0.0)[-MINUTES:],
            until=minute,
        )


def _padded(values: tuple[float, ...], length: int) -> tuple[float, ...]:
    """As many values, the oldest repeated: a status of before they were kept has fewer."""
    values = values[-length:] if length else ()
    return (*((values[:1] or (0.0,)) * (length - len(values))), *values)
