"""Say how a tensor of floats is held in integers: value = scale * (code - zero)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bits = Literal[8, 16]


@dataclass(frozen=True, slots=True)
class Encoding:
    """Unsigned integers of 8 or 16 bits, one scale and zero point for the whole tensor."""

    scale: float
    zero: int
    bits: Bits = 16

    @classmethod
    def covering(cls, low: float, high: float, bits: Bits = 16) -> Encoding:
        """Return the finest encoding whose range holds [low, high] and zero, which is exact."""
        low, high = min(low, 0.0), max(high, 0.0)
        levels = (1 << bits) - 1
        scale = float(np.float32((high - low) / levels)) or 1.0
        return cls(scale, int(np.clip(round(-low / scale), 0, levels)), bits)

    @property
    def dtype(self) -> type[np.unsignedinteger]:
        return np.uint8 if self.bits == 8 else np.uint16

    def codes(self, values: Floats) -> NDArray[np.unsignedinteger]:
        """Round values to the nearest codes; what lies outside the range becomes its end."""
        levels = np.rint(values / np.float32(self.scale)) + self.zero
        return np.clip(levels, 0, (1 << self.bits) - 1).astype(self.dtype)

    def values(self, codes: NDArray[Any]) -> Floats:
        """Return what codes stand for."""
        return (codes.astype(np.float32) - np.float32(self.zero)) * np.float32(self.scale)


Encodings = Mapping[str, Encoding]
"""Of the tensors of a model's graphs, by name; what has none stays in floating point."""
