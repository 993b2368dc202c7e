"""Time passes by their width, and by how much their branches hold already."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgetts.decoding.session import Session
from edgetts.errors import OutOfMemory, RuntimeFailure
from edgetts.profiles.measuring.first_use import draft_widths, rising
from edgetts.profiles.measuring.rows import Rows, rows_of
from edgetts.profiles.measuring.timing import Deadline, SteadyClock, half_range, sane, typical

WIDTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
BASE = 64
"""Tokens that branches hold where every width is timed."""
LONGER = (256, 1024)
LONGER_WIDTHS = (1, 4, 16)
# Which widths matter most, where a slow device has no time for all.
_FIRST = (1, 8, 4, 2, 16, 32, 12, 6, 3, 24)
LEAST_ROUNDS = 3
MOST_ROUNDS = 60
# Less than this is not called a change of speed, however little single passes spread.
STEADY = 0.1

Round = dict[int, float]
"""Seconds of a pass by its width, each timed once, right after one another."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Passes at `past` tokens a branch: their times in rounds, in the order in which they were run."""

    past: int
    rounds: tuple[Round, ...]

    @property
    def widths(self) -> tuple[int, ...]:
        """Those timed in every round, ascending."""
        return tuple(sorted(set.intersection(*map(set, self.rounds)))) if self.rounds else ()

    @property
    def complete(self) -> bool:
        return len(self.rounds) >= LEAST_ROUNDS

    def seconds(self) -> dict[int, float]:
        """Return the median at each width, none below that of a narrower one."""
        found = [typical([one[width] for one in self.rounds]) for width in self.widths]
        return dict(zip(self.widths, rising(found), strict=True))

    @property
    def spread(self) -> float:
        """How far single passes lie from the median of their width, as a share of it."""
        return half_range([share for one in self._shares() for share in one.values()])

    def spread_at(self, width: int) -> float:
        """Return the same of one width, in seconds."""
        return half_range(sane([one[width] for one in self.rounds]))

    @property
    def levels(self) -> list[float]:
        """How slow each round was beside the others, all its widths together: 1 is as slow as most."""
        return [statistics.median(one.values()) for one in self._shares() if one]

    def _shares(self) -> list[Round]:
        """Return the times as shares of their width's median, without what was not spent computing."""
        found: list[Round] = [{} for _ in self.rounds]
        for width in self.widths:
            times = [one[width] for one in self.rounds]
            usual, most = typical(times), max(sane(times), default=0.0)
            for shares, time in zip(found, times, strict=True):
                if 0 < time <= most:
                    shares[width] = time / usual
        return found


def drift(curve: Curve) -> float:
    """Return how much slower passes were in the last third of the rounds than in the first; 1 where they were not.

    What is less than single passes spread is no change.
    """
    levels = curve.levels
    part = max(1, len(levels) // 3)
    if len(levels) < 2:
        return 1.0
    change = statistics.median(levels[-part:]) / statistics.median(levels[:part])
    away = max(change, 1 / change) - 1
    return change if away > max(curve.spread, STEADY) else 1.0


def before_change(curve: Curve) -> Curve:
    """Return the rounds before the device changed its speed: those that one split in two explains best."""
    levels = curve.levels
    if len(levels) != len(curve.rounds) or len(levels) < 2:
        return curve

    def off(part: Sequence[float]) -> float:
        middle = statistics.median(part)
        return sum(abs(level - middle) for level in part)

    split = min(range(1, len(levels)), key=lambda at: off(levels[:at]) + off(levels[at:]))
    # It may have come in the midst of the last round before the split.
    return Curve(
        curve.past, curve.rounds[: max(1, split - 1)] if split > LEAST_ROUNDS else curve.rounds[:split]
    )


def time_widths(
    session: Session,
    past: int,
    widths: Sequence[int],
    clock: SteadyClock,
    deadline: Deadline,
    *,
    room: int,
    most: int = MOST_ROUNDS,
    first: Sequence[int] = _FIRST,
    tick: Callable[[], None] = lambda: None,
) -> Curve:
    """Time passes in rounds of all widths, so that what disturbs the device for a while disturbs all alike.

    Takes fewer widths where a slow device has no time for all, or where their branches take more than `room`
    bytes: those of `first` matter most, in that order. Stops, complete or not, when `deadline` is cancelled. Raises RuntimeFailure where no time passes.
    """
    widths = _fitting(session, past, widths, room)
    try:
        with rows_of(session, past, max(widths)) as rows:
            chosen = _affordable(rows, widths, first, clock, deadline)
            return Curve(past, tuple(_rounds(rows, chosen, clock, deadline, most, tick)))
    except OutOfMemory:
        if len(widths) == 1:
            raise
    return time_widths(
        session, past, widths[:-1], clock, deadline, room=room, most=most, first=first, tick=tick
    )


def _fitting(session: Session, past: int, widths: Sequence[int], room: int) -> Sequence[int]:
    able = session.capabilities
    if not able.parallel or not able.fork:
        return (1, *draft_widths(session, past))
    each = (past + 1) * session.info.bytes_per_token
    return [width for width in sorted(widths) if width == 1 or width * each <= room]


def _affordable(
    rows: Rows, widths: Sequence[int], first: Sequence[int], clock: SteadyClock, deadline: Deadline
) -> list[int]:
    """Run each width twice, the most telling first, as long as the rounds to come will fit; return those run.

    The first pass of a width allocates, so that these times are none of the curve's.
    """
    seconds: dict[int, float] = {}
    allowed = deadline.left
    began = clock()
    for width in sorted(widths, key=lambda w: first.index(w) if w in first else len(first)):
        wider = [w for w in seconds if w > width]
        narrower = [w for w in seconds if w < width]
        guess = seconds[min(wider)] if wider else 0.0
        if not wider and narrower:
            guess = seconds[max(narrower)] * width / max(narrower)
        ahead = LEAST_ROUNDS * (sum(seconds.values()) + guess) + 2 * guess
        # Two widths make a curve, so that the second may take what other parts then lack.
        limit = 2 * allowed if len(seconds) == 1 else allowed
        if seconds and (clock() - began + ahead > limit or deadline.cancelled()):
            continue
        tried = [rows.step(width, clock) for _ in range(2)]
        seconds[width] = min(sane(tried), default=0.0)
    return sorted(seconds)


def _rounds(
    rows: Rows,
    widths: Sequence[int],
    clock: SteadyClock,
    deadline: Deadline,
    most: int,
    tick: Callable[[], None],
) -> list[Round]:
    rounds: list[Round] = []
    longest = 0.0
    while len(rounds) < most:
        # Cancelled is at once; out of time is once there is enough.
        if deadline.cancelled() or (len(rounds) >= LEAST_ROUNDS and deadline.left < longest):
            break
        began = clock()
        one: Round = {}
        for width in widths if len(rounds) % 2 else reversed(widths):
            one[width] = rows.step(width, clock)
            tick()
            if deadline.cancelled():
                return rounds
        rounds.append(one)
        _discount_odd(rounds, clock)
        longest = max(longest, clock() - began)
    if rounds and not any(time > 0 for one in rounds for time in one.values()):
        raise RuntimeFailure("No time passes by this device's clock, so that nothing can be measured by it.")
    return rounds


def _discount_odd(rounds: Sequence[Round], clock: SteadyClock) -> None:
    """Give back the time of passes in the latest round that cannot have been computing all along."""
    for width, time in rounds[-1].items():
        before = [one[width] for one in rounds]
        if time > 0 and time not in sane(before):
            clock.discount(time - typical(before))
