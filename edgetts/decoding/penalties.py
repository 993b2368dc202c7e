"""Change logits by what a sample has drawn and by what the caller wishes. Knows token ids and numbers only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from edgetts.errors import InvalidInput
from edgetts.types import SamplingParams

Floats = NDArray[np.float32]

# What is added to a logit at most: beyond it nothing changes, and sums of single precision stay numbers.
_MOST = 1e30


class Penalties:
    """What one sample's logits are changed by, in this order: repetition penalty, counts of its tokens, biases.

    prompt, drawn: tokens that count for the repetition penalty (CTRL, 2019): positive logits are divided by it,
    negative ones multiplied. drawn: tokens that count for the other two, as OpenAI defines them: of a token drawn c times, c times the
    frequency penalty and, once, the presence penalty are subtracted.
    """

    def __init__(
        self, params: SamplingParams, *, prompt: Iterable[int] = (), drawn: Sequence[int] = ()
    ) -> None:
        self._repetition = params.repetition_penalty
        self._presence, self._frequency = (
            _bounded(params.presence_penalty),
            _bounded(params.frequency_penalty),
        )
        self._bias: tuple[NDArray[np.intp], NDArray[np.float64]] | None = None
        if params.logit_bias:
            ids, added = zip(*params.logit_bias, strict=True)
            self._bias = np.array(ids, np.intp), np.array(added, np.float64)
        self._repeats = self._repetition != 1
        self._counts_tokens = self._presence != 0 or self._frequency != 0
        self.active = self._repeats or self._counts_tokens or self._bias is not None
        """Whether any token's logit may ever be changed."""
        self.seen: set[int] = {*prompt, *drawn} if self._repeats else set()
        self._counts: Counter[int] = Counter(drawn if self._counts_tokens else ())

    def saw(self, token: int) -> None:
        """Take in a token that the sample has now."""
        if self._repeats:
            self.seen.add(token)
        if self._counts_tokens:
            self._counts[token] += 1

    def apply(self, logits: Floats) -> Floats:
        """Return the changed logits [V]: the same array where nothing changes, otherwise a copy.

        Raises InvalidInput for a bias of a token that the vocabulary has not got.
        """
        if not (self.seen or self._counts or self._bias is not None):
            return logits
        out: Floats = logits.copy()
        if self.seen:
            ids = np.fromiter(self.seen, np.intp, len(self.seen))
            penalty = np.float32(self._repetition)
            values = out[ids]
            out[ids] = np.where(values > 0, values / penalty, values * penalty)
        if self._counts:
            ids = np.fromiter(self._counts.keys(), np.intp, len(self._counts))
            counts = np.fromiter(self._counts.values(), np.float64, len(self._counts))
            _add(out, ids, -(counts * self._frequency + self._presence))
        if self._bias is not None:
            ids, added = self._bias
            if ids.max() >= len(out):
                raise InvalidInput(
                    f"logit_bias names token {ids.max()}, but the model's vocabulary has {len(out)}.",
                    hint="Token ids count from 0.",
                )
            _add(out, ids, added)
        return out


def _bounded(value: float) -> float:
    return min(max(value, -_MOST), _MOST)


def _add(out: Floats, ids: NDArray[np.intp], values: NDArray[np.float64]) -> None:
    """Add to some logits; to one that is named twice, both."""
    np.add.at(out, ids, np.clip(values, -_MOST, _MOST).astype(np.float32))
