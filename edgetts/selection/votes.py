"""Count answers as votes and choose one; knows nothing of texts, or of what another sample would cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgetts.errors import InvalidInput
from edgetts.selection.answers import Extracted
from edgetts.types import Sample

VOTE_SHARE = "vote-share (uncalibrated)"
"""What `Tally.confidence` is: agreement between samples, which says nothing of how often that is right."""


@dataclass(frozen=True, slots=True)
class Vote:
    """One sample's answer, and how probable its text was.

    `answer` is canonical, or None where none was found. `logprob` is the sum over its `tokens` tokens,
    in nats. `complete`: the model ended the text itself. `explicit`: the text states the answer, so
    that it is no guess such as the last number.
    """

    sample: int
    answer: str | None
    logprob: float
    tokens: int
    complete: bool = True
    explicit: bool = True

    def __post_init__(self) -> None:
        if self.sample < 0 or self.tokens < 0:
            raise InvalidInput(
                f"A vote's sample ({self.sample}) and tokens ({self.tokens}) must not be negative."
            )
        if math.isnan(self.logprob) or self.logprob == math.inf:
            raise InvalidInput(f"The log-prob of sample {self.sample} is {self.logprob}, which is none.")

    @classmethod
    def of(cls, sample: Sample, found: Extracted | None) -> Vote:
        """The vote of a drawn sample for the answer found in its text."""
        return cls(
            sample=sample.index,
            answer=found.canonical if found else None,
            logprob=math.fsum(sample.logprobs),
            tokens=len(sample.tokens),
            complete=sample.complete,
            explicit=found is not None and found.explicit,
        )

    @property
    def counts(self) -> bool:
        """Whether it is counted: a text cut short votes only for an answer that it states.

        The last number of an unfinished calculation is an intermediate result, and wrong ones agree
        by repeating the question's own numbers.
        """
        return self.answer is not None and (self.complete or self.explicit)

    @property
    def mean_logprob(self) -> float:
        """Nats per token; minus infinity for an empty sample."""
        return self.logprob / self.tokens if self.tokens else -math.inf

    @property
    def weight(self) -> float:
        """The geometric mean of its tokens' probabilities, from 0 to 1."""
        return math.exp(min(0.0, self.mean_logprob))


@dataclass(frozen=True, slots=True)
class Tally:
    """The outcome of a vote.

    `answer` is None where no vote counted; `sample` is the index of the sample to show in any case.
    `counts` and `distribution` (shares of the counted votes, of sum 1) run from the winner down.
    `confidence` is the winner's share, and None with fewer than two counted votes: one voice cannot
    agree or disagree.
    """

    answer: str | None
    sample: int
    counts: Mapping[str, int]
    distribution: Mapping[str, float]
    confidence: float | None
    confidence_source: str = VOTE_SHARE


def self_consistency(votes: Sequence[Vote]) -> Tally:
    """Choose the answer with the most votes ("Self-Consistency Improves Chain of Thought Reasoning").

    Ties go to the answer whose votes have the larger sum of mean token probabilities, then to the one
    seen first (lowest sample index); never by chance, and whatever the order of `votes`. The sample
    shown is the winner's: a complete one before a cut one, then the most probable per token, then the
    lowest index. Where no vote counts, it is chosen so among all.
    Errors: InvalidInput for no votes, or two of one sample.
    """
    if not votes:
        raise InvalidInput("There are no samples to vote.", hint="Draw at least one.")
    if len({vote.sample for vote in votes}) < len(votes):
        raise InvalidInput("Two votes come from one sample.", hint="Give every sample its own index.")
    ballots: dict[str, list[Vote]] = {}
    for vote in votes:
        if vote.answer is not None and vote.counts:
            ballots.setdefault(vote.answer, []).append(vote)
    ranking = sorted(ballots, key=lambda answer: _rank(ballots[answer]))
    counts = {answer: len(ballots[answer]) for answer in ranking}
    counted = sum(counts.values())
    winner = ranking[0] if ranking else None
    return Tally(
        answer=winner,
        sample=_representative(votes if winner is None else ballots[winner]).sample,
        counts=counts,
        distribution={answer: count / counted for answer, count in counts.items()},
        confidence=counts[winner] / counted if winner is not None and counted > 1 else None,
    )


def _rank(ballot: list[Vote]) -> tuple[int, float, int]:
    """Lowest wins. fsum is exact, so that the order of votes cannot tip a tie."""
    return -len(ballot), -math.fsum(vote.weight for vote in ballot), min(vote.sample for vote in ballot)


def _representative(votes: Sequence[Vote]) -> Vote:
    return min(votes, key=lambda vote: (not vote.complete, -vote.mean_logprob, vote.sample))
