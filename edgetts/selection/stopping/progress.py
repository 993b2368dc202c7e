"""What is known of drawing more samples: by how much they may raise the leader or overturn it; knows weights of votes, and no prices.

A model of the search for the best answer, after "Optimal Search for the Best Alternative" (Weitzman): where offers come from
a known distribution, it is best to go on while the expected excess of the next offer over the best so far is worth its cost. Here an
offer is a sample, its value the probability that it is right, and since samples vote, what it has to exceed is the leader's lead over the
runner-up. The distribution is learned from the question's own samples as it goes: a Dirichlet process whose base are samples of other
questions. After n samples the next one is one of the base's with probability m / (m + n), and else of those there are, which
overturn nothing: so the hopeless shows itself, and so do samples side by side bring less than as many questions would.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from edgetts.errors import InvalidInput
from edgetts.selection.stopping.evidence import Evidence
from edgetts.selection.verification.verifier import ErrorRates

MEMORY = 1.0
"""Between a half and 2 nothing changes on the samples it was chosen on; see `Progress`."""
MOST_FRESH = 128
"""Probabilities of fresh samples that are kept of any distribution: the work grows with their square."""
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
            known = 0 < len(values) <= MOST_FRESH and all(0 <= one <= 1 for one in values)
            if not known or list(values) != sorted(values):
                raise InvalidInput(
                    f"{name} of the progress must be 1 to {MOST_FRESH} probabilities that do not fall."
                )
        if not 0 < self.memory < 1e6 or not 0 < self.tokens < 1e6:
            raise InvalidInput(
                f"The progress has a memory of {self.memory} and {self.tokens} tokens, but both must be "
                "greater than 0 and less than a million."
            )

    def best_of(
        self, lead: float, samples: int, more: int, *, checked: bool, rates: ErrorRates | None = None
    ) -> float:
        """Return by how much the best one of `more` samples is expected to exceed a lead of so much weight.

        It rises with `more`, falls with the lead and with the samples there are, and is never negative. rates: of a verifier
        that will judge the samples.
        """
        distinct = sum(self.memory / (self.memory + samples + one) for one in range(more))
        below = excess = 0.0
        for value, share in _offers(self._base(checked, rates), rates):
            upto = min(1.0, below + share)
            excess += (upto**distinct - below**distinct) * max(0.0, value - lead)
            below = upto
        return excess

    def sum_of(
        self, lead: float, samples: int, more: int, *, checked: bool, rates: ErrorRates | None = None
    ) -> float:
        """Return by how much `more` samples that all agree are expected to exceed a lead: what one cannot overturn, some may.

        A verdict decides by itself, so that with a verifier nothing adds up.
        """
        share = self.memory / (self.memory + samples)
        if rates is not None or more < 1:
            return 0.0
        values = _sums(self._base(checked, rates), more)
        return share * sum(one - lead for one in values if one > lead) / len(values)

    def _base(self, checked: bool, rates: ErrorRates | None) -> tuple[float, ...]:
        return self.fresh if checked and rates is None else self.fresh_plain


def judged(probability: float, passed: bool | None, rates: ErrorRates) -> float:
    """Return P(right) after a verifier's verdict, by Bayes' rule; None says nothing. No verdict is quite believed."""
    if passed is None:
        return probability
    right, wrong = _says(rates.passes_right, passed), _says(rates.passes_wrong, passed)
    return probability * right / (probability * right + (1 - probability) * wrong)


@lru_cache(maxsize=256)
def _sums(base: tuple[float, ...], count: int) -> tuple[float, ...]:
    """Return equally likely values that stand for the sum of `count` draws from the base."""
    if count == 1:
        return base
    half, rest = _sums(base, count // 2), _sums(base, count - count // 2)
    both = sorted(one + other for one in half for other in rest)
    group = -(-len(both) // MOST_FRESH)
    # Means of neighbours keep the mean; of equally many, so that all stay equally likely.
    whole = len(both) // group * group
    return tuple(sum(both[at : at + group]) / group for at in range(0, whole, group))


@lru_cache(maxsize=64)
def _offers(base: tuple[float, ...], rates: ErrorRates | None) -> tuple[tuple[float, float], ...]:
    """Return what a sample may be worth once it is judged, rising, each with its probability."""
    if rates is None:
        return tuple((one, 1 / len(base)) for one in base)
    offers = []
    for one in base:
        for passed in (True, False):
            chance = one * _says(rates.passes_right, passed) + (1 - one) * _says(rates.passes_wrong, passed)
            offers.append((judged(one, passed, rates), chance / len(base)))
    return tuple(sorted(offers))


def _says(rate: float, passed: bool) -> float:
    bounded = min(max(rate, 1 - _SUREST), _SUREST)
    return bounded if passed else 1 - bounded
