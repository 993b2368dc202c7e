"""A figure with bounds; knows nothing of what it is a figure of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure, and the bounds within which it is expected with probability `level`."""

    value: float
    low: float
    high: float
    level: float
