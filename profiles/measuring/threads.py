"""Find how many threads run a pass fastest."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from edgetts.decoding.session import Session
from edgetts.errors import OutOfMemory
from edgetts.profiles.measuring.rows import rows_of
from edgetts.profiles.measuring.timing import Deadline, SteadyClock, sane, typical

_PAST = 8
WIDE = 8
_LEAST, _MOST = 5, 40
# Slower passes are timed once.
_SLOW = 0.25
# What takes so many times as long was not spent on a pass.
_ABSURD = 200
# What another number must gain over the usual one, and may lose on a wide pass.
_GAIN = 0.95


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds of a pass of one token, and of a wide one; 0 where it could not be timed.

    fastest, slowest: between them lies the middle half of the passes of one token.
    """

    plain: float
    wide: float
    fastest: float = 0.0
    slowest: float = 0.0

    @property
    def each(self) -> float:
        """About how long a token of many takes in one pass."""
        return min(self.plain, self.wide / WIDE)

    @property
    def round(self) -> float:
        """About how long passes at every width take together."""
        return 10 * self.plain + 14 * max(0.0, self.wide - self.plain)


def counts(usual: int, logical: int) -> tuple[int, ...]:
    """Return numbers of threads worth a try beside the usual one: its halves, and one for each logical core."""
    found = []
    half = usual // 2
    while half >= 1:
        found.append(half)
        half //= 2
    return (*found[:1], *((logical,) if logical > usual else ()), *found[1:])


def best_threads(paces: dict[int, Pace], usual: int) -> int:
    """Return the number that runs a plain pass clearly faster than the usual one, and a wide one not clearly slower; else 0.

    Clearly is by more than single passes differ: three of four are faster than three of four of the usual one's.
    """
    timed = {number: pace for number, pace in paces.items() if pace.plain > 0}
    if usual not in timed:
        return 0
    best = min(timed, key=lambda number: timed[number].plain)
    ours, theirs = timed[usual], timed[best]
    faster = theirs.plain < ours.plain * _GAIN and theirs.slowest <= ours.fastest
    better = faster and theirs.wide * _GAIN <= ours.wide
    return best if better else 0


def pace_of(
    session: Session, clock: SteadyClock, deadline: Deadline, tick: Callable[[], None] = lambda: None
) -> Pace:
    """Time a few passes of one token and wide ones in turn, until `deadline`, and a handful even then, or one of a slow model."""
    able = session.capabilities
    widths = (1, WIDE) if able.parallel and able.fork else (1,)
    times: dict[int, list[float]] = {width: [] for width in widths}
    first: dict[int, float] = {}
    try:
        with rows_of(session, max(1, min(_PAST, session.info.context - 1)), max(widths)) as rows:
            for width in widths:
                first[width] = rows.step(width, clock)  # allocates
            slow = min(first.values()) > _SLOW
            while len(times[1]) < _MOST and (len(times[1]) < (1 if slow else _LEAST) or not deadline.over):
                for width in widths:
                    times[width].append(rows.step(width, clock))
                tick()
                if deadline.cancelled():
                    break
    except OutOfMemory:
        return Pace(0.0, 0.0)
    for width in widths:
        usual = typical(times[width])
        for time in (first[width], *times[width]):
            if time > _ABSURD * usual > 0:
                clock.discount(time - usual)
    plain = sane(times[1])
    if len(plain) < 2:
        return Pace(typical(times[1]), typical(times[max(widths)]))
    quarter, _, three = statistics.quantiles(plain, n=4, method="inclusive")
    return Pace(typical(times[1]), typical(times[max(widths)]), quarter, three)
