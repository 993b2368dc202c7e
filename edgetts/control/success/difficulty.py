"""What a few samples show of a question's difficulty: whether more of them would help. Knows counts, no answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

Curve = tuple[float, float]
"""Slope, at least 0, and intercept of log-odds."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A question's samples, as far as they are numbers.

    counts: votes of each different answer, in any order; texts without one are in `lengths` only. logprobs: nats a
    token, one for each sample; lengths: tokens of each.
    """

    counts: Sequence[int]
    logprobs: Sequence[float]
    lengths: Sequence[int]

    @property
    def samples(self) -> int:
        return len(self.lengths)


def _agreement(seen: Seen) -> float:
    return max(seen.counts, default=0) / seen.samples


def _certaindex(seen: Seen) -> float:
    if seen.samples < 2:
        return 0.0
    summed = math.fsum(count * math.log(count) for count in seen.counts if count)
    return summed / (seen.samples * math.log(seen.samples))


def _mean_logprob(seen: Seen) -> float:
    return math.fsum(seen.logprobs) / seen.samples


def _shortness(seen: Seen) -> float:
    return -math.log(1 + math.fsum(seen.lengths) / seen.samples)


FEATURES: Mapping[str, Callable[[Seen], float]] = MappingProxyType(
    {
        "agreement": _agreement,
        "certaindex": _certaindex,
        "mean-logprob": _mean_logprob,
        "shortness": _shortness,
    }
)
"""More is easier, for every one. agreement: the most frequent answer's share of the samples; certaindex: see
`edgetts.selection.confidence`; mean-logprob: nats a token; shortness: minus the log of the mean length."""


@dataclass(frozen=True, slots=True)
class Difficulty:
    """What a weighted sum of features after `after` samples says of the vote then and of the vote after `most`.

    weights: of features, by name. now, later: P(right) by the sum. auroc: how well the
    sum told questions that the vote of `most` gets right from others, on halves of the questions on which it was neither
    chosen nor fitted; rescued: likewise among those that the vote was wrong on after `after`, None where too few of
    them were: at 0.5, the sum tells which questions are lost, but not which of the open ones are worth more samples.
    """

    weights: tuple[tuple[str, float], ...]
    after: int
    most: int
    now: Curve
    later: Curve
    auroc: float
    rescued: float | None = None

    def value(self, seen: Seen) -> float | None:
        """Return the sum; None before there are `after` samples."""
        return weighed(self.weights, seen) if seen.samples >= self.after else None

    def hopeless(self, value: float) -> float:
        """Return the probability that the vote of `most` samples is wrong."""
        return 1.0 - _chance(self.later, value)

    def gain(self, value: float) -> float:
        """Return by how much drawing on to `most` samples is expected to raise P(right); it may be below 0."""
        return _chance(self.later, value) - _chance(self.now, value)


def weighed(weights: Sequence[tuple[str, float]], seen: Seen) -> float:
    """Return a weighted sum of features."""
    return math.fsum(weight * FEATURES[name](seen) for name, weight in weights)


def _chance(curve: Curve, value: float) -> float:
    slope, intercept = curve
    return 1 / (1 + math.exp(-min(max(slope * value + intercept, -30.0), 30.0)))
