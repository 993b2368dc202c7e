"""Time that never goes back or leaps, deadlines by it, and figures that single odd times do not move."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from edgetts.decoding.session import Cancellation

# Between two readings there is one pass, one prompt or one opening at most.
_LONGEST = 120.0
# A pass so many times as long as its neighbours was not spent computing.
_ODD = 20.0


class SteadyClock:
    """A monotonic clock, in seconds, for one thread.

    Where the clock beneath goes back, or leaps by more than `longest` (a device that slept), no time passes here:
    what was timed across it took 0 s, and is to be thrown away.
    """

    def __init__(self, clock: Callable[[], float], longest: float = _LONGEST) -> None:
        self._clock, self._longest = clock, longest
        self._last = clock()
        self._now = 0.0
        self.leaps = 0

    def __call__(self) -> float:
        reading = self._clock()
        passed = reading - self._last
        self._last = reading
        if 0 <= passed <= self._longest:
            self._now += passed
        else:
            self.leaps += 1
        return self._now

    def discount(self, seconds: float) -> None:
        """Take back seconds that turned out not to have been spent on anything."""
        self._now -= seconds


class Deadline:
    """When a measurement must have ended: when its seconds are spent, or `cancel` is requested."""

    def __init__(self, clock: SteadyClock, seconds: float, cancel: Cancellation) -> None:
        self._clock, self._cancel = clock, cancel
        self._until = clock() + seconds

    @property
    def left(self) -> float:
        """Seconds until then; 0 at least."""
        return 0.0 if self._cancel.requested else max(0.0, self._until - self._clock())

    @property
    def over(self) -> bool:
        return self.left <= 0

    def cancelled(self) -> bool:
        """Tell whether it is over because somebody asked for that."""
        return self._cancel.requested

    def within(self, seconds: float) -> Deadline:
        """Return the sooner of this one and one in so many seconds."""
        return Deadline(self._clock, min(seconds, self.left), self._cancel)


def typical(times: Sequence[float]) -> float:
    """Return the median of those that are sound, in seconds; 0 where none is."""
    sound = sane(times)
    return statistics.median(sound) if sound else 0.0


def sane(times: Sequence[float]) -> list[float]:
    """Return those that may be times of the same work: above 0, and not many times as long as the median."""
    taken = [time for time in times if time > 0]
    if not taken:
        return []
    most = statistics.median_low(taken) * _ODD
    return [time for time in taken if time <= most]


def half_range(values: Sequence[float]) -> float:
    """Return half of the range of the middle 80%; 0 of fewer than two."""
    if len(values) < 2:
        return 0.0
    tenths = statistics.quantiles(values, n=10, method="inclusive")
    return (tenths[-1] - tenths[0]) / 2
