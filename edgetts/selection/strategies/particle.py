"""Particle filtering: settings of `ParticleFilter`, which knows how."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import get_args

from edgetts.errors import InvalidInput
from edgetts.selection.need import Need
from edgetts.selection.search.particle import ParticleFilter, Potential
from edgetts.selection.search.scorers import Scorer, SelfEvaluation
from edgetts.selection.search.splitter import StepSplitter
from edgetts.selection.search.tree import Task
from edgetts.selection.strategies.strategy import Strategy


@dataclass(frozen=True, slots=True)
class Particle(Strategy):
    """Let partial answers take steps, and draw anew which ones go on, by their scores. Checked when made.

    resample_below: draw anew where the effective sample size is below this share of the particles; 1 is at
    every step, as in the paper, 0 never. potential: what a score does to a weight. successors: steps tried for
    each particle in a round, of which more than 1 is a look-ahead; a task's samples are shared among them.
    annealing: keep more particles alive in the first half of `horizon` rounds, where few have all the weight.
    Sources: see `ParticleFilter`.
    """

    resample_below: float = 0.5
    potential: Potential = "odds"
    successors: int = 1
    annealing: bool = False
    horizon: int = 16
    scorer: Scorer = field(default_factory=SelfEvaluation)
    splitter: StepSplitter = field(default_factory=StepSplitter)

    def __post_init__(self) -> None:
        if not 0 <= self.resample_below <= 1:
            raise InvalidInput(f"resample_below is {self.resample_below}, but it must be from 0 to 1.")
        if self.potential not in get_args(Potential):
            raise InvalidInput(
                f"There is no potential {self.potential!r}.",
                hint=f"Choose one of: {', '.join(get_args(Potential))}.",
            )
        for name in ("successors", "horizon"):
            if getattr(self, name) < 1:
                raise InvalidInput(f"{name} is {getattr(self, name)}, but it must be greater than zero.")

    @property
    def name(self) -> str:
        return "particle"

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"score", "fork", "several"})

    @property
    def stops(self) -> str:
        return "when every particle has ended"

    def start(self, task: Task) -> ParticleFilter:
        return ParticleFilter(
            task,
            resample_below=self.resample_below,
            potential=self.potential,
            successors=self.successors,
            annealing=self.annealing,
            horizon=self.horizon,
        )
