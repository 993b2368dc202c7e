"""Mix configurations: how often to draw from each, so that some sample is right on as many questions as possible.

Knows shares of right samples on calibration questions, and nothing of what a configuration is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from edgetts.control.success.model import Approach

Counts = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CalibrationMatrix:
    """For each calibration question, the share of right samples of the greedy one and at each of `temperatures`.

    A success model that has one gives it by `matrix(approach)`.
    """

    temperatures: tuple[float, ...]
    greedy: tuple[float, ...]
    drawn: tuple[tuple[float, ...], ...]
    """[questions][temperatures]"""

    def best_temperature(self, samples: int) -> tuple[float, float]:
        """Return the temperature of the best mix that can be run, and its coverage.

        All samples of an answer have one temperature, but for the first, which is greedy: so that mixes of two.
        """
        rows = [(one, *others) for one, others in zip(self.greedy, self.drawn, strict=True)]
        mixes = [
            (
                coverage(
                    rows, (1, *(samples - 1 if i == place else 0 for i in range(len(self.temperatures))))
                ),
                heat,
            )
            for place, heat in enumerate(self.temperatures)
        ]
        # Of equals the coolest.
        best, heat = max(mixes, key=lambda mix: (mix[0], -mix[1]))
        return heat, best

    def best_mix(self, samples: int) -> Mix:
        """Return the best mix of all, which tells what running several temperatures in one answer would be worth."""
        rows = [(one, *others) for one, others in zip(self.greedy, self.drawn, strict=True)]
        # Greedy samples are all the same.
        return best_mix(rows, samples, at_most=(1, *[samples] * len(self.temperatures)))


@dataclass(frozen=True, slots=True)
class Mix:
    """counts: samples of each configuration. coverage: expected share of questions on which some sample is right.

    alone: the best configuration by itself, as its place and its coverage with as many samples.
    """

    counts: Counts
    coverage: float
    alone: tuple[int, float]


@runtime_checkable
class HasMatrix(Protocol):
    """A success model that knows more than shares: which questions each way of drawing gets right."""

    def matrix(self, approach: Approach) -> CalibrationMatrix | None: ...


def coverage(matrix: Sequence[Sequence[float]], counts: Sequence[int]) -> float:
    """Return the mean over questions of 1 - prod over configurations of (1 - p)^n.

    matrix: for each question, the share of right samples of each configuration.
    """
    total = 0.0
    for shares in matrix:
        wrong = 1.0
        for share, count in zip(shares, counts, strict=True):
            wrong *= (1.0 - share) ** count
        total += 1.0 - wrong
    return total / len(matrix)


def best_mix(matrix: Sequence[Sequence[float]], samples: int, *, at_most: Sequence[int] | None = None) -> Mix:
    """Choose the counts of a mix of `samples`, by hill climbing from the best start of several.

    at_most: how many samples each configuration may have, such as 1 for a greedy one, whose samples would be all the
    same. Never worse on the matrix than any single configuration. Errors: ValueError for an empty matrix, or limits
    that allow fewer samples. Source: "Scaling LLM Inference with Optimized Sample Compute Allocation" (OSCA).
    """
    if not matrix or not matrix[0]:
        raise ValueError("a calibration matrix has at least one question and one configuration")
    limits = [samples] * len(matrix[0]) if at_most is None else [min(one, samples) for one in at_most]
    if sum(limits) < samples:
        raise ValueError(f"the limits allow {sum(limits)} of {samples} samples")
    singles = [
        (place, coverage(matrix, _alone(place, samples, len(limits))))
        for place in range(len(limits))
        if limits[place] == samples
    ]
    starts = [_alone(place, samples, len(limits)) for place, _ in singles]
    starts.append(_greedily(matrix, samples, limits))
    climbed = [_climb(matrix, start, limits) for start in starts]
    counts = max(climbed, key=lambda one: coverage(matrix, one))
    alone = max(singles, key=lambda one: one[1]) if singles else (0, -math.inf)
    return Mix(counts, coverage(matrix, counts), alone)


def _alone(place: int, samples: int, size: int) -> Counts:
    return tuple(samples if i == place else 0 for i in range(size))


def _greedily(matrix: Sequence[Sequence[float]], samples: int, limits: Sequence[int]) -> Counts:
    """Add one sample after the other where it helps most."""
    counts = [0] * len(limits)
    for _ in range(samples):
        open_places = [place for place, limit in enumerate(limits) if counts[place] < limit]
        best = max(open_places, key=lambda place: coverage(matrix, _moved(counts, None, place)))
        counts[best] += 1
    return tuple(counts)


def _climb(matrix: Sequence[Sequence[float]], start: Counts, limits: Sequence[int]) -> Counts:
    """Move one or two samples at a time from one configuration to another while that helps."""
    counts, reached = start, coverage(matrix, start)
    while True:
        neighbours = [
            moved
            for giver, given in enumerate(counts)
            for taker, limit in enumerate(limits)
            for many in (1, 2)
            if giver != taker and given >= many and counts[taker] + many <= limit
            for moved in (_moved(counts, giver, taker, many),)
        ]
        if not neighbours:
            return counts
        best = max(neighbours, key=lambda one: coverage(matrix, one))
        better = coverage(matrix, best)
        if better <= reached:
            return counts
        counts, reached = best, better


def _moved(counts: Sequence[int], giver: int | None, taker: int, many: int = 1) -> Counts:
    moved = list(counts)
    moved[taker] += many
    if giver is not None:
        moved[giver] -= many
    return tuple(moved)
