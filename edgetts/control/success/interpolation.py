"""Read intervals between those that were measured. Knows numbers, not what they are of."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from edgetts.interval import Interval

Points = Sequence[tuple[float, Interval]]


def between(points: Points, x: float) -> Interval:
    """Return the interval at `x`, linear between neighbours, the first or last one beyond them; `points` rise."""
    if x <= points[0][0]:
        return points[0][1]
    for (x0, a), (x1, b) in pairwise(points):
        if x <= x1:
            return blend(a, b, (x - x0) / (x1 - x0))
    return points[-1][1]


def blend(a: Interval, b: Interval, share: float) -> Interval:
    """Return the interval that lies `share` (0 to 1) of the way from a to b."""

    def mix(one: float, other: float) -> float:
        return one + (other - one) * share

    low, high = mix(a.low, b.low), mix(a.high, b.high)
    return Interval(min(max(mix(a.value, b.value), low), high), low, high, min(a.level, b.level))


def widened(interval: Interval, by: float) -> Interval:
    """Return a share's interval with both bounds moved outwards, within 0 to 1."""
    return Interval(interval.value, max(0.0, interval.low - by), min(1.0, interval.high + by), interval.level)


def step(knots: Sequence[tuple[float, float]], x: float) -> float:
    """Return the value of a function given by rising knots: linear between them, constant beyond."""
    if x <= knots[0][0]:
        return knots[0][1]
    for (x0, y0), (x1, y1) in pairwise(knots):
        if x <= x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return knots[-1][1]
