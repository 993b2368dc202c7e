"""Draw as many samples more as are worth their price; knows votes, what samples are like, and one price for all questions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgetts.errors import InvalidInput
from edgetts.selection.aggregation.votes import Vote
from edgetts.selection.stopping.effort import Effort
from edgetts.selection.stopping.progress import Progress, judged
from edgetts.selection.verification.verifier import ErrorRates

SAFE = 0.5
"""A leader that is more likely right than wrong is called safe where it is not worth going on."""
HOPELESS = 0.1
"""One that is this unlikely is called hopeless."""


@dataclass(frozen=True, slots=True)
class Standing:
    """leader: how likely it is right, from 0 to 1. lead: its weight beyond the runner-up's. samples: that have ended."""

    leader: float
    lead: float
    samples: int


@dataclass(frozen=True, slots=True)
class More:
    """What to do next. start: samples to begin; None where nothing is worth its price, not even what runs. gain: in
    probability of being right, and effort, of the best there is to do.
    """

    start: int | None
    gain: float = 0.0
    effort: float = 0.0


@dataclass(frozen=True, slots=True)
class WorthOfMore:
    """Weigh what more samples are expected to gain against what they take.

    price: of a pass over a sample that runs alone, as a share of what a right answer is worth. checked: the question asks
    for arithmetic, so that scores tell more. rates: of the verifier whose verdicts votes bring; None takes a vote's
    score, or where it has none its log-prob. The leader is the answer whose samples' probabilities sum to most.
    """

    price: float
    progress: Progress
    effort: Effort
    checked: bool = False
    rates: ErrorRates | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.price) and self.price >= 0):
            raise InvalidInput(f"The price of a pass is {self.price}, but it must be zero or greater.")

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
        return Standing(min(1.0, first), lead, len(votes))

    def more(self, now: Standing, running: int, age: int, sizes: Sequence[int]) -> More:
        """Return what is best: to begin one of `sizes` samples, to wait for those running, or to stop.

        running: samples under way, which are of `age` tokens each. How many samples to have side by side is chosen by what the best of
        them is expected to bring. Where one alone would overturn nothing, some that agree still may: then those
        running are waited for, or the fewest begun.
        """
        best = More(None)
        waiting = (0,) if running else ()
        for start in (*waiting, *sizes):
            gain, effort = self._best_of(now, running + start), self.effort.of(running, age, start)
            if best.start is None or gain - self.price * effort > best.gain - self.price * best.effort:
                best = More(start, gain, effort)
        if best.start is None or best.gain > self.price * best.effort:
            return best
        for start in (*waiting, *sizes):
            gain, effort = self._sum_of(now, running + start), self.effort.of(running, age, start)
            if gain > self.price * effort:
                return More(0 if running else min(sizes), gain, effort)
        return More(None, best.gain, best.effort)

    def _best_of(self, now: Standing, more: int) -> float:
        return self.progress.best_of(now.lead, now.samples, more, checked=self.checked, rates=self.rates)

    def _sum_of(self, now: Standing, more: int) -> float:
        return self.progress.sum_of(now.lead, now.samples, more, checked=self.checked, rates=self.rates)


def reason(now: Standing, best: More) -> str:
    """Say in words why nothing more is worth its price."""
    if now.leader >= SAFE:
        return f"the leader is safe: it is right with probability {now.leader:.2f}"
    worth = f"more would gain {100 * best.gain:.2f} points for {best.effort:.0f} passes"
    if now.leader <= HOPELESS:
        return f"hopeless: after {now.samples} samples none is likely to be right, and {worth}"
    return f"another round is not worth its price: {worth}"
