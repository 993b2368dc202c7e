"""How long passes of several tokens on one branch take here and now."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Callable

_WINDOW = 15
# A pass seldom seen says little: the curve counts as so many observations.
_CURVE_WEIGHT = 3


class PassCosts:
    """Seconds by tokens in a pass: a prior curve, corrected by what was observed of each width.

    Load and heat scale all widths alike, so that widths not run lately follow those that were.
    """

    def __init__(self, curve: Callable[[int], float]) -> None:
        self._curve = curve
        self._ratios: dict[int, deque[float]] = {}
        self._all: deque[float] = deque(maxlen=_WINDOW)

    def observe(self, width: int, seconds: float) -> None:
        """Take in the time of a pass, with drawing its tokens."""
        if seconds <= 0:
            return
        # Noise is lopsided and lasts; what a width costs beside the others is what counts.
        relative = seconds / (self._curve(width) * self._level)
        self._all.append(seconds / (self._curve(width) * self._shape(width)))
        self._ratios.setdefault(width, deque(maxlen=_WINDOW)).append(relative)

    def seconds(self, width: int) -> float:
        """Predict a pass of `width` tokens."""
        return self._curve(width) * self._level * self._shape(width)

    @property
    def _level(self) -> float:
        return statistics.median(tuple(self._all)) if self._all else 1.0

    def _shape(self, width: int) -> float:
        seen = self._ratios.get(width)
        if not seen:
            return 1.0
        weight = len(seen) / (len(seen) + _CURVE_WEIGHT)
        return 1.0 + weight * (statistics.median(tuple(seen)) - 1.0)
