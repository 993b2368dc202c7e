"""Tell whether counts came from a distribution. Knows numbers only.

A test that calls this states its odds of a false alarm: `Fit.p` is below a threshold t in a share t
of the runs of a right sampler.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

_Outcome = TypeVar("_Outcome", bound=Hashable)

# Below this many expected counts the statistic does not follow its limit, so such outcomes are pooled.
_LEAST_EXPECTED = 5.0


@dataclass(frozen=True, slots=True)
class Fit:
    """A G-test: the statistic, its degrees of freedom, and how likely a right sampler does worse."""

    statistic: float
    degrees: int
    p: float

    def __str__(self) -> str:
        return f"G = {self.statistic:.1f} with {self.degrees} degrees of freedom, p = {self.p:.2g}"


def goodness_of_fit(counts: Mapping[_Outcome, int], probabilities: Mapping[_Outcome, float]) -> Fit:
    """Compare counts with probabilities, which sum to 1. An outcome that cannot be gives p = 0.

    Raises ValueError where there are too few counts to tell anything.
    """
    total = sum(counts.values())
    if any(n > 0 and probabilities.get(outcome, 0.0) <= 0 for outcome, n in counts.items()):
        return Fit(math.inf, 0, 0.0)
    cells: list[tuple[int, float]] = []
    pooled_count, pooled_expected = 0, 0.0
    for outcome, probability in sorted(probabilities.items(), key=lambda item: item[1]):
        pooled_count += counts.get(outcome, 0)
        pooled_expected += probability * total
        if pooled_expected >= _LEAST_EXPECTED:
            cells.append((pooled_count, pooled_expected))
            pooled_count, pooled_expected = 0, 0.0
    if len(cells) < 2:
        raise ValueError(f"{total} counts are too few to compare with these probabilities")
    # What is left over is less than one cell: it joins the last.
    cells[-1] = (cells[-1][0] + pooled_count, cells[-1][1] + pooled_expected)
    statistic = 2 * sum(n * math.log(n / expected) for n, expected in cells if n)
    return Fit(statistic, len(cells) - 1, chi_square_tail(max(statistic, 0.0), len(cells) - 1))


def chi_square_tail(x: float, degrees: int) -> float:
    """Return the probability that a chi-square variable exceeds x.

    By the recurrence of the incomplete gamma function, Q(a + 1, y) = Q(a, y) + y^a e^-y / Gamma(a + 1).
    """
    if x <= 0:
        return 1.0
    y = x / 2
    a = 0.5 if degrees % 2 else 1.0
    tail = math.erfc(math.sqrt(y)) if degrees % 2 else math.exp(-y)
    while a < degrees / 2:
        tail += math.exp(a * math.log(y) - y - math.lgamma(a + 1))
        a += 1
    return min(tail, 1.0)
