"""Stop when no number of further samples is worth its tokens; knows votes and token counts, no seconds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgetts.errors import InvalidInput
from edgetts.selection.aggregation.votes import Vote
from edgetts.selection.need import Need
from edgetts.selection.stopping.lookahead import expected_share, mixed_share
from edgetts.selection.stopping.settings import spell
from edgetts.selection.stopping.votes import counted, going_on

HORIZON = 32
"""Samples looked ahead at most: the work grows with its cube."""


@dataclass(frozen=True, slots=True)
class ValueOfMore:
    """Stop when drawing k more is worth less than it costs, for every k that may still come.

    `tokens_per_point`: tokens that the user gives for one percentage point of accuracy. `unseen`: weight of answers not
    seen yet, in votes, as in `expected_share`; 0 lets the votes themselves tell it, so that a question on which
    nothing agrees is known for one. Judged after `minimum` samples. The gain is how much
    the leader's posterior share is expected to rise (`expected_share`), as if an answer were right as often as the model
    gives it: near zero where the leader is sure, and where so few agree that no leader is in sight, so that the
    hopeless stops early, too. The cost is k times the mean length of the samples there are. Looking at every k,
    not only the next, keeps it from stopping before a pair can form. Derived here from the k-step value of
    information ("Information Value Theory") for the posterior of "Adaptive-Consistency".
    """

    tokens_per_point: float = 300.0
    unseen: float = 0.0
    minimum: int = 2

    def __post_init__(self) -> None:
        if not (math.isfinite(self.tokens_per_point) and self.tokens_per_point >= 0):
            raise InvalidInput(
                f"tokens_per_point is {self.tokens_per_point}, but it must be zero or greater."
            )
        if not (math.isfinite(self.unseen) and self.unseen >= 0):
            raise InvalidInput(f"unseen is {self.unseen}, but it must be zero or greater.")
        if self.minimum < 1:
            raise InvalidInput(f"minimum is {self.minimum}, but it must be at least one sample.")

    @property
    def name(self) -> str:
        return spell("value", self)

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"several"})

    def stop(self, votes: Sequence[Vote], remaining: int) -> str | None:
        if not going_on(votes, remaining) or len(votes) < self.minimum:
            return None
        counts = sorted(counted(votes).values())
        lost, more = len(votes) - sum(counts), min(remaining, HORIZON)
        if self.unseen:
            shares = expected_share(counts, lost, more, self.unseen)
        else:
            shares = mixed_share(counts, lost, more)
        tokens = sum(vote.tokens for vote in votes) / len(votes)
        worth = max(
            100 * (share - shares[0]) * self.tokens_per_point - k * tokens
            for k, share in enumerate(shares)
            if k
        )
        # Gains of rounding size are no reason to go on, even for samples that cost nothing.
        if worth > 1e-9 * max(1.0, self.tokens_per_point):
            return None
        gain = 100 * (shares[-1] - shares[0])
        return f"{len(shares) - 1} more would gain {gain:.1f} points, not worth {tokens:.0f} tokens each"
