"""Several signals as one: log-odds of being right, from a logistic regression; knows signals by name only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgetts.errors import InvalidInput
from edgetts.selection.aggregation.votes import Tally, Vote
from edgetts.selection.confidence.logistic import fit_logistic
from edgetts.selection.confidence.signals import SIGNALS, Signal

PENALTY = 1.0
"""On squared weights of standardised signals: signals agree with each other, and examples are few."""


@dataclass(frozen=True, slots=True)
class Combination:
    """Log-odds = intercept + sum of weight * value over signals; a missing value counts as its mean in `usual`."""

    signals: tuple[str, ...]
    weights: tuple[float, ...]
    usual: tuple[float, ...]
    intercept: float

    def __post_init__(self) -> None:
        if not self.signals or len(set(self.signals)) < len(self.signals):
            raise InvalidInput("A combination needs signals, each once.")
        if not len(self.signals) == len(self.weights) == len(self.usual):
            raise InvalidInput("A combination needs a weight and a usual value for each signal.")
        if not all(map(math.isfinite, (*self.weights, *self.usual, self.intercept))):
            raise InvalidInput("A combination's numbers must be finite.")

    @property
    def name(self) -> str:
        return "+".join(self.signals)

    def log_odds(self, values: Mapping[str, float | None]) -> float | None:
        """Combine values by signal; None where every one is missing."""
        found = [values.get(name) for name in self.signals]
        if all(value is None for value in found):
            return None
        terms = [
            weight * (usual if value is None else value)
            for weight, usual, value in zip(self.weights, self.usual, found, strict=True)
        ]
        return math.fsum((*terms, self.intercept))

    def signal(self, known: Mapping[str, Signal] = SIGNALS) -> Signal:
        """Return the signal whose values are these log-odds. known: where its signals are found by name.

        Errors: InvalidInput for a signal that is not there.
        """
        if missing := [name for name in self.signals if name not in known]:
            raise InvalidInput(
                f"The combination needs signals that are not known: {', '.join(missing)}.",
                hint=f"Known are: {', '.join(known)}.",
            )
        parts = {name: known[name] for name in self.signals}

        def measure(votes: Sequence[Vote], tally: Tally) -> float | None:
            return self.log_odds({name: one(votes, tally) for name, one in parts.items()})

        return Signal(self.name, frozenset().union(*(one.needs for one in parts.values())), measure)


def fit_combination(
    signals: Sequence[str],
    rows: Sequence[Sequence[float | None]],
    right: Sequence[bool],
    *,
    penalty: float = PENALTY,
) -> Combination:
    """Fit a combination on examples, which must not be tested on again.

    rows: one value a signal for each example, None where it was not known. A signal known nowhere gets weight 0.
    Errors: InvalidInput for no examples or rows of another length.
    """
    if not rows or len(rows) != len(right) or any(len(row) != len(signals) for row in rows):
        raise InvalidInput("A combination is fitted on examples with one value for every signal.")
    usual = []
    for column in zip(*rows, strict=True):
        known = [value for value in column if value is not None]
        usual.append(math.fsum(known) / len(known) if known else 0.0)
    filled = sorted(
        (
            tuple(mean if value is None else value for value, mean in zip(row, usual, strict=True)),
            float(hit),
        )
        for row, hit in zip(rows, right, strict=True)
    )  # sorted, so that the order of examples changes not even the last digit
    weights, intercept = fit_logistic([row for row, _ in filled], [hit for _, hit in filled], penalty=penalty)
    return Combination(tuple(signals), weights, tuple(usual), intercept)
