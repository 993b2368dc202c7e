"""The frontier of points that cost something and are worth something, and its knee; knows numbers alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgetts.errors import InvalidInput

# Of heights above a chord from 0 to 1: what differs by less does not differ.
_ROUNDING = 1e-12
Point = tuple[float, float]
"""Cost and worth: less of the first and more of the second is better."""


def frontier(points: Sequence[Point]) -> list[int]:
    """Return the positions of the points that no other dominates, the cheapest first.

    One point dominates another where it costs no more and is worth no less, and differs in either. Of equal points the
    first is taken.
    """
    for point in points:
        if not all(math.isfinite(value) for value in point):
            raise InvalidInput(f"A point of cost {point[0]} and worth {point[1]} is on no frontier.")
    found: list[int] = []
    best = -math.inf
    for at in sorted(range(len(points)), key=lambda at: (points[at][0], -points[at][1], at)):
        if points[at][1] > best:
            found.append(at)
            best = points[at][1]
    return found


def knee(points: Sequence[Point]) -> int | None:
    """Return the position of the knee: the frontier's point that lies farthest above the chord between its ends.

    Where cost and worth are both scaled to 0 to 1 along the frontier, the distance is worth less cost, up to a factor;
    of equally far points it is the cheaper one. None where no point lies above the chord. This is Kneedle's difference curve,
    of which the largest value is taken rather than every local one: "Finding a 'Kneedle' in a Haystack: Detecting Knee
    Points in System Behavior".
    """
    line = frontier(points)
    if len(line) < 3:
        return None
    (low, worst), (high, best) = points[line[0]], points[line[-1]]
    above = [(points[at][1] - worst) / (best - worst) - (points[at][0] - low) / (high - low) for at in line]
    far = max(above)
    if far <= _ROUNDING:
        return None
    return next(at for at, height in zip(line, above, strict=True) if height >= far - _ROUNDING)
