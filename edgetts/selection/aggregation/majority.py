"""Count answers as votes and choose one; knows nothing of texts, or of what another sample would cost."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgetts.errors import InvalidInput
from edgetts.selection.aggregation.votes import Tally, Vote

VOTE_SHARE = "vote-share (uncalibrated)"
"""What a majority's confidence is: agreement between samples, which says nothing of how often that is right."""


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
        confidence_source=VOTE_SHARE,
    )


def _rank(ballot: list[Vote]) -> tuple[int, float, int]:
    """Lowest wins. fsum is exact, so that the order of votes cannot tip a tie."""
    return -len(ballot), -math.fsum(vote.weight for vote in ballot), min(vote.sample for vote in ballot)


def _representative(votes: Sequence[Vote]) -> Vote:
    return min(votes, key=lambda vote: (not vote.complete, -vote.mean_logprob, vote.sample))
