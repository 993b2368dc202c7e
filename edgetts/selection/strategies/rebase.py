"""REBASE: settings of `RewardBalancedSearch`, which knows how."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from edgetts.errors import InvalidInput
from edgetts.selection.need import Need
from edgetts.selection.search.reward_balanced import RewardBalancedSearch
from edgetts.selection.search.scorers import Scorer, SelfEvaluation
from edgetts.selection.search.splitter import StepSplitter
from edgetts.selection.search.tree import Task
from edgetts.selection.strategies.strategy import Strategy


@dataclass(frozen=True, slots=True)
class Rebase(Strategy):
    """Share the samples among the partial answers of each depth by their scores. Checked when made.

    temperature: of the softmax of scores; low gives nearly all to the best, high shares alike. 0.2 is the
    published configuration's. Source: see `balanced_widths`.
    """

    temperature: float = 0.2
    scorer: Scorer = field(default_factory=SelfEvaluation)
    splitter: StepSplitter = field(default_factory=StepSplitter)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise InvalidInput(f"temperature is {self.temperature}, but it must be greater than zero.")

    @property
    def name(self) -> str:
        return "rebase"

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"score", "fork", "several"})

    @property
    def stops(self) -> str:
        return "when as many answers have ended as there are samples"

    def start(self, task: Task) -> RewardBalancedSearch:
        return RewardBalancedSearch(task, temperature=self.temperature)
