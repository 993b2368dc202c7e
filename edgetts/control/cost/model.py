"""Predict how long passes take: a measured curve, corrected by what is observed while it runs."""

from __future__ import annotations

import statistics
from collections import deque

from edgetts.profiles.curves import StepTimes

_WINDOW = 24


class CostModel:
    """Seconds of prefills and passes. Load, heat and long contexts show as a ratio to the curve."""

    def __init__(self, times: StepTimes) -> None:
        self._times = times
        self._ratios: deque[float] = deque(maxlen=_WINDOW)

    @property
    def provenance(self) -> str:
        return self._times.provenance

    @property
    def measured(self) -> bool:
        """Whether the curve is this device's own."""
        return self._times.source == "measured"

    @property
    def ratio(self) -> float:
        """How many times longer passes take now than the curve says."""
        return statistics.median(self._ratios) if self._ratios else 1.0

    def observe(self, width: int, seconds: float) -> None:
        """Take in the time of a pass."""
        self._ratios.append(seconds / self._times.at(width))

    def prefill(self, tokens: int) -> float:
        return self._times.prefill(tokens)

    def step(self, width: int) -> float:
        """Predict a pass: as likely too long as too short."""
        return self._times.at(width) * self.ratio

    def step_bound(self, width: int) -> float:
        """Predict a pass so that recent ones were seldom longer."""
        worst = max(self._ratios) if self._ratios else 1.5
        return self._times.at(width) * worst
