"""What answers cost beside their passes: reading prompts, closing samples, choosing, and watts. Knows numbers only."""

from __future__ import annotations

import math
import statistics
import threading
from collections import deque
from collections.abc import Sequence

_PREFILLS = 24
# Prompts whose lengths differ by this factor (e to the power) tell less of each other; older ones tell less.
_PREFILL_REACH = 0.7
_PREFILL_FADE = 0.85
# What the curve says of a prompt counts as so many like it, and may be so far off (a deviation of logarithms).
_PREFILL_PRIOR = 0.3
_PREFILL_SPREAD = 0.2
_CLOSINGS = 24
_WATTS = 9
_WATTS_SPREAD = 0.1


class Asides:
    """Observed from answer to answer; calls may come from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._prefills: deque[tuple[float, float]] = deque(maxlen=_PREFILLS)
        self._closings: deque[float] = deque(maxlen=_CLOSINGS)
        self._choices: deque[float] = deque(maxlen=_CLOSINGS)
        self._watts: deque[float] = deque(maxlen=_WATTS)

    def copy(self) -> Asides:
        """Return one that knows the same and learns apart."""
        made = Asides()
        with self._lock:
            made._prefills = self._prefills.copy()
            made._closings = self._closings.copy()
            made._choices = self._choices.copy()
            made._watts = self._watts.copy()
        return made

    def observe_prefill(self, tokens: int, ratio: float) -> None:
        """Take in how many times longer reading a prompt took than the curve says."""
        if tokens > 0 and ratio > 0 and math.isfinite(ratio):
            with self._lock:
                self._prefills.append((math.log(tokens), math.log(min(max(ratio, 0.05), 20.0))))

    def prefill(self, tokens: int) -> tuple[float, float]:
        """Return that ratio as expected for a prompt, and its log's deviation: prompts about as long count most."""
        at = math.log(max(1, tokens))
        weight = total = squares = 0.0
        with self._lock:
            seen = list(self._prefills)
        for age, (length, value) in enumerate(reversed(seen)):
            near = math.exp(-(((length - at) / _PREFILL_REACH) ** 2) / 2) * _PREFILL_FADE**age
            weight, total, squares = weight + near, total + near * value, squares + near * value * value
        centre = total / (weight + _PREFILL_PRIOR)
        variance = max(0.0, squares / weight - (total / weight) ** 2) * weight if weight else 0.0
        return math.exp(centre), math.sqrt((variance + _PREFILL_SPREAD**2) / (weight + 1))

    def observe_closing(self, seconds: float) -> None:
        """Take in how long one sample took to be closed: its text, its answer, its check."""
        with self._lock:
            self._closings.append(max(0.0, seconds))

    def observe_choice(self, seconds: float) -> None:
        """Take in how long it took from the last pass to the answer."""
        with self._lock:
            self._choices.append(max(0.0, seconds))

    @property
    def closing(self) -> tuple[float, float]:
        """Seconds to close a sample: typical, and as long as it seldom takes."""
        with self._lock:
            if not self._closings:
                return 0.0, 0.0
            return statistics.fmean(self._closings), _seldom(self._closings)

    @property
    def choice(self) -> tuple[float, float]:
        """Seconds from the last pass to the answer: typical, and as long as it seldom takes."""
        with self._lock:
            if not self._choices:
                return 0.0, 0.0
            return statistics.median(self._choices), _seldom(self._choices)

    def observe_watts(self, ratio: float) -> None:
        """Take in how many times the predicted watts an answer's joules by its seconds were."""
        if ratio > 0 and math.isfinite(ratio):
            with self._lock:
                self._watts.append(math.log(min(max(ratio, 0.05), 20.0)))

    @property
    def watts(self) -> tuple[float, float]:
        """That ratio as expected, and its log's deviation; the deviation is 0 where nothing was observed."""
        with self._lock:
            seen = list(self._watts)
        if not seen:
            return 1.0, 0.0
        middle = statistics.median(seen)
        squares = sum((value - middle) ** 2 for value in seen) + _WATTS_SPREAD**2
        return math.exp(middle * len(seen) / (len(seen) + 1)), math.sqrt(squares / (len(seen) + 1))


def _seldom(seconds: Sequence[float]) -> float:
    """Return the longest, but for one: whoever reads a stream may pause once."""
    return sorted(seconds)[-2 if len(seconds) > 4 else -1]
