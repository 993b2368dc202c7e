"""How good probabilities of being right are; knows forecasts and outcomes, not what was asked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgetts.errors import InvalidInput

BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """One bar of a reliability diagram: `count` forecasts within [low, high], their mean, and how many held."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class BrierParts:
    """A Brier score = reliability - resolution + uncertainty; less reliability and more resolution are better."""

    reliability: float
    resolution: float
    uncertainty: float


def reliability(
    probabilities: Sequence[float], right: Sequence[bool], *, bins: int = BINS, equal_mass: bool = False
) -> tuple[Bin, ...]:
    """Return the bars of a reliability diagram, without empty ones.

    equal_mass=False: bins of one width over [0, 1], the upper edge belonging to the next but for 1. True: bins of
    about one size; equal forecasts are never parted, so there may be fewer. Sources: "On Calibration of Modern
    Neural Networks"; "Measuring Calibration in Deep Learning" (adaptive).
    """
    check(probabilities, right, forecasts=True)
    if bins < 1:
        raise InvalidInput(f"A diagram has at least one bin, not {bins}.")
    pairs = sorted(zip(probabilities, right, strict=True))
    n = len(pairs)
    groups: dict[int, list[tuple[float, bool]]] = {}
    start = 0
    for at, pair in enumerate(pairs):
        if pair[0] != pairs[start][0]:
            start = at
        place = start * bins // n if equal_mass else min(bins - 1, int(pair[0] * bins))
        groups.setdefault(place, []).append(pair)
    return tuple(
        Bin(
            low=group[0][0] if equal_mass else place / bins,
            high=group[-1][0] if equal_mass else (place + 1) / bins,
            count=len(group),
            # A mean may be rounded out of the range of what it is of.
            confidence=min(group[-1][0], math.fsum(p for p, _ in group) / len(group)),
            accuracy=sum(hit for _, hit in group) / len(group),
        )
        for place, group in sorted(groups.items())
    )


def calibration_error(
    probabilities: Sequence[float], right: Sequence[bool], *, bins: int = BINS, equal_mass: bool = False
) -> float:
    """Return the expected calibration error: the mean distance of accuracy from confidence, by bins.

    Source: "Obtaining Well Calibrated Probabilities Using Bayesian Binning". It is biased upward where
    bins hold few forecasts; compare only at one n and one kind of bins.
    """
    bars = reliability(probabilities, right, bins=bins, equal_mass=equal_mass)
    return math.fsum(bar.count * abs(bar.accuracy - bar.confidence) for bar in bars) / len(right)


def brier(probabilities: Sequence[float], right: Sequence[bool]) -> float:
    """Return the mean squared error of forecasts: 0 is perfect, 0.25 is what saying 1/2 always gives."""
    check(probabilities, right, forecasts=True)
    return math.fsum((p - hit) ** 2 for p, hit in zip(probabilities, right, strict=True)) / len(right)


def brier_parts(probabilities: Sequence[float], right: Sequence[bool]) -> BrierParts:
    """Take a Brier score apart by distinct forecasts, exactly ("A New Vector Partition of the Probability Score")."""
    check(probabilities, right, forecasts=True)
    groups: dict[float, list[bool]] = {}
    for p, hit in zip(probabilities, right, strict=True):
        groups.setdefault(p, []).append(hit)
    n, base = len(right), sum(right) / len(right)
    shares = [(p, len(hits), sum(hits) / len(hits)) for p, hits in groups.items()]
    return BrierParts(
        reliability=math.fsum(size * (p - share) ** 2 for p, size, share in shares) / n,
        resolution=math.fsum(size * (share - base) ** 2 for _, size, share in shares) / n,
        uncertainty=base * (1 - base),
    )


def auroc(values: Sequence[float], right: Sequence[bool]) -> float | None:
    """Return how often a right answer has the larger value than a wrong one, ties counting half; exact.

    None where all are right or all are wrong. Any scale will do.
    """
    check(values, right)
    positive = sum(right)
    negative = len(right) - positive
    if not positive or not negative:
        return None
    groups: dict[float, list[int]] = {}
    for value, hit in zip(values, right, strict=True):
        groups.setdefault(value, [0, 0])[hit] += 1
    twice = wrong_below = 0
    for value in sorted(groups):
        wrong, hits = groups[value]
        twice += hits * (2 * wrong_below + wrong)
        wrong_below += wrong
    return twice / (2 * positive * negative)


def check(values: Sequence[float], right: Sequence[bool], *, forecasts: bool = False) -> None:
    """Refuse what cannot be scored: nothing, unequal lengths, NaN, and forecasts outside [0, 1]."""
    if not right or len(values) != len(right):
        raise InvalidInput(
            f"There are {len(values)} values and {len(right)} outcomes.",
            hint="Give one outcome for each, at least one.",
        )
    if any(math.isnan(value) for value in values):
        raise InvalidInput("A value to score is NaN.", hint="Leave out what was not measured.")
    if forecasts and not all(0 <= value <= 1 for value in values):
        raise InvalidInput("A forecast is outside 0 to 1.", hint="Calibrate the signal first.")
