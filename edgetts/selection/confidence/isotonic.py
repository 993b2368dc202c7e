"""Fit a function that never falls, by pooling adjacent violators; knows numbers, not what they measure."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence

Knots = tuple[tuple[float, float], ...]


def fit_isotonic(values: Sequence[float], right: Sequence[bool]) -> Knots:
    """Return knots (value, probability) of the non-decreasing step function nearest in squared error.

    Equal values are pooled first. A step has a knot at each of its ends, and between steps the function is
    linear. Probabilities stay within [1 / (n + 2), (n + 1) / (n + 2)], as Platt's targets do: n examples cannot show
    that nothing ever fails. Source: "Transforming Classifier Scores into Accurate Multiclass Probability
    Estimates" (pool adjacent violators).
    """
    tied: dict[float, list[int]] = {}
    for value, one in zip(values, right, strict=True):
        group = tied.setdefault(value, [0, 0])
        group[0] += one
        group[1] += 1
    blocks: list[tuple[float, float, int, int]] = []  # first value, last value, right, all
    for value in sorted(tied):
        first, hits, size = value, *tied[value]
        # Exact in whole numbers: pool while the block before has at least this one's share.
        while blocks and blocks[-1][2] * size >= hits * blocks[-1][3]:
            first, _, before_hits, before_size = blocks.pop()
            hits, size = hits + before_hits, size + before_size
        blocks.append((first, value, hits, size))
    n = len(values)
    low, high = 1 / (n + 2), (n + 1) / (n + 2)
    knots: list[tuple[float, float]] = []
    for first, last, hits, size in blocks:
        share = min(high, max(low, hits / size))
        knots.append((first, share))
        if last > first:
            knots.append((last, share))
    return tuple(knots)


def interpolate(knots: Knots, value: float) -> float:
    """Read the function at a value: linear between knots, constant beyond them."""
    at = bisect_left(knots, value, key=lambda knot: knot[0])
    if at == len(knots):
        return knots[-1][1]
    right_x, right_y = knots[at]
    if at == 0 or right_x == value:
        return right_y
    left_x, left_y = knots[at - 1]
    half = 0.5 if math.isinf(right_x - left_x) else 1.0  # so that the difference of huge values stays finite
    share = (value * half - left_x * half) / (right_x * half - left_x * half)
    return left_y + (right_y - left_y) * min(1.0, share)
