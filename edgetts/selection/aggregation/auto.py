"""Choose an aggregator from what votes bring; knows what each needs, not how it weighs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgetts.selection.aggregation.majority import Majority
from edgetts.selection.aggregation.rpc import PerplexityConsistency
from edgetts.selection.aggregation.scored import BestOfMajority, WeightedBestOfN
from edgetts.selection.aggregation.verified import Verified
from edgetts.selection.aggregation.votes import Aggregator, Tally, Vote
from edgetts.selection.aggregation.weighted import LikelihoodWeighted
from edgetts.selection.need import Need

if TYPE_CHECKING:
    from edgetts.selection.verification.verifier import ErrorRates


def choose_aggregator(
    votes: Sequence[Vote], *, rates: ErrorRates | None = None, calibrated: bool = False
) -> Aggregator:
    """Choose from what is known of the votes that count, the strongest evidence first.

    1. A verdict on any of them: `Verified`, with the verifier's error rates where they are known.
    2. A score on every one: `WeightedBestOfN` where scores are calibrated probabilities, since then
       sums of them count right answers; otherwise `BestOfMajority`, which a scorer that can be fooled does not lead
       astray.
    3. The answer's log-prob in every one: `LikelihoodWeighted`.
    4. Log-probs of every text: `PerplexityConsistency`.
    5. Otherwise `Majority`.

    rates: the verifier's error rates. calibrated: scores are right as often as they say. What was measured
    for this is printed by benchmarks/votes.py: of those that use log-probs none is surely better than majority, and
    3 and 4 are never surely worse; best-of-n with a poor scorer loses more the more samples there are.
    """
    # Where no text has an answer, they are still told apart by what is thought of them.
    counted = [vote for vote in votes if vote.counts] or list(votes)
    if any(vote.passed is not None for vote in counted):
        return Verified.of(rates)
    if counted and all(vote.score is not None for vote in counted):
        return WeightedBestOfN() if calibrated else BestOfMajority()
    if counted and all(vote.answer_logprob is not None for vote in counted):
        return LikelihoodWeighted()
    if counted and all(vote.tokens > 0 for vote in counted):
        return PerplexityConsistency()
    return Majority()


@dataclass(frozen=True, slots=True)
class Auto:
    """Decide by whichever aggregator suits what the votes bring: see `choose_aggregator`.

    The tally names the aggregator used in its confidence_source. calibrated: scores are right as
    often as they say. passes_right and passes_wrong: the verifier's error rates, 1 and 0 where it does not err.
    """

    calibrated: bool = False
    passes_right: float = 1.0
    passes_wrong: float = 0.0

    def __post_init__(self) -> None:
        Verified(self.passes_right, self.passes_wrong)  # checks them

    @property
    def name(self) -> str:
        return "auto"

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset()

    def __call__(self, votes: Sequence[Vote]) -> Tally:
        chosen = choose_aggregator(votes, calibrated=self.calibrated)
        if isinstance(chosen, Verified):
            chosen = Verified(self.passes_right, self.passes_wrong)
        return chosen(votes)
