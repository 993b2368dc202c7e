"""Draw tokens from logits: one row, one generator, as few looks at the vocabulary as possible."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgetts.errors import InvalidLogits
from edgetts.types import SPREAD_TEMPERATURE, SamplingParams

Logits = NDArray[np.float32]

# exp(-36) < 2**-51: tokens this far below the best, in units of the temperature, cannot change a
# draw made with a 53-bit uniform number, even if the whole vocabulary were there.
_NEGLIGIBLE = 36.0


@dataclass(frozen=True, slots=True)
class Drawn:
    """A token id and the natural log of the probability the model gave it at temperature 1."""

    token: int
    logprob: float


class Sampler:
    """Draw the tokens of one sample. The same seed and index give the same tokens from the same logits.

    `index` numbers the samples of one question, so that each has a generator of its own.
    `greedy` overrides the temperature: the most likely token, the lowest id among equals.
    """

    def __init__(
        self, params: SamplingParams, index: int = 0, *, greedy: bool = False, prompt: Iterable[int] = ()
    ) -> None:
        self._params = params
        self._temperature = SPREAD_TEMPERATURE if params.temperature is None else params.temperature
        self._greedy = greedy or self._temperature == 0
        self._random = np.random.Generator(np.random.PCG64([params.seed, index]))
        self._seen: set[int] = set(prompt) if params.repetition_penalty != 1 else set()
        self._scratch: Logits | None = None

    @property
    def greedy(self) -> bool:
        return self._greedy

    def draw(self, logits: Logits) -> Drawn:
        """Draw from logits [V], which are left as they were. Raises InvalidLogits for NaN or nothing to draw."""
        top = float(logits.max())
        if not math.isfinite(top):
            raise InvalidLogits(
                f"The model computed {top} where a number should be, so no token can be chosen.",
                hint="The weights may be damaged; export the model again.",
            )
        penalised = self._penalise(logits)
        if self._greedy:
            token = int(penalised.argmax())
        else:
            token = self._sample(penalised, top if penalised is logits else float(penalised.max()))
        if self._params.repetition_penalty != 1:
            self._seen.add(token)
        return Drawn(token, float(logits[token]) - self._log_total(logits, top))

    def _log_total(self, logits: Logits, top: float) -> float:
        """Return the log of the sum of exp(logits)."""
        if self._scratch is None or self._scratch.shape != logits.shape:
            self._scratch = np.empty_like(logits)
        np.subtract(logits, np.float32(top), out=self._scratch)
        np.exp(self._scratch, out=self._scratch)
        return top + math.log(float(self._scratch.sum()))

    def _penalise(self, logits: Logits) -> Logits:
        if not self._seen:
            return logits
        seen = np.fromiter(self._seen, np.intp, len(self._seen))
        penalty = np.float32(self._params.repetition_penalty)
        out = logits.copy()
        values = out[seen]
        out[seen] = np.where(values > 0, values / penalty, values * penalty)
        return out

    def _sample(self, logits: Logits, top: float) -> int:
        params = self._params
        floor = top - _NEGLIGIBLE * self._temperature
        if params.min_p > 0 and params.top_p == 1:
            floor = max(floor, top + self._temperature * math.log(params.min_p))
        ids = np.flatnonzero(logits >= floor)
        if 0 < params.top_k < len(ids):
            # Equal logits at the edge: the lower ids stay, so that the choice never depends on the sort.
            order = np.argsort(-logits[ids], kind="stable")[: params.top_k]
            ids = ids[np.sort(order)]
        weights = np.exp((logits[ids].astype(np.float64) - top) / self._temperature)
        if params.top_p < 1:
            order = np.argsort(-weights, kind="stable")
            before = np.cumsum(weights[order]) - weights[order]
            kept = order[before < params.top_p * weights.sum()]
            ids, weights = ids[kept], weights[kept]
        if params.min_p > 0:
            kept = np.flatnonzero(weights >= params.min_p * weights.max())
            ids, weights = ids[kept], weights[kept]
        totals = np.cumsum(weights)
        at = int(np.searchsorted(totals, self._random.random() * totals[-1], side="right"))
        return int(ids[min(at, len(ids) - 1)])
