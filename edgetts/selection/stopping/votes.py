"""Say when more samples cannot matter; knows counts of votes, not what a sample is."""

from __future__ import annotations

from collections.abc import Mapping

from edgetts.errors import InvalidInput


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
