"""The law of coverage: how likely some of k samples is right. Knows shares, no samples."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from edgetts.control.cost.work import LEVEL
from edgetts.interval import Interval

LEAST_BEND = 0.05
"""By which the slope is expected to change where k doubles a few times, however straight what was recorded is."""


@dataclass(frozen=True, slots=True)
class CoverageLaw:
    """c(k) = exp(a k^b) with a, b < 0 ("Large Language Monkeys"), so that log(-log c) is a line in log k.

    The line is `height` at log k = `centre`, and falls by -`slope`. variance: of the height, of both together, and of the
    slope, over questions drawn anew. bend: how much steeper or flatter the later half of the recorded range is than
    the earlier. most: samples that were recorded of each question.
    """

    height: float
    slope: float
    centre: float
    variance: tuple[float, float, float]
    bend: float
    most: int

    def at(self, samples: int, level: float = LEVEL) -> Interval:
        """Return the probability that some of `samples` is right.

        Beyond what was recorded the bounds part faster and faster: the slope may go on changing as it was seen to.
        """
        x = math.log(samples) - self.centre
        middle = self.height + self.slope * x
        heights, both, slopes = self.variance
        further = max(0.0, math.log(samples / self.most)) * max(self.bend, LEAST_BEND)
        off = math.sqrt(max(0.0, heights + 2 * both * x + slopes * x * x) + further * further)
        off *= NormalDist().inv_cdf((1 + level) / 2)
        return Interval(_share(middle), _share(middle + off), _share(middle - off), level)


def _share(height: float) -> float:
    return math.exp(-math.exp(min(height, 6.0)))  # beyond that it is 0
