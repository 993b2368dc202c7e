"""Keep account of tokens that have been through the first segments of a network but not through all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class Depths:
    """How far the last tokens of one branch have come.

    filled[s]: tokens whose cache segment s has written, never more than filled[s - 1].
    """

    def __init__(self, segments: int, length: int, hidden: int) -> None:
        self.filled = [length] * segments
        self._hidden = hidden
        # In the pieces they came in, as a long run of tokens may wait for a layer that is never asked for.
        self._waiting: list[list[Floats]] = [[] for _ in range(segments)]

    @property
    def pending(self) -> int:
        """Tokens that have not been through all segments."""
        return self.filled[0] - self.filled[-1]

    def waiting(self, segment: int) -> Floats:
        """Return the residual stream [n, hidden] that enters a segment, of the tokens it has not seen."""
        pieces = self._waiting[segment]
        if len(pieces) > 1:
            pieces[:] = [np.concatenate(pieces)]
        return pieces[0] if pieces else np.zeros((0, self._hidden), np.float32)

    def passed(self, segment: int, count: int, stream: Floats | None) -> None:
        """Take in that all `count` tokens that waited for a segment left it as `stream`; None behind the last."""
        self.filled[segment] += count
        self._waiting[segment].clear()
        if stream is not None:
            self._waiting[segment + 1].append(stream)

    def truncate(self, length: int) -> None:
        """Forget all tokens but the first `length`."""
        for segment in range(1, len(self.filled)):
            kept = max(0, length - self.filled[segment])
            if kept < self.filled[segment - 1] - self.filled[segment]:
                self._waiting[segment] = [self.waiting(segment)[:kept]]
        self.filled = [min(filled, length) for filled in self.filled]
