"""Draw in proportion to weights by inverting their cumulative sums. Knows numbers only."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# Weights are summed in blocks first, so that the cumulative sum runs over the blocks and over one of them.
_BLOCK = 256


class Uniform(Protocol):
    """A generator of numbers from [0, 1)."""

    def random(self) -> float: ...


def invert(weights: NDArray[np.float64], number: float) -> int:
    """Return the place where the cumulative sum of weights passes a share of their total: a number from [0, 1)."""
    totals = np.cumsum(weights)
    at = int(np.searchsorted(totals, number * totals[-1], side="right"))
    # Rounding may land on the very end, past the last weight that is not zero.
    return min(at, int(np.searchsorted(totals, totals[-1], side="left")))


class Wheel:
    """Weights [n] to draw from without sorting or summing them one by one; tokens may be taken off. Owns the array."""

    def __init__(self, weights: Floats) -> None:
        self.weights = weights
        whole = len(weights) // _BLOCK * _BLOCK
        sums = weights[:whole].reshape(-1, _BLOCK).sum(axis=1).astype(np.float64)
        self._sums = np.append(sums, weights[whole:].sum(dtype=np.float64))

    @property
    def total(self) -> float:
        """What all weights that are left sum to."""
        return float(self._sums.sum())

    def draw(self, random: Uniform) -> int:
        """Draw an index by two numbers of the generator: one for its block, one inside."""
        block = invert(self._sums, random.random())
        inside = self.weights[block * _BLOCK : (block + 1) * _BLOCK].astype(np.float64)
        return block * _BLOCK + invert(inside, random.random())

    def remove(self, index: int) -> None:
        """Take an index off: it is drawn no more."""
        self.weights[index] = 0
        block = index // _BLOCK
        self._sums[block] = self.weights[block * _BLOCK : (block + 1) * _BLOCK].sum(dtype=np.float64)
