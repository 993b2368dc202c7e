"""Upper bounds on a drifting series that it passes no more often than it may. Knows numbers only."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from statistics import NormalDist

_WINDOW = 400
# How far one step moves the level that is aimed at ("gamma").
_STEP = 0.002
# Before there are observations, the spread that is assumed counts as so many.
_PRIOR_WEIGHT = 4
# A load may begin that was never seen: the least a bound allows for, shrinking with observations.
_UNSEEN = 0.5
# What a miss beyond everything in the window adds, where the aimed-at level asks for more than the window knows.
_BEYOND = 0.1


class AdaptiveBound:
    """Bound the next of a series of positive scores: how many times longer something took than predicted.

    "Adaptive Conformal Inference Under Distribution Shift": after each score the level aimed at moves, down after a
    miss and up otherwise, so that the share of misses tends to `alpha` whatever the series does. While there are too
    few scores for such a quantile, the bound is a normal one on their logarithms, drawn towards `spread`
    (a standard deviation), and no less than the largest.
    """

    def __init__(self, alpha: float, spread: float) -> None:
        self._target = alpha
        self._alpha = alpha
        self._spread = spread
        self._recent: deque[float] = deque()
        self._sorted: list[float] = []
        self._logs = 0.0
        self._squares = 0.0
        self._z = NormalDist().inv_cdf(1 - alpha)
        self._bound: float | None = None

    def observe(self, score: float) -> None:
        """Take in what came."""
        score = min(max(score, 1e-3), 1e3)
        missed = score > self.bound
        self._alpha += _STEP * (self._target - missed)
        # A level that wandered far would take long to come back.
        self._alpha = min(max(self._alpha, -4 * _STEP), 2 * self._target)
        self._recent.append(score)
        insort(self._sorted, score)
        self._add(score, 1)
        if len(self._recent) > _WINDOW:
            oldest = self._recent.popleft()
            del self._sorted[bisect_left(self._sorted, oldest)]
            self._add(oldest, -1)
        self._bound = None

    @property
    def bound(self) -> float:
        """What the next score is not to pass, but with probability `alpha`."""
        if self._bound is None:
            self._bound = self._quantile()
        return self._bound

    def _quantile(self) -> float:
        count = len(self._sorted)
        unseen = 1 + _UNSEEN * _PRIOR_WEIGHT / (_PRIOR_WEIGHT + count)
        if not count:
            return max(unseen, math.exp(self._z * self._spread))
        rank = math.ceil((count + 1) * (1 - self._alpha))
        if rank <= count:
            return max(self._sorted[rank - 1], unseen)
        mean = self._logs / (count + 1)
        variance = max(0.0, self._squares / count - (self._logs / count) ** 2) * count
        deviation = math.sqrt((variance + _PRIOR_WEIGHT * self._spread**2) / (_PRIOR_WEIGHT + count))
        beyond = self._sorted[-1] * (1 + _BEYOND * max(0.0, -self._alpha) / _STEP)
        return max(beyond, unseen, math.exp(mean + self._z * deviation))

    def _add(self, score: float, sign: int) -> None:
        self._logs += sign * math.log(score)
        self._squares += sign * math.log(score) ** 2
