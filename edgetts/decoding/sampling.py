"""Draw tokens from logits: one row, one generator, as few looks at the vocabulary as possible."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgetts.decoding.constraint import Matcher
from edgetts.errors import InvalidLogits
from edgetts.types import SPREAD_TEMPERATURE, SamplingParams

Floats = NDArray[np.float32]

# Weights are summed in blocks first, so that the cumulative sum runs over the blocks and over one of them.
_BLOCK = 256
# Inverse temperatures beyond which nothing changes: all tokens alike, or only the best and its equals.
_HOTTEST, _COLDEST = 1e-30, 1e30


@dataclass(frozen=True, slots=True)
class Drawn:
    """A token id and the natural log of the probability the model gave it at temperature 1."""

    token: int
    logprob: float


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """A distribution over token ids: `ids` int64 [n], each once, and `probabilities` float64 [n] that sum to 1."""

    ids: NDArray[np.int64]
    probabilities: NDArray[np.float64]

    @classmethod
    def certain(cls, token: int) -> Weights:
        """Return the distribution that has one token only."""
        return cls(np.array([token], np.int64), np.ones(1))

    def of(self, token: int) -> float:
        """Return one token's probability; 0 where it is not among the ids."""
        return float(self.probabilities[self.ids == token].sum())


class Sampler:
    """Draw the tokens of one sample. The same seed and index give the same tokens from the same logits.

    `index` numbers the samples of one question, so that each has a generator of its own.
    `greedy` overrides the temperature: the most likely token, the lowest id among equals.
    `prompt`: tokens that the repetition penalty counts as seen.
    """

    def __init__(
        self,
        params: SamplingParams,
        index: int = 0,
        *,
        greedy: bool = False,
        prompt: Iterable[int] = (),
        matcher: Matcher | None = None,
    ) -> None:
        self.matcher = matcher
        self._params = params
        self._temperature = SPREAD_TEMPERATURE if params.temperature is None else params.temperature
        self._greedy = greedy or self._temperature == 0
        self._random = np.random.Generator(np.random.PCG64([params.seed, index]))
        self._seen: set[int] = set(prompt) if params.repetition_penalty != 1 else set()
        self._scratch: Floats | None = None

    @property
    def greedy(self) -> bool:
        return self._greedy

    @property
    def temperature(self) -> float:
        """What logits are divided by before a token is drawn; 0 takes the likeliest."""
        return 0.0 if self._greedy else self._temperature

    def draw(self, logits: Floats) -> Drawn:
        """Draw from logits [V], which are left as they were. Raises InvalidLogits for NaN or nothing to draw."""
        top = _highest(logits)
        penalised = self._penalise(logits)
        if self._greedy:
            token = int(penalised.argmax())
        else:
            token = self._sample(penalised, top if penalised is logits else float(penalised.max()))
        return self._record(logits, top, token)

    def distribution(self, logits: Floats, temperature: float | None = None) -> Weights:
        """Return what `draw` draws from, after the penalty, the temperature and every filter; ids ascend.

        temperature: greater than 0, in place of the sampler's own, for what a greedy one finds likely.
        Raises InvalidLogits as `draw` does.
        """
        _highest(logits)
        penalised = self._penalise(logits)
        if self._greedy and temperature is None:
            return Weights.certain(int(penalised.argmax()))
        heat = self._temperature if temperature is None else temperature
        weights = self._weights(penalised, float(penalised.max()), heat)
        kept = self._kept(weights)
        ids, exact = (np.flatnonzero(weights), weights[weights != 0]) if kept is None else kept
        exact = exact.astype(np.float64)
        return Weights(ids.astype(np.int64), exact / exact.sum())

    def uniform(self) -> float:
        """Draw a number from [0, 1) of the sample's generator."""
        return self._random.random()

    def choose(self, weights: Weights) -> int:
        """Draw a token from a distribution by the sample's generator."""
        return int(weights.ids[self._index(weights.probabilities)])

    def take(self, logits: Floats, token: int) -> Drawn:
        """Return a token that something else chose as if it were drawn: from now on it counts as seen."""
        return self._record(logits, _highest(logits), token)

    def _record(self, logits: Floats, top: float, token: int) -> Drawn:
        if self._params.repetition_penalty != 1:
            self._seen.add(token)
        total = float(self._weights(logits, top, 1.0).sum(dtype=np.float32))
        return Drawn(token, float(logits[token]) - top - math.log(total))

    def _weights(self, logits: Floats, top: float, temperature: float) -> Floats:
        """Return exp((logits - top) / temperature), in memory that the next call reuses."""
        if self._scratch is None or self._scratch.shape != logits.shape:
            self._scratch = np.empty_like(logits)
        np.subtract(logits, np.float32(top), out=self._scratch)
        if temperature != 1:
            # Bounded, as infinity times the best token's zero is no number, nor zero times an impossible one's.
            with np.errstate(over="ignore"):
                self._scratch *= np.float32(min(max(1 / temperature, _HOTTEST), _COLDEST))
        np.exp(self._scratch, out=self._scratch)
        return self._scratch

    def _penalise(self, logits: Floats) -> Floats:
        """Make seen tokens less likely: divide positive logits, multiply negative ones (CTRL, 2019)."""
        if not self._seen:
            return logits
        seen = np.fromiter(self._seen, np.intp, len(self._seen))
        penalty = np.float32(self._params.repetition_penalty)
        out: Floats = logits.copy()
        values = out[seen]
        out[seen] = np.where(values > 0, values / penalty, values * penalty)
        return out

    def _sample(self, logits: Floats, top: float) -> int:
        weights = self._weights(logits, top, self._temperature)
        kept = self._kept(weights)
        if kept is None:
            return self._anywhere(weights)
        ids, exact = kept
        return int(ids[self._index(exact)])

    def _kept(self, weights: Floats) -> tuple[NDArray[np.intp], NDArray[np.float64]] | None:
        """Return ids and weights of the tokens that the filters leave; None where there is no filter."""
        params = self._params
        if 0 < params.top_k < len(weights):
            return self._among(*_most_likely(weights, params.top_k))
        if params.top_p == 1 and params.min_p == 0:
            return None
        # The best token weighs 1. All tokens below the second bound together weigh less than 1 - top_p
        # of the whole, so they are beyond the nucleus whatever their order.
        total = float(weights.sum(dtype=np.float64))
        floor = max(params.min_p, (1 - params.top_p) * total / len(weights))
        ids = np.flatnonzero(weights >= np.float32(floor))
        return self._among(ids, weights[ids], total)

    def _among(
        self, ids: NDArray[np.intp], weights: Floats, total: float | None = None
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Return those of a few candidates that the remaining filters leave.

        total: the weight of all tokens; None is that of the candidates.
        """
        params, exact = self._params, weights.astype(np.float64)
        if params.top_p < 1:
            order = np.argsort(-exact, kind="stable")
            before = np.cumsum(exact[order]) - exact[order]
            kept = np.sort(order[before < params.top_p * (exact.sum() if total is None else total)])
            ids, exact = ids[kept], exact[kept]
        if params.min_p > 0:
            kept = np.flatnonzero(exact >= params.min_p * exact.max())
            ids, exact = ids[kept], exact[kept]
        return ids, exact

    def _anywhere(self, weights: Floats) -> int:
        """Draw in proportion to the weights, without sorting or summing them one by one."""
        whole = len(weights) // _BLOCK * _BLOCK
        sums = weights[:whole].reshape(-1, _BLOCK).sum(axis=1).astype(np.float64)
        rest = weights[whole:].sum(dtype=np.float64)
        block = self._index(np.append(sums, rest))
        inside = weights[block * _BLOCK : (block + 1) * _BLOCK].astype(np.float64)
        return block * _BLOCK + self._index(inside)

    def _index(self, weights: NDArray[np.float64]) -> int:
        totals = np.cumsum(weights)
        at = int(np.searchsorted(totals, self._random.random() * totals[-1], side="right"))
        # Rounding may land on the very end, past the last weight that is not zero.
        return min(at, int(np.searchsorted(totals, totals[-1], side="left")))


def _highest(logits: Floats) -> float:
    top = float(logits.max())
    if not math.isfinite(top):
        raise InvalidLogits(
            f"The model computed {top} where a number should be, so no token can be chosen.",
            hint="The weights may be damaged; export the model again.",
        )
    return top


def _most_likely(weights: Floats, k: int) -> tuple[NDArray[np.intp], Floats]:
    """Return ids and weights of the k largest; of equals at the edge, the lower ids."""
    edge = np.partition(weights, len(weights) - k)[len(weights) - k]
    above = np.flatnonzero(weights > edge)
    equal = np.flatnonzero(weights == edge)[: k - len(above)]
    ids = np.sort(np.concatenate([above, equal]))
    return ids, weights[ids]
