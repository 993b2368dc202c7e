"""What is gained by answering only where it is sure enough; knows values and outcomes, not what is asked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgetts.errors import InvalidInput
from edgetts.selection.confidence.metrics import auroc, brier, calibration_error, check


@dataclass(frozen=True, slots=True)
class Point:
    """Answering wherever the value is at least `threshold`: the share answered, and the share of those right."""

    coverage: float
    accuracy: float
    threshold: float


@dataclass(frozen=True, slots=True)
class Quality:
    """How good probabilities were on n examples. `auroc` is None where all are right or all wrong.

    `at_50` and `at_80`: accuracy of the surest 50% and 80%; `area`: its mean over all coverages.
    """

    n: int
    accuracy: float
    ece: float
    adaptive_ece: float
    brier: float
    auroc: float | None
    at_50: float
    at_80: float
    area: float


def selective_curve(values: Sequence[float], right: Sequence[bool]) -> tuple[Point, ...]:
    """Return coverage and accuracy at every threshold there is, from the surest down.

    Equal values are answered together, since no threshold parts them. Source: "Selective Classification for
    Deep Neural Networks".
    """
    check(values, right)
    points: list[Point] = []
    answered = hits = 0
    for value, size, good in _tied(values, right):
        answered, hits = answered + size, hits + good
        points.append(Point(answered / len(right), hits / answered, value))
    return tuple(points)


def accuracy_at(values: Sequence[float], right: Sequence[bool], coverage: float) -> float:
    """Return the accuracy of the surest part, 0 < coverage <= 1, rounded up to whole examples.

    Where the edge parts equal values, they count at their mean: what choosing among them by chance expects.
    """
    check(values, right)
    if not 0 < coverage <= 1:
        raise InvalidInput(f"Coverage is {coverage}, but it must be greater than 0 and at most 1.")
    wanted = max(1, math.ceil(coverage * len(right) - 1e-9))
    left, hits = wanted, 0.0
    for _, size, good in _tied(values, right):
        taken = min(left, size)
        hits += good if taken == size else good * taken / size
        left -= taken
        if not left:
            break
    return hits / wanted


def selective_area(values: Sequence[float], right: Sequence[bool]) -> float:
    """Return the mean selective accuracy over coverages 1/n, 2/n, ..., 1; one less it is the AURC."""
    check(values, right)
    total, answered, hits = 0.0, 0, 0
    for _, size, good in _tied(values, right):
        for taken in range(1, size + 1):
            total += (hits + good * taken / size) / (answered + taken)
        answered, hits = answered + size, hits + good
    return total / len(right)


def quality(probabilities: Sequence[float], right: Sequence[bool]) -> Quality:
    """Score probabilities by every measure here."""
    return Quality(
        n=len(right),
        ece=calibration_error(probabilities, right),
        adaptive_ece=calibration_error(probabilities, right, equal_mass=True),
        brier=brier(probabilities, right),
        auroc=auroc(probabilities, right),
        accuracy=sum(right) / len(right),
        at_50=accuracy_at(probabilities, right, 0.5),
        at_80=accuracy_at(probabilities, right, 0.8),
        area=selective_area(probabilities, right),
    )


def _tied(values: Sequence[float], right: Sequence[bool]) -> list[tuple[float, int, int]]:
    """Every distinct value from the largest down, how often it is there, and how often right."""
    groups: dict[float, list[int]] = {}
    for value, hit in zip(values, right, strict=True):
        group = groups.setdefault(value, [0, 0])
        group[0] += 1
        group[1] += hit
    return [(value, *groups[value]) for value in sorted(groups, reverse=True)]  # type: ignore[misc]
