"""Time passes over branches that hold more, and fit how much longer they take."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from edgetts.decoding.session import Session, SessionInfo
from edgetts.profiles.curves import StepTimes
from edgetts.profiles.measuring.passes import STEADY, Curve, time_widths
from edgetts.profiles.measuring.timing import Deadline, SteadyClock

_WIDTHS = (1, 4, 16)
# Wide passes show most of what length costs.
_FIRST = (16, 4, 1)
_LENGTHS = {"quick": (512, 320), "full": (1024, 384)}
# What passes over long branches may take, for each part that those of the usual length may take before and after.
_WEIGHT = 5.0
_MOST_ROUNDS = 12
# Reading the prompt may take so much of the time there is.
_READING = 0.5
# Medians that lie so many of their deviations apart are of different speeds.
_DEVIATIONS = 2.0


@dataclass(frozen=True, slots=True)
class Growth:
    """Seconds a pass takes longer for every token more of each branch. steady: False where the device changed its
    speed meanwhile, so that it is rough.
    """

    seconds: float
    steady: bool


def measure_growth(
    session: Session,
    usual: Curve,
    times: StepTimes,
    scope: str,
    clock: SteadyClock,
    deadline: Deadline,
    *,
    room: int,
    tick: Callable[[], None] = lambda: None,
) -> Growth | None:
    """Time passes over long branches, and over those of the usual length before and after; None where there is no time.

    usual: the curve of the device. A device that is slower by now does not look like one that is slowed by long
    branches.
    """
    widths = [width for width in _WIDTHS if width in usual.widths]
    most = session.info.context - 2
    fitting = [length for length in _LENGTHS[scope] if usual.past < length <= most]
    reading = deadline.left * _READING
    if scope == "quick":
        lengths = [length for length in fitting if times.prefill(length) <= reading][:1]
    else:
        lengths = [length for length in fitting if times.prefill(length) * len(fitting) <= reading]
    if not lengths or not widths:
        return None
    sides: list[Curve] = []
    longer: list[Curve] = []
    parts = [(usual.past, 1.0), *((length, _WEIGHT) for length in lengths), (usual.past, 1.0)]
    for i, (past, weight) in enumerate(parts):
        part = deadline.within(deadline.left * weight / sum(weight for _, weight in parts[i:]))
        curve = time_widths(
            session, past, widths, clock, part, room=room, most=_MOST_ROUNDS, first=_FIRST, tick=tick
        )
        if curve.complete:
            (sides if past == usual.past else longer).append(curve)
        if deadline.cancelled():
            return None
    if len(sides) < 2 or not longer:
        return None
    now = Curve(usual.past, sides[0].rounds + sides[1].rounds)
    steady = _faster(sides[0], sides[1]) == 1.0
    return Growth(fit_growth(now, longer) * _faster(usual, now), steady)


def derived_growth(times: StepTimes, bytes_per_token: int, weights: float) -> StepTimes:
    """Return a curve that grows with context as if a cache were read as fast as weights are; one that was measured stays.

    bytes_per_token: that a pass reads more for each token; see `read_per_token`. weights: bytes that a pass reads, 0
    where nobody knows. A pass of one branch reads little else, so that its time tells the bandwidth.
    """
    if times.growth or weights <= 0:
        return times
    return replace(times, growth=bytes_per_token * times.at(1) / weights)


def read_per_token(info: SessionInfo) -> int:
    """Return the bytes that a pass reads more for each token of a branch: none where it reads the whole cache anyway."""
    return 0 if info.whole_cache else info.bytes_per_token


def fit_growth(base: Curve, longer: Sequence[Curve]) -> float:
    """Return the seconds that a pass takes longer for every token more of each branch; 0 where it is not longer.

    Least squares through the base curve, errors weighed as shares of the times. Attention over each branch's own
    cache grows in proportion to width and length.
    """
    above = below = 0.0
    usual = base.seconds()
    for curve in longer:
        for width, seconds in curve.seconds().items():
            if seconds <= 0 or width not in usual:
                continue
            tokens = (curve.past - base.past) * width
            above += tokens * (seconds - usual[width]) / seconds**2
            below += (tokens / seconds) ** 2
    return max(0.0, above / below) if below else 0.0


def _faster(usual: Curve, now: Curve) -> float:
    """Return how much faster the device was when its curve was timed; 1 where that may be chance."""
    ours, theirs = usual.seconds(), now.seconds()
    ratios = [ours[width] / theirs[width] for width in theirs if theirs[width] > 0 and ours.get(width)]
    ratio = statistics.median(ratios) if ratios else 1.0
    # Medians of many rounds are surer than single passes are.
    chance = max(_DEVIATIONS * curve.spread / math.sqrt(len(curve.rounds)) for curve in (usual, now))
    return ratio if abs(ratio - 1) > max(chance, STEADY) else 1.0
