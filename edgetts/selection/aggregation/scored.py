"""Choose by a scorer's judgement of texts, alone or together with votes; knows scores, not what made them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgetts.selection.aggregation.ballots import Ballots, share_of
from edgetts.selection.aggregation.settings import score_of, share
from edgetts.selection.aggregation.votes import Tally, Vote
from edgetts.selection.need import Need


@dataclass(frozen=True, slots=True)
class BestOfN:
    """Choose the answer of the text with the highest score.

    "Training Verifiers to Solve Math Word Problems". The distribution is in proportion to each answer's
    highest score. With a scorer that can be fooled it gets worse as samples are added, since one of them
    will fool it: then `BestOfMajority` is safer.
    """

    @property
    def name(self) -> str:
        return "best_of_n"

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"score"})

    def __call__(self, votes: Sequence[Vote]) -> Tally:
        ballots = Ballots.sort(votes)
        weights = {
            answer: max(score_of(vote, self.name) for vote in cast) for answer, cast in ballots.of.items()
        }
        return ballots.decide(weights, share_of(self.name), merit=_score)


@dataclass(frozen=True, slots=True)
class WeightedBestOfN:
    """Choose the answer whose texts' scores have the largest sum.

    "Making Large Language Models Better Reasoners with Step-Aware Verifier" (Li et al., 2022).
    """

    @property
    def name(self) -> str:
        return "weighted_best_of_n"

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"score"})

    def __call__(self, votes: Sequence[Vote]) -> Tally:
        ballots = Ballots.sort(votes)
        weights = {
            answer: math.fsum(score_of(vote, self.name) for vote in cast)
            for answer, cast in ballots.of.items()
        }
        return ballots.decide(weights, share_of(self.name), merit=_score)


@dataclass(frozen=True, slots=True)
class BestOfMajority:
    """Among answers with at least a share `alpha` of the votes, choose the one with the highest mean score.

    "Best-of-Majority: Minimax-Optimal Strategy for Pass@k Inference Scaling", for k = 1. A scorer's errors are
    bounded only where the model often goes: rare answers are not offered to it, and adding samples does no harm.
    The paper's alpha is 3 / (4 C), where 1 / C is the share of the model's samples that are right: 0.4
    suits questions that it gets right half of the time, and lets no answer of one vote through from three
    samples on. Where no answer has that share, those with the most votes are compared. alpha 0 is best-of-N
    by mean score, 1 nearly the majority. The distribution is in
    proportion to the mean scores of the answers compared.
    """

    alpha: float = 0.4

    def __post_init__(self) -> None:
        share("alpha", self.alpha)

    @property
    def name(self) -> str:
        return "best_of_majority"

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"score"})

    def __call__(self, votes: Sequence[Vote]) -> Tally:
        ballots = Ballots.sort(votes)
        counts = ballots.counts()
        least = min(self.alpha * sum(counts.values()), max(counts.values(), default=0.0))
        means = {
            answer: math.fsum(score_of(vote, self.name) for vote in cast) / len(cast)
            for answer, cast in ballots.of.items()
        }
        weights = {answer: mean if counts[answer] >= least else 0.0 for answer, mean in means.items()}
        return ballots.decide(weights, share_of(self.name), merit=_score)


def _score(vote: Vote) -> float:
    return -1.0 if vote.score is None else vote.score
