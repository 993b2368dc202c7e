"""Keep account of tokens that have been through the first segments of a network but not through all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class Depths:
    """How far the last tokens of one branch have come.

    filled[s]: tokens whose cache segment s has written, never more than filled[s - 1]. waiting[s]: the
    residual stream [n, hidden] that enters segment s, of the tokens from filled[s] to filled[s - 1].
    """

    def __init__(self, segments: int, length: int, hidden: int) -> None:
        self.filled = [length] * segments
        self.waiting: list[Floats] = [np.zeros((0, hidden), np.float32)] * segments

    @property
    def pending(self) -> int:
        """Tokens that have not been through all segments."""
        return self.filled[0] - self.filled[-1]

    def passed(self, segment: int, count: int, stream: Floats | None) -> None:
        """Take in that `count` tokens went through a segment and left it as `stream`; None behind the last."""
        self.filled[segment] += count
        if segment:
            self.waiting[segment] = self.waiting[segment][count:]
        if stream is not None:
            self.waiting[segment + 1] = np.concatenate([self.waiting[segment + 1], stream])

    def truncate(self, length: int) -> None:
        """Forget all tokens but the first `length`."""
        for segment in range(1, len(self.filled)):
            began = self.filled[segment]
            self.waiting[segment] = self.waiting[segment][: max(0, length - began)]
        self.filled = [min(filled, length) for filled in self.filled]
