"""Say how a tensor of floats is held in integers: value = scale * (code - zero)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bits = Literal[8, 16]
_FINEST = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True, slots=True)
class Encoding:
    """Unsigned integers of 8 or 16 bits, one scale and zero point for the whole tensor."""

    scale: float
    zero: int
    bits: Bits = 16

    @classmethod
    def covering(cls, low: float, high: float, bits: Bits = 16) -> Encoding:
        """Return the finest encoding whose range holds [low, high] and zero, which is exact.

        An end of the range may be half a step further in. Raises ValueError for ends that are not finite, or further
        apart than a float32 can say.
        """
        low, high = min(low, 0.0), max(high, 0.0)
        levels = (1 << bits) - 1
        if not high - low <= float(np.finfo(np.float32).max):
            raise ValueError(f"no scale covers what lies between {low} and {high}")
        # Providers take floats that are smaller than normal ones for zero.
        scale = max(float(np.float32((high - low) / levels)), _FINEST) if high > low else 1.0
        return cls(scale, min(round(-low / scale), levels), bits)

    @property
    def dtype(self) -> type[np.unsignedinteger]:
        return np.uint8 if self.bits == 8 else np.uint16

    def codes(self, values: Floats) -> NDArray[np.unsignedinteger]:
        """Round values to the nearest codes; what lies outside the range becomes its end. Raises ValueError for NaN."""
        if np.isnan(values).any():
            raise ValueError("no code stands for NaN")
        with np.errstate(over="ignore"):
            levels = np.rint(values / np.float32(self.scale)) + self.zero
        codes: NDArray[np.unsignedinteger] = np.clip(levels, 0, (1 << self.bits) - 1).astype(self.dtype)
        return codes

    def values(self, codes: NDArray[Any]) -> Floats:
        """Return what codes stand for."""
        values: Floats = codes.astype(np.float32)
        values -= np.float32(self.zero)
        values *= np.float32(self.scale)
        return values


Encodings = Mapping[str, Encoding]
"""Of the tensors of a model's graphs, by name; what has none stays in floating point."""
