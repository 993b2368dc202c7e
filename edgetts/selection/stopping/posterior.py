"""Stop when the leader is likely the model's most frequent answer; knows counts, not whether it is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgetts.errors import InvalidInput
from edgetts.selection.aggregation.votes import Vote
from edgetts.selection.need import Need
from edgetts.selection.stopping.settings import spell
from edgetts.selection.stopping.votes import counted, going_on


def leads(leader: int, runner_up: int) -> float:
    """Return P(leader's share > runner-up's), for a uniform prior on how the two divide their votes.

    The posterior is Beta(leader + 1, runner_up + 1), and its mass above one half is a tail of fair coins:
    P(X <= leader) for X of leader + runner_up + 1 tosses, so 1 - P(X <= runner_up). Exact in whole numbers.
    Source: "Let's Sample Step by Step: Adaptive-Consistency for Efficient Reasoning and Coding with LLMs".
    """
    if leader < 0 or runner_up < 0:
        raise InvalidInput(f"Votes cannot be negative: {leader} and {runner_up}.")
    tosses = leader + runner_up + 1
    ways = below = 1
    for heads in range(runner_up):
        ways = ways * (tosses - heads) // (heads + 1)
        below += ways
    return ((1 << tosses) - below) / (1 << tosses)


@dataclass(frozen=True, slots=True)
class Posterior:
    """Stop when `leads(leader, runner-up)` reaches `threshold`, greater than 1/2 and less than 1.

    0.95 is the paper's. It takes four votes to none, six to one (0.98 takes five to none).
    """

    threshold: float = 0.95

    def __post_init__(self) -> None:
        if not 0.5 < self.threshold < 1:
            raise InvalidInput(
                f"The posterior's threshold is {self.threshold}, but it must be greater than 0.5 and less than 1."
            )

    @property
    def name(self) -> str:
        return spell("posterior", self)

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"several"})

    def stop(self, votes: Sequence[Vote], remaining: int) -> str | None:
        counts = sorted((*counted(votes).values(), 0, 0), reverse=True)
        if not going_on(votes, remaining) or counts[0] == 0:
            return None
        found = leads(counts[0], counts[1])
        return f"the leader stays ahead with probability {found:.3f}" if found >= self.threshold else None
