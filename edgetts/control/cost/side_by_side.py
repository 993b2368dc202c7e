"""What samples that run side by side take, beside one that runs alone: a wide pass costs less than as many narrow ones."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache

from edgetts.control.cost.work import LengthLaw

_POINTS = 64
_STEPS = 16
# Ages are told apart by so many tokens only: what follows is an estimate, and is kept.
_AGES = 16


class SideBySide:
    """The effort of ending samples, in passes over one alone. What strategies call an effort.

    lengths: how long samples get, at most `cap` tokens. seconds: of a pass, by its width from 1 on; more samples than
    that run in turns.
    """

    def __init__(self, lengths: LengthLaw, cap: int, seconds: Sequence[float]) -> None:
        self._lengths = sorted(min(float(cap), one) for one in lengths.quantiles(_POINTS))
        self._costs = [0.0, *(one / seconds[0] for one in seconds)]
        self._known = lru_cache(maxsize=1024)(self._of)

    def of(self, running: int, age: int, fresh: int) -> float:
        """Return the expected effort of ending samples that run, `age` tokens long each, and `fresh` ones."""
        widest = len(self._costs) - 1
        turns, rest = divmod(fresh, widest) if running + fresh > widest else (0, fresh)
        whole = turns * self._known(0, 0, widest) if turns else 0.0
        return whole + self._known(min(running, widest), age // _AGES * _AGES if running else 0, rest)

    def _of(self, running: int, age: int, fresh: int) -> float:
        """Sum over passes to come: the cost of a pass over as many samples as are expected to be under way then."""
        longest = self._lengths[-1]
        alive = self._after(age)
        step = max(longest, age + 1.0) / _STEPS
        total = 0.0
        for at in range(_STEPS):
            passes = (at + 0.5) * step
            old = self._after(age + passes) / alive if running else 0.0
            new = self._after(passes) if fresh else 0.0
            some = 1 - (1 - old) ** running * (1 - new) ** fresh
            if some <= 0:
                break
            total += some * self._cost((running * old + fresh * new) / some) * step
        return total

    def _after(self, tokens: float) -> float:
        """Return P(a sample is longer), never quite 0, as nobody has seen the longest one."""
        ended = bisect_right(self._lengths, tokens)
        if ended < _POINTS:
            return 1 - ended / _POINTS
        return 0.5 / _POINTS * math.exp(-(tokens - self._lengths[-1]) / max(1.0, 0.25 * self._lengths[-1]))

    def _cost(self, width: float) -> float:
        """Return the cost of a pass, linear between widths."""
        low = min(int(width), len(self._costs) - 1)
        high = min(low + 1, len(self._costs) - 1)
        return self._costs[low] + (width - low) * (self._costs[high] - self._costs[low])
