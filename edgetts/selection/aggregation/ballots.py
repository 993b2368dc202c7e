"""Group votes by answer, and turn weights of answers into a decision; knows no way of weighing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgetts.errors import InvalidInput
from edgetts.selection.aggregation.votes import Tally, Vote

VOTE_SHARE = "vote-share (uncalibrated)"
"""What a majority's confidence is: agreement between samples, which says nothing of how often that is right."""


@dataclass(frozen=True, slots=True)
class Ballots:
    """All votes, and those that count by the answer they are for."""

    votes: Sequence[Vote]
    of: Mapping[str, Sequence[Vote]]

    @classmethod
    def sort(cls, votes: Sequence[Vote]) -> Ballots:
        """Group them. Errors: InvalidInput for no votes, or two of one sample."""
        if not votes:
            raise InvalidInput("There are no samples to vote.", hint="Draw at least one.")
        if len({vote.sample for vote in votes}) < len(votes):
            raise InvalidInput("Two votes come from one sample.", hint="Give every sample its own index.")
        of: dict[str, list[Vote]] = {}
        for vote in votes:
            if vote.answer is not None and vote.counts:
                of.setdefault(vote.answer, []).append(vote)
        return cls(votes, of)

    @property
    def counted(self) -> list[Vote]:
        """The votes that count, by sample, so that what is computed from them does not depend on their order."""
        return sorted((vote for cast in self.of.values() for vote in cast), key=lambda vote: vote.sample)

    def counts(self, kept: Iterable[Vote] | None = None) -> dict[str, float]:
        """How many votes each answer has, or how many of `kept`."""
        if kept is None:
            return {answer: float(len(cast)) for answer, cast in self.of.items()}
        samples = {vote.sample for vote in kept}
        return {
            answer: float(sum(vote.sample in samples for vote in cast)) for answer, cast in self.of.items()
        }

    def sums(self, log_weight: Callable[[Vote], float]) -> dict[str, float]:
        """Add up the weights of each answer's votes, given their logs, up to a common factor.

        The largest weight is 1, so that the probability of a long text does not vanish before it is
        compared. fsum is exact: the order of votes cannot tip a tie.
        """
        return sums_of_logs({answer: [log_weight(vote) for vote in cast] for answer, cast in self.of.items()})

    def decide(
        self,
        weights: Mapping[str, float],
        source: str,
        merit: Callable[[Vote], float] | None = None,
        shown: Iterable[Vote] | None = None,
    ) -> Tally:
        """Choose the answer of the largest weight; the distribution is the weights' shares.

        weights: at least 0 and finite, one for each answer; where all are 0 nothing is known of any, and
        votes are counted instead. Ties go to the larger sum of mean token probabilities, then to
        the lowest sample. The sample shown is the winner's (of those in `shown`, where there are any) with the
        most merit, then a complete one, then the most probable per token, then the lowest.
        """
        counts = {answer: len(cast) for answer, cast in self.of.items()}
        total = math.fsum(weights.values())
        if not total > 0:
            weights, total = self.counts(), float(sum(counts.values()))

        def rank(answer: str) -> tuple[float, float, int]:
            cast = self.of[answer]
            probability = math.fsum(vote.weight for vote in cast)
            return -weights[answer], -probability, min(vote.sample for vote in cast)

        ranking = sorted(self.of, key=rank)
        winner = ranking[0] if ranking else None
        distribution = {answer: weights[answer] / total for answer in ranking}
        rivals: Sequence[Vote] = self.votes if winner is None else self.of[winner]
        if shown is not None:
            samples = {vote.sample for vote in shown}
            rivals = [vote for vote in rivals if vote.sample in samples] or rivals
        several = sum(counts.values()) > 1
        return Tally(
            answer=winner,
            sample=_best(rivals, merit).sample,
            counts={answer: counts[answer] for answer in ranking},
            distribution=distribution,
            confidence=distribution[winner] if winner is not None and several else None,
            confidence_source=source,
        )


def sums_of_logs(logs: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Add up weights given as logs, divided by the largest of them; all 0 where every log is minus infinity."""
    top = max((log for of in logs.values() for log in of), default=-math.inf)
    if top == -math.inf:
        return dict.fromkeys(logs, 0.0)
    return {answer: math.fsum(math.exp(log - top) for log in of) for answer, of in logs.items()}


def share_of(name: str) -> str:
    """Say where a confidence is from that is a share of an aggregator's distribution."""
    return f"{name} share (uncalibrated)"


def _best(votes: Sequence[Vote], merit: Callable[[Vote], float] | None) -> Vote:
    return min(
        votes,
        key=lambda vote: (
            -merit(vote) if merit else 0.0,
            not vote.complete,
            -vote.mean_logprob,
            vote.sample,
        ),
    )
