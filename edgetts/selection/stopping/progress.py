"""What is known of drawing more samples: how good a fresh one may be; knows texts by their evidence, and no prices.

A model of the search for the best answer, after "Optimal Search for the Best Alternative" (Weitzman): where offers come from
a known distribution, it is best to go on while the expected excess of the next offer over the best so far is worth its cost. Here an
offer is a sample, its value the probability that it is right, and the distribution is learned from the question's own
samples as it goes: a Dirichlet process whose base are samples of other questions. After n samples, none
better than the leader, the next one's expected excess is m / (m + n) of the base's: so the hopeless shows itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from edgetts.errors import InvalidInput
from edgetts.selection.stopping.evidence import Evidence
from edgetts.selection.verification.verifier import ErrorRates

MEMORY = 2.0
"""Between 1 and 4 nothing changes on the samples it was chosen on; see `Progress`."""
_SUREST = 0.999


@dataclass(frozen=True, slots=True)
class Progress:
    """What samples of a model at a kind of task are like.

    fresh: equally likely probabilities, ascending, of a sample of which arithmetic can be checked; fresh_plain: of
    any other. memory: samples of this question that weigh as much as all that is known of others. tokens: mean
    length of a sample. source: what it was fitted on.
    """

    evidence: Evidence
    fresh: tuple[float, ...]
    fresh_plain: tuple[float, ...]
    memory: float = MEMORY
    tokens: float = 260.0
    source: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        for name in ("fresh", "fresh_plain"):
            values = getattr(self, name)
            if not values or list(values) != sorted(values) or not all(0 <= one <= 1 for one in values):
                raise InvalidInput(f"{name} of the progress must be probabilities that do not fall.")
        if not 0 < self.memory < 1e6 or not 0 < self.tokens < 1e6:
            raise InvalidInput(
                f"The progress has a memory of {self.memory} and {self.tokens} tokens, but both must be "
                "greater than 0 and less than a million."
            )

    def excess(self, leader: float, samples: int, *, checked: bool, rates: ErrorRates | None = None) -> float:
        """Return by how much the next sample is expected to beat a leader that is right with probability `leader`.

        It falls with the leader's probability and with the samples there are, and is never negative. rates: of a
        verifier that will judge the sample.
        """
        base = self.fresh if checked and rates is None else self.fresh_plain
        return self.memory / (self.memory + samples) * _mean_excess(base, leader, rates)


def _mean_excess(base: Sequence[float], leader: float, rates: ErrorRates | None) -> float:
    if rates is None:
        return sum(max(0.0, one - leader) for one in base) / len(base)
    total = 0.0
    for one in base:
        for passed in (True, False):
            chance = one * _says(rates.passes_right, passed) + (1 - one) * _says(rates.passes_wrong, passed)
            total += chance * max(0.0, judged(one, passed, rates) - leader)
    return total / len(base)


def judged(probability: float, passed: bool | None, rates: ErrorRates) -> float:
    """Return P(right) after a verifier's verdict, by Bayes' rule; None says nothing. No verdict is quite believed."""
    if passed is None:
        return probability
    right, wrong = _says(rates.passes_right, passed), _says(rates.passes_wrong, passed)
    return probability * right / (probability * right + (1 - probability) * wrong)


def _says(rate: float, passed: bool) -> float:
    bounded = min(max(rate, 1 - _SUREST), _SUREST)
    return bounded if passed else 1 - bounded
