"""How far shares of a few examples may be off; knows counts."""

from __future__ import annotations

import math
from statistics import NormalDist

from edgetts.errors import InvalidInput
from edgetts.interval import Interval

LEVEL = 0.95


def wilson(right: int, n: int, *, level: float = LEVEL) -> Interval:
    """Return a share with its score interval ("Probable Inference, the Law of Succession, and Statistical Inference").

    Unlike the normal approximation it stays within 0 to 1, and is of use with few examples and at 0 and 1.
    """
    if not 0 <= right <= n or n < 1 or not 0 < level < 1:
        raise InvalidInput(f"There is no interval of {right} out of {n} at level {level}.")
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = right / n
    scale = 1 + z * z / n
    middle = (share + z * z / (2 * n)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    # At the ends the bound is the share itself, which rounding may miss.
    return Interval(share, 0.0 if right == 0 else low, 1.0 if right == n else high, level)


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p-value that two runs are equally often right where one alone is.

    Source: "Note on the Sampling Error of the Difference Between Correlated Proportions or Percentages", with
    the binomial distribution itself instead of chi-squared. 1 where they never differ.
    """
    if only_first < 0 or only_second < 0:
        raise InvalidInput(f"Counts cannot be negative: {only_first}, {only_second}.")
    n = only_first + only_second
    tail = sum(math.comb(n, k) for k in range(min(only_first, only_second) + 1))
    share: float = 2 * tail / 2**n
    return min(1.0, share)
