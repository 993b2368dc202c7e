"""Draw tokens from logits: one row, one generator, as few looks at the vocabulary as possible."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgetts.decoding.constraint import Matcher
from edgetts.decoding.filters import kept, most_likely
from edgetts.decoding.inversion import Floats, Wheel, invert
from edgetts.decoding.penalties import Penalties
from edgetts.decoding.rejection import best_allowed, reject
from edgetts.errors import InvalidLogits
from edgetts.types import SPREAD_TEMPERATURE, SamplingParams

# Inverse temperatures beyond which nothing changes: all tokens alike, or only the best and its equals.
_HOTTEST, _COLDEST = 1e-30, 1e30


@dataclass(frozen=True, slots=True)
class Drawn:
    """A token id and the natural log of the probability the model gave it at temperature 1.

    log_share: of a constrained draw the natural log of Z, how likely a draw without the constraint would have been
    allowed, or of an unbiased estimate of Z; see `Sampler`. top: the likeliest tokens with their log-probs, the best first,
    of equals the lower id; as many as were asked for, and only possible ones.
    """

    token: int
    logprob: float
    log_share: float = 0.0
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """A distribution over token ids: `ids` int64 [n], each once, and `probabilities` float64 [n] that sum to 1.

    log_share: as in `Drawn`, where a constraint left tokens out.
    """

    ids: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    log_share: float = 0.0

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
    `prompt`: tokens that the repetition penalty counts as seen. `drawn`: tokens that the sample has already, which count
    for every penalty. `matcher`: the sampler's own, which moves on with each token; tokens that it does not allow have no
    probability, before temperature and filters.

    With a matcher a token x is drawn from p(x) / Z over the allowed tokens, where p is the distribution after penalties,
    biases and temperature, and Z the allowed tokens' probability. The product of all Z is the importance weight of the
    sample towards the distribution without the constraint, given that this is kept: their logs are `Drawn.log_share`.
    Filters apply after the constraint and leave Z as it is. A greedy token is no draw: its share is 1.
    """

    def __init__(
        self,
        params: SamplingParams,
        index: int = 0,
        *,
        greedy: bool = False,
        prompt: Iterable[int] = (),
        drawn: Sequence[int] = (),
        matcher: Matcher | None = None,
    ) -> None:
        self.matcher = matcher
        self._params = params
        self._temperature = SPREAD_TEMPERATURE if params.temperature is None else params.temperature
        self._greedy = greedy or self._temperature == 0
        self._random = np.random.Generator(np.random.PCG64([params.seed, index]))
        self._penalties = Penalties(params, prompt=prompt, drawn=drawn)
        self._scratch: Floats | None = None

    @property
    def greedy(self) -> bool:
        return self._greedy

    @property
    def temperature(self) -> float:
        """What logits are divided by before a token is drawn; 0 takes the likeliest."""
        return 0.0 if self._greedy else self._temperature

    def draw(self, logits: Floats) -> Drawn:
        """Draw from logits [V], which are left as they were.

        Raises InvalidLogits for NaN or nothing to draw, whatever the constraint.
        """
        top = _highest(logits)
        penalised = self._penalties.apply(logits)
        share = 0.0
        if self.matcher is not None:
            token, share = self._within(self.matcher, penalised)
        elif self._greedy:
            token = int(penalised.argmax())
        else:
            token = self._sample(penalised, top if penalised is logits else float(penalised.max()))
        return self._record(logits, top, token, share)

    def distribution(self, logits: Floats, temperature: float | None = None) -> Weights:
        """Return what `draw` draws from, after penalties, constraint, temperature and every filter; ids ascend.

        temperature: greater than 0, in place of the sampler's own, for what a greedy one finds likely.
        Raises InvalidLogits as `draw` does.
        """
        _highest(logits)
        allowed, values = None, self._penalties.apply(logits)
        heat = self._temperature if temperature is None else temperature
        share = 0.0
        if self.matcher is not None:
            allowed, within = _mask(self.matcher, values)
            share = 0.0 if self._greedy else self._log_share(values, within, heat)
            values = within
        if self._greedy and temperature is None:
            best = int(values.argmax())
            return Weights.certain(best if allowed is None else int(allowed[best]))
        weights = self._weights(values, float(values.max()), heat)
        left = kept(weights, self._params)
        ids, exact = (np.flatnonzero(weights), weights[weights != 0]) if left is None else left
        exact = exact.astype(np.float64)
        ids = ids if allowed is None else allowed[ids]
        return Weights(ids.astype(np.int64), exact / exact.sum(), share)

    def uniform(self) -> float:
        """Draw a number from [0, 1) of the sample's generator."""
        return self._random.random()

    def choose(self, weights: Weights) -> int:
        """Draw a token from a distribution by the sample's generator."""
        return int(weights.ids[invert(weights.probabilities, self._random.random())])

    def take(self, logits: Floats, token: int, log_share: float = 0.0) -> Drawn:
        """Return a token that something else chose as if it were drawn: from now on it counts as seen.

        log_share: that of the distribution it was chosen by. Raises InvalidInput for one that the matcher does not allow.
        """
        return self._record(logits, _highest(logits), token, log_share)

    def _record(self, logits: Floats, top: float, token: int, log_share: float) -> Drawn:
        if self.matcher is not None:
            self.matcher.take(token)
        if self._penalties.active:
            self._penalties.saw(token)
        total = math.log(float(self._weights(logits, top, 1.0).sum(dtype=np.float32)))
        likeliest: tuple[tuple[int, float], ...] = ()
        if self._params.top_logprobs:
            ids, values = most_likely(logits, min(self._params.top_logprobs, len(logits)))
            order = np.argsort(-values, kind="stable")
            likeliest = tuple(
                (token, value - top - total)
                for token, value in zip(ids[order].tolist(), values[order].tolist(), strict=True)
                if value > -math.inf
            )
        return Drawn(token, float(logits[token]) - top - total, log_share, likeliest)

    def _within(self, matcher: Matcher, logits: Floats) -> tuple[int, float]:
        """Draw an allowed token; return it and the log of its share."""
        if self._params.constraining == "rejection":
            if self._greedy:
                best = best_allowed(logits, matcher)
                if best is not None:
                    return best, 0.0
            else:
                weights = self._weights(logits, float(logits.max()), self._temperature)
                found = reject(weights, matcher, self._random)
                if found is not None:
                    return found.token, found.log_share
        allowed, within = _mask(matcher, logits)
        if self._greedy:
            return int(allowed[within.argmax()]), 0.0
        share = self._log_share(logits, within, self._temperature)
        return int(allowed[self._sample(within, float(within.max()))]), share

    def _log_share(self, logits: Floats, within: Floats, temperature: float) -> float:
        """Return the log of the probability that some of the logits have among all at a temperature."""
        if len(within) == len(logits):
            return 0.0
        top, best = float(logits.max()), float(within.max())
        whole = float(self._weights(logits, top, temperature).sum(dtype=np.float64))
        part = float(self._weights(within, best, temperature).sum(dtype=np.float64))
        return min(0.0, (best - top) * _inverse(temperature) + math.log(part / whole))

    def _weights(self, logits: Floats, top: float, temperature: float) -> Floats:
        """Return exp((logits - top) / temperature), in memory that the next call reuses."""
        if self._scratch is None or len(self._scratch) < len(logits):
            self._scratch = np.empty_like(logits)
        weights = self._scratch[: len(logits)]
        np.subtract(logits, np.float32(top), out=weights)
        if temperature != 1:
            with np.errstate(over="ignore"):
                weights *= np.float32(_inverse(temperature))
        np.exp(weights, out=weights)
        return weights

    def _sample(self, logits: Floats, top: float) -> int:
        weights = self._weights(logits, top, self._temperature)
        left = kept(weights, self._params)
        if left is None:
            return Wheel(weights).draw(self._random)
        ids, exact = left
        return int(ids[invert(exact, self._random.random())])


def _inverse(temperature: float) -> float:
    """Return 1 / temperature.

    Bounded, as infinity times the best token's zero is no number, nor zero times an impossible one's.
    """
    return min(max(1 / temperature, _HOTTEST), _COLDEST)


def _mask(matcher: Matcher, logits: Floats) -> tuple[NDArray[np.intp], Floats]:
    """Return ids, ascending, and logits of the tokens that may come. Raises InvalidLogits where none is possible."""
    allowed = np.flatnonzero(matcher.allowed())
    within: Floats = logits[allowed]
    if not len(within) or within.max() == -np.inf:
        raise InvalidLogits(
            "Of the tokens that the constraint allows here, the model finds none possible.",
            hint="Ask for another structure, or without one.",
        )
    return allowed, within


def _highest(logits: Floats) -> float:
    top = float(logits.max())
    if not math.isfinite(top):
        raise InvalidLogits(
            f"The model computed {top} where a number should be, so no token can be chosen.",
            hint="The weights may be damaged; export the model again.",
        )
    return top
