"""Weigh votes by how probable the model finds its texts, its answers, or their being right; knows no texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgetts.errors import InvalidInput
from edgetts.selection.aggregation.ballots import Ballots, share_of
from edgetts.selection.aggregation.settings import positive, score_of
from edgetts.selection.aggregation.votes import Tally, Vote
from edgetts.selection.need import Need


@dataclass(frozen=True, slots=True)
class ProbabilityWeighted:
    """Weigh a vote by its text's probability to the power 1 / temperature.

    The "normalized weighted sum" of "Self-Consistency Improves Chain of Thought Reasoning in Language Models": the
    probability is the geometric mean over the text's tokens, at temperature 1. Below 1 the surest texts
    decide; at large temperatures it is the majority.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        positive("temperature", self.temperature)

    @property
    def name(self) -> str:
        return "probability"

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"logprobs"})

    def __call__(self, votes: Sequence[Vote]) -> Tally:
        ballots = Ballots.sort(votes)
        weights = ballots.sums(lambda vote: min(0.0, vote.mean_logprob) / self.temperature)
        return ballots.decide(weights, share_of(self.name))


@dataclass(frozen=True, slots=True)
class ConfidenceWeighted:
    """Weigh a vote by the softmax, over the samples, of its score / temperature.

    "Confidence Improves Self-Consistency in LLMs" (CISC): the score is the model's own judgement of its text,
    and what matters is how it ranks one question's samples, not whether it is calibrated. At large temperatures
    it is the majority; close to 0 the best-scored sample decides alone.
    """

    temperature: float = 0.25

    def __post_init__(self) -> None:
        positive("temperature", self.temperature)

    @property
    def name(self) -> str:
        return "confidence"

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"score"})

    def __call__(self, votes: Sequence[Vote]) -> Tally:
        ballots = Ballots.sort(votes)
        weights = ballots.sums(lambda vote: score_of(vote, self.name) / self.temperature)
        return ballots.decide(weights, share_of(self.name))


@dataclass(frozen=True, slots=True)
class LikelihoodWeighted:
    """Weigh a vote by the probability of its answer, given the reasoning before it.

    An answer's weight is the sum (in logs: the log-sum-exp) over its samples of p(answer | question, reasoning),
    which is the marginalisation over reasoning of "Self-Consistency Improves Chain of Thought Reasoning in
    Language Models" with the answer's probability in place of the 0 or 1 of having drawn it. Known of
    each reasoning is only the answer that followed it: so in expectation an answer's weight is the mean of
    its squared conditional probability, which favours answers that the model was sure of.
    per_token: take the geometric mean over the answer's tokens, so that long answers do not lose for being long.
    """

    per_token: bool = False

    @property
    def name(self) -> str:
        return "likelihood"

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"logprobs"})

    def __call__(self, votes: Sequence[Vote]) -> Tally:
        ballots = Ballots.sort(votes)
        return ballots.decide(ballots.sums(self._log_weight), share_of(self.name))

    def _log_weight(self, vote: Vote) -> float:
        if vote.answer_logprob is None:
            raise InvalidInput(
                f"The probability of sample {vote.sample}'s answer is not known, which 'likelihood' needs.",
                hint="Give votes their answer_logprob, or use 'rpc' or 'majority'.",
            )
        if not math.isfinite(vote.answer_logprob) or not self.per_token:
            return vote.answer_logprob
        return vote.answer_logprob / max(1, vote.answer_tokens)
