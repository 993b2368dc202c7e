"""As many samples as a question is worth: draw in rounds, and stop when the next sample is not worth its tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgetts.errors import InvalidInput
from edgetts.selection.aggregation import Tally, Vote, WeightedBestOfN
from edgetts.selection.need import Need
from edgetts.selection.search.tree import Draw, Node, Task
from edgetts.selection.stopping.evidence import EvidenceScore, asks_arithmetic
from edgetts.selection.stopping.progress import Progress
from edgetts.selection.stopping.progress_default import DEFAULT_PROGRESS
from edgetts.selection.stopping.rule import Pruning
from edgetts.selection.stopping.worth import WorthOfNext
from edgetts.selection.stopping.wrong_step import WrongEquation
from edgetts.selection.strategies.strategy import Strategy
from edgetts.selection.verification.registry import ARITHMETIC_RATES

PRICE = 1e-4
"""What a token costs where the task names no price: a right answer is worth 10,000 of them, a percentage point 100.

On the samples that the default progress was fitted on, this spends 0.45 of the tokens of a majority of 8 for its accuracy.
"""
ROUNDS = (1, 2, 4, 8, 16)
"""Samples in all after each round, where the task names none; beyond them the number doubles."""


@dataclass(frozen=True, slots=True)
class Adaptive(Strategy):
    """Draw in rounds and weigh votes by evidence; stop where the next sample is not worth its price. Checked when made.

    price: of a token, as a share of what a right answer is worth; None is the task's, or `PRICE` where that names none. progress: what samples are
    like; the default was fitted on a 0.5B model's answers to gsm_symbolic, so that for another model or task
    it had better be fitted. check: end samples once an equation of theirs does not hold, where the question asks for arithmetic.
    Votes weigh what their texts' evidence says: arithmetic that is computed again, the question's numbers that it
    uses, log-probs, length; where a verifier's rates are known, its verdicts and log-probs instead.
    """

    price: float | None = None
    check: bool = True
    progress: Progress = DEFAULT_PROGRESS

    def __post_init__(self) -> None:
        if self.price is not None and not (math.isfinite(self.price) and self.price >= 0):
            raise InvalidInput(f"The price of a token is {self.price}, but it must be zero or greater.")

    @property
    def name(self) -> str:
        return "adaptive"

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"logprobs", "several"})

    @property
    def stops(self) -> str:
        return "when the leader is safe, the question hopeless, or the next sample not worth its price"

    @property
    def scorer(self) -> EvidenceScore:
        return EvidenceScore(self.progress.evidence)

    def start(self, task: Task) -> AdaptiveSearch:
        checked = asks_arithmetic(task.question)
        # Scores hold what the arithmetic verifier finds, and more.
        rates = None if task.rates == ARITHMETIC_RATES else task.rates
        price = (task.price or PRICE) if self.price is None else self.price
        rule = WorthOfNext(price, self.progress, checked, rates)
        return AdaptiveSearch(rounds(task), rule, WrongEquation() if self.check and checked else None)


def rounds(task: Task) -> tuple[int, ...]:
    """Return how many samples there are after each round, rising to the task's."""
    planned = [size for size in task.rounds or ROUNDS if 0 < size < task.samples]
    while not task.rounds and planned and 2 * planned[-1] < task.samples:
        planned.append(2 * planned[-1])
    return (*sorted(set(planned)), task.samples)


@dataclass(slots=True)
class AdaptiveSearch:
    """One question: rounds until the rule, which is asked whenever a sample ends, says that it is enough."""

    rounds: tuple[int, ...]
    rule: WorthOfNext
    prune: Pruning | None = None
    _round: int = 0

    def next(self, nodes: Sequence[Node]) -> Draw | None:
        del nodes  # the rule has seen their votes
        if self._round == len(self.rounds):
            return None
        self._round += 1
        return Draw(self.rounds[self._round - 1], self.rule, self.prune)

    def choose(self, votes: Sequence[Vote]) -> Tally:
        return WeightedBestOfN()([replace(vote, score=self.rule.weight(vote)) for vote in votes])
