"""As many samples as a question is worth: draw in rounds, as large as pays, and stop when nothing more is worth its price."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from edgetts.errors import InvalidInput
from edgetts.selection.aggregation import Tally, Vote, WeightedBestOfN
from edgetts.selection.need import Need
from edgetts.selection.search.tree import Draw, Node, Task
from edgetts.selection.stopping.effort import ByToken
from edgetts.selection.stopping.evidence import EvidenceScore, asks_arithmetic
from edgetts.selection.stopping.progress import Progress
from edgetts.selection.stopping.progress_default import DEFAULT_PROGRESS
from edgetts.selection.stopping.rule import Pruning
from edgetts.selection.stopping.votes import going_on
from edgetts.selection.stopping.worth import More, Standing, WorthOfMore, reason
from edgetts.selection.stopping.wrong_step import WrongEquation
from edgetts.selection.strategies.strategy import Strategy
from edgetts.selection.verification.registry import ARITHMETIC_RATES

PRICE = 1e-4
"""What a pass over one sample costs where the task names no price: a right answer is worth 10,000 of them, a point 100."""
ROUNDS = (1, 2, 4, 8, 16)
"""Samples there may be after a round, where the task names none; beyond them the number doubles."""
By = Literal["effort", "tokens"]


@dataclass(frozen=True, slots=True)
class Adaptive(Strategy):
    """Draw in rounds as large as pays, and weigh votes by evidence; stop where nothing more is worth its price. Checked when made.

    price: of a pass over a sample that runs alone, as a share of what a right answer is worth; None is the task's, or `PRICE` where that
    names none. by: what is paid for; "effort" is the device's time, in which a pass over many is cheaper than many passes,
    "tokens" has every token cost the price. progress: what samples are like; the default was fitted on a 0.5B model's answers to gsm_symbolic, so that for another model or task
    it had better be fitted. check: end samples once an equation of theirs does not hold, where the question asks for arithmetic.
    Votes weigh what their texts' evidence says: arithmetic that is computed again, the question's numbers that it
    uses, log-probs, length; where a verifier's rates are known, its verdicts and log-probs instead.
    """

    price: float | None = None
    check: bool = True
    progress: Progress = DEFAULT_PROGRESS
    by: By = "effort"

    def __post_init__(self) -> None:
        if self.price is not None and not (math.isfinite(self.price) and self.price >= 0):
            raise InvalidInput(f"The price of a pass is {self.price}, but it must be zero or greater.")
        if self.by not in get_args(By):
            raise InvalidInput(
                f"Nothing is paid for by {self.by!r}.", hint=f"Choose one of: {', '.join(get_args(By))}."
            )

    @property
    def name(self) -> str:
        return "adaptive"

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"logprobs", "several"})

    @property
    def stops(self) -> str:
        return "when the leader is safe, the question hopeless, or nothing more is worth its price"

    @property
    def scorer(self) -> EvidenceScore:
        return EvidenceScore(self.progress.evidence)

    def start(self, task: Task) -> AdaptiveSearch:
        checked = asks_arithmetic(task.question)
        # Scores hold what the arithmetic verifier finds, and more.
        rates = None if task.rates == ARITHMETIC_RATES else task.rates
        price = (task.price or PRICE) if self.price is None else self.price
        effort = task.effort if self.by == "effort" else None
        rule = WorthOfMore(price, self.progress, effort or ByToken(self.progress.tokens), checked, rates)
        # What is cut can only be outvoted where there may be another.
        prune = WrongEquation() if self.check and checked and task.samples > 1 else None
        return AdaptiveSearch(rounds(task), rule, prune)


def rounds(task: Task) -> tuple[int, ...]:
    """Return how many samples there may be after a round, rising to the task's."""
    planned = [size for size in task.rounds or ROUNDS if 0 < size < task.samples]
    while not task.rounds and planned and 2 * planned[-1] < task.samples:
        planned.append(2 * planned[-1])
    return (*sorted(set(planned)), task.samples)


@dataclass(slots=True)
class AdaptiveSearch:
    """One question: rounds as large as is worth it, until whatever is to do is not."""

    rounds: tuple[int, ...]
    rule: WorthOfMore
    prune: Pruning | None = None
    _round: Round | None = None

    def next(self, nodes: Sequence[Node]) -> Draw | None:
        del nodes  # the round has seen their votes
        done, start = 0, None
        if self._round is not None:
            done, start = self._round.total, self._round.more.start
        if done == self.rounds[-1]:
            return None
        sizes = [total - done for total in self.rounds if total > done]
        if start is None:
            # Nobody has seen a vote: one sample has to be drawn, whatever its price.
            start = self.rule.more(Standing(0.0, 0.0, done), 0, 0, sizes).start or sizes[0]
        self._round = Round(self.rule, done, done + start, self.rounds)
        return Draw(self._round.total, self._round, self.prune)

    def choose(self, votes: Sequence[Vote]) -> Tally:
        return WeightedBestOfN()([replace(vote, score=self.rule.weight(vote)) for vote in votes])


@dataclass(slots=True)
class Round:
    """The samples from `before` to `total`, side by side: a stopping rule that remembers what is best to do next."""

    rule: WorthOfMore
    before: int
    total: int
    rounds: tuple[int, ...]
    more: More = field(default_factory=lambda: More(None))

    @property
    def name(self) -> str:
        return f"worth:{self.rule.price:g}"

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"several"})

    def stop(self, votes: Sequence[Vote], remaining: int) -> str | None:
        if not going_on(votes, remaining):
            return None
        now = self.rule.standing(votes)
        running = max(0, self.total - len(votes))
        sizes = () if running else [total - len(votes) for total in self.rounds if total > len(votes)]
        age = max((vote.tokens for vote in votes if vote.sample >= self.before), default=0)
        self.more = self.rule.more(now, running, age, sizes)
        return reason(now, self.more) if self.more.start is None else None
