"""Add up the probabilities of different texts for each answer, without the improbable ones; knows no texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from edgetts.errors import InvalidInput
from edgetts.selection.aggregation.ballots import Ballots, share_of
from edgetts.selection.aggregation.settings import at_least
from edgetts.selection.aggregation.votes import Tally, Vote
from edgetts.selection.aggregation.weibull import fit
from edgetts.selection.need import Need

PathProbability = Literal["mean", "path"]


@dataclass(frozen=True, slots=True)
class PerplexityConsistency:
    """Sum, for each answer, the probabilities of the different texts that led to it, improbable ones left out.

    "A Theoretical Study on Bridging Internal Probability and Self-Consistency for LLM Reasoning" (RPC).
    Perplexity consistency: a text drawn twice counts once, since its probability is known and needs no counting.
    What is missing is the probability of texts not drawn yet, sum p (1 - p)^n after n draws, which falls
    exponentially where a count's error falls as 1 / sqrt(n). Reasoning pruning: a mixture of two Weibull
    distributions is fitted to the probabilities; a text is left out where the component of the lower
    mean is more likely for it, and its probability is below the mean of all.

    probability: "path" is the text's, with which the theory holds; "mean" its geometric mean per token, which the
    authors' code uses, so that one text of hundreds does not outweigh all others. prune_from: with
    fewer different texts nothing is pruned, since the mixture has five parameters; 0 never prunes. Unlike
    in the authors' code, repeated texts do not move the mixture or the mean: nothing here depends on repeats.
    """

    probability: PathProbability = "mean"
    prune_from: int = 8

    def __post_init__(self) -> None:
        if self.probability not in get_args(PathProbability):
            raise InvalidInput(
                f"The probability of 'rpc' is {self.probability!r}.", hint="There are: 'mean' and 'path'."
            )
        at_least("prune_from", self.prune_from, 0)

    @property
    def name(self) -> str:
        return "rpc"

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"logprobs"})

    def __call__(self, votes: Sequence[Vote]) -> Tally:
        ballots = Ballots.sort(votes)
        kept = self._kept(_different(ballots.counted))
        logs = {vote.sample: self._log_probability(vote) for vote in kept}
        weights = ballots.sums(lambda vote: logs.get(vote.sample, -math.inf))
        return ballots.decide(weights, share_of(self.name), shown=kept)

    def _log_probability(self, vote: Vote) -> float:
        return min(0.0, vote.logprob if self.probability == "path" else vote.mean_logprob)

    def _kept(self, votes: Sequence[Vote]) -> Sequence[Vote]:
        logs = [self._log_probability(vote) for vote in votes]
        finite = [log for log in logs if log > -math.inf]
        if not self.prune_from or len(finite) < self.prune_from:
            return votes
        mixture = fit(finite)
        if mixture is None:
            return votes
        top = max(finite)
        log_mean = top + math.log(math.fsum(math.exp(log - top) for log in finite) / len(finite))
        return [
            vote
            for vote, log in zip(votes, logs, strict=True)
            if log >= log_mean or (log > -math.inf and not mixture.more_likely_low(log))
        ]


def _different(votes: Sequence[Vote]) -> list[Vote]:
    """One vote for each text, the lowest sample; a text whose path is not known is unlike any other."""
    seen: set[tuple[int, ...]] = set()
    different = []
    for vote in votes:
        if vote.path in seen:
            continue
        if vote.path:
            seen.add(vote.path)
        different.append(vote)
    return different
