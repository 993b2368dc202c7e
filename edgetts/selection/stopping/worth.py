"""Stop when the next sample is not worth its tokens; knows votes, what samples are like, and one price for all questions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgetts.errors import InvalidInput
from edgetts.selection.aggregation.votes import Vote
from edgetts.selection.need import Need
from edgetts.selection.stopping.progress import Progress, judged
from edgetts.selection.stopping.votes import going_on
from edgetts.selection.verification.verifier import ErrorRates

SAFE = 0.5
"""A leader that is more likely right than wrong is called safe where it is not worth going on."""
HOPELESS = 0.1
"""One that is this unlikely is called hopeless."""


@dataclass(frozen=True, slots=True)
class Standing:
    """leader: how likely it is right, from 0 to 1. gain: by how much the next sample is expected to raise that.
    tokens: of the next sample.
    """

    leader: float
    gain: float
    tokens: float


@dataclass(frozen=True, slots=True)
class WorthOfNext:
    """Stop when the next sample is expected to gain less than it costs.

    price: of a token, as a share of what a right answer is worth. checked: the question asks for arithmetic, so that scores tell
    more. rates: of the verifier whose verdicts votes bring; None takes a vote's score, or where it has none its
    log-prob. The leader is the answer whose samples' probabilities sum to most. See `edgetts.selection.stopping.progress`.
    """

    price: float
    progress: Progress
    checked: bool = False
    rates: ErrorRates | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.price) and self.price >= 0):
            raise InvalidInput(f"The price of a token is {self.price}, but it must be zero or greater.")

    @property
    def name(self) -> str:
        return f"worth:{self.price:g}"

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"several"})

    def weight(self, vote: Vote) -> float:
        """Return how likely a sample is right, by itself."""
        if self.rates is not None:
            return judged(self.progress.evidence.plainly(vote.mean_logprob), vote.passed, self.rates)
        return self.progress.evidence.plainly(vote.mean_logprob) if vote.score is None else vote.score

    def standing(self, votes: Sequence[Vote]) -> Standing:
        """Judge the votes there are, whatever their order."""
        weights: dict[str, list[float]] = {}
        for vote in votes:
            if vote.answer is not None and vote.counts:
                weights.setdefault(vote.answer, []).append(self.weight(vote))
        first, second, *_ = sorted((*map(math.fsum, weights.values()), 0.0, 0.0), reverse=True)
        # A verdict speaks for its own answer alone: a rival's does not make the leader less likely right.
        lead = first - second if self.rates is None else min(1.0, first)
        gain = self.progress.excess(lead, len(votes), checked=self.checked, rates=self.rates)
        # Cut samples are shorter than a whole one is.
        lengths = [vote.tokens for vote in votes if vote.complete]
        return Standing(
            min(1.0, first), gain, sum(lengths) / len(lengths) if lengths else self.progress.tokens
        )

    def stop(self, votes: Sequence[Vote], remaining: int) -> str | None:
        if not going_on(votes, remaining):
            return None
        now = self.standing(votes)
        if now.gain > self.price * now.tokens:
            return None
        if now.leader >= SAFE:
            return f"the leader is safe: it is right with probability {now.leader:.2f}"
        worth = f"the next sample would gain {100 * now.gain:.2f} points for {now.tokens:.0f} tokens"
        if now.leader <= HOPELESS:
            return f"hopeless: after {len(votes)} samples none is likely to be right, and {worth}"
        return f"another round is not worth its price: {worth}"
