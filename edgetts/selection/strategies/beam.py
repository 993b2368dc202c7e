"""Beam search guided by self-evaluation: settings of `StochasticBeam`, which knows how."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from edgetts.errors import InvalidInput
from edgetts.selection.need import Need
from edgetts.selection.search.scorers import Scorer, SelfEvaluation
from edgetts.selection.search.splitter import StepSplitter
from edgetts.selection.search.stochastic_beam import StochasticBeam
from edgetts.selection.search.tree import Task
from edgetts.selection.strategies.strategy import Strategy


@dataclass(frozen=True, slots=True)
class Beam(Strategy):
    """Keep some paths, by the model's own probability and the score of each step. Checked when made.

    children: steps drawn for each path; a task's samples are shared among them, so that samples / children
    paths are kept. lm_weight: from 0, the score alone, to 1, the model's probability alone. temperature:
    of drawing what is kept, 0 for the best; multiplied by `decay` each step. Source: see `StochasticBeam`.
    """

    children: int = 2
    lm_weight: float = 0.5
    temperature: float = 0.5
    decay: float = 0.5
    scorer: Scorer = field(default_factory=SelfEvaluation)
    splitter: StepSplitter = field(default_factory=StepSplitter)

    def __post_init__(self) -> None:
        def need(ok: bool, name: str, what: str) -> None:
            if not ok:
                raise InvalidInput(f"{name} is {getattr(self, name)}, but it must be {what}.")

        need(self.children > 0, "children", "greater than zero")
        need(0 <= self.lm_weight <= 1, "lm_weight", "from 0 to 1")
        need(math.isfinite(self.temperature) and self.temperature >= 0, "temperature", "zero or greater")
        need(0 < self.decay <= 1, "decay", "greater than 0 and at most 1")

    @property
    def name(self) -> str:
        return "beam"

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"score", "logprobs", "fork", "several"})

    @property
    def stops(self) -> str:
        return "when every path that is kept has ended"

    def start(self, task: Task) -> StochasticBeam:
        return StochasticBeam(
            task,
            children=self.children,
            lm_weight=self.lm_weight,
            temperature=self.temperature,
            decay=self.decay,
        )
