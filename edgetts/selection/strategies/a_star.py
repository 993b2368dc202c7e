"""A*-decoding: settings of `BestFirstSearch`, which knows how."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgetts.errors import InvalidInput
from edgetts.selection.need import Need
from edgetts.selection.search.best_first import BestFirstSearch
from edgetts.selection.search.scorers import Scorer, SelfEvaluation
from edgetts.selection.search.splitter import StepSplitter
from edgetts.selection.search.tree import Task
from edgetts.selection.strategies.strategy import Strategy


@dataclass(frozen=True, slots=True)
class AStar(Strategy):
    """Expand the partial answer whose score has fallen least on its way. Checked when made.

    children: steps drawn for each node expanded. solutions: ended answers to find; with more than one they
    vote. expansions: moves at most, for where no budget ends it. Source: see `BestFirstSearch`.
    """

    children: int = 4
    solutions: int = 1
    expansions: int = 64
    scorer: Scorer = field(default_factory=SelfEvaluation)
    splitter: StepSplitter = field(default_factory=StepSplitter)

    def __post_init__(self) -> None:
        for name in ("children", "solutions", "expansions"):
            if getattr(self, name) < 1:
                raise InvalidInput(f"{name} is {getattr(self, name)}, but it must be greater than zero.")

    @property
    def name(self) -> str:
        return "a_star"

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"score", "fork", "several"})

    @property
    def stops(self) -> str:
        found = "an answer is" if self.solutions == 1 else f"{self.solutions} answers are"
        return f"when {found} better than every open path"

    def start(self, task: Task) -> BestFirstSearch:
        return BestFirstSearch(
            task, children=self.children, solutions=self.solutions, expansions=self.expansions
        )
