"""Say when more samples cannot matter; knows counts of votes, not what a sample is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgetts.errors import InvalidInput
from edgetts.selection.aggregation.votes import Vote
from edgetts.selection.need import Need


def vote_decided(counts: Mapping[str, int], remaining: int) -> bool:
    """Whether the leader stays the leader however the `remaining` samples vote.

    `remaining` counts every sample not yet counted, running ones included. Whoever could still draw
    level could win the tie by probability, so that a possible tie is not decided. Without remaining
    samples there is nothing left to decide.
    """
    if remaining < 0 or any(count < 0 for count in counts.values()):
        raise InvalidInput(f"Votes cannot be negative: {dict(counts)} with {remaining} to come.")
    if remaining == 0:
        return True
    first, second, *_ = sorted((*counts.values(), 0, 0), reverse=True)
    return first > second + remaining


def counted(votes: Sequence[Vote]) -> Counter[str]:
    """Count the votes that count, by answer."""
    return Counter(vote.answer for vote in votes if vote.answer is not None and vote.counts)


def going_on(votes: Sequence[Vote], remaining: int) -> bool:
    """Whether a rule has anything to decide: samples to judge by, and samples that may still come.

    Errors: InvalidInput for a negative number of samples to come.
    """
    if remaining < 0:
        raise InvalidInput(f"There cannot be {remaining} samples to come.")
    return bool(votes) and remaining > 0


@dataclass(frozen=True, slots=True)
class VoteDecided:
    """Stop when the samples to come cannot change a majority vote. It never changes the answer."""

    @property
    def name(self) -> str:
        return "vote"

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"several"})

    def stop(self, votes: Sequence[Vote], remaining: int) -> str | None:
        if going_on(votes, remaining) and vote_decided(counted(votes), remaining):
            return "the vote is decided"
        return None
