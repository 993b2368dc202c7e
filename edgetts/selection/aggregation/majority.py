"""Count answers as votes and choose one; knows nothing of texts, or of what another sample would cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgetts.selection.aggregation.ballots import VOTE_SHARE, Ballots
from edgetts.selection.aggregation.votes import Tally, Vote
from edgetts.selection.need import Need


@dataclass(frozen=True, slots=True)
class Majority:
    """Choose the answer with the most votes ("Self-Consistency Improves Chain of Thought Reasoning").

    The one aggregator that needs nothing but samples. Ties as in `self_consistency`.
    """

    @property
    def name(self) -> str:
        return "majority"

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset()

    def __call__(self, votes: Sequence[Vote]) -> Tally:
        ballots = Ballots.sort(votes)
        return ballots.decide(ballots.counts(), VOTE_SHARE)


def self_consistency(votes: Sequence[Vote]) -> Tally:
    """Choose the answer with the most votes ("Self-Consistency Improves Chain of Thought Reasoning").

    Ties go to the answer whose votes have the larger sum of mean token probabilities, then to the one
    seen first (lowest sample index); never by chance, and whatever the order of `votes`. The sample
    shown is the winner's: a complete one before a cut one, then the most probable per token, then the
    lowest index. Where no vote counts, it is chosen so among all.
    Errors: InvalidInput for no votes, or two of one sample.
    """
    return Majority()(votes)
