"""One sample, of the likeliest tokens."""

from __future__ import annotations

from dataclasses import dataclass

from edgetts.selection.aggregation import Majority
from edgetts.selection.search.tree import Task
from edgetts.selection.strategies.strategy import Strategy
from edgetts.selection.strategies.whole import WholeSamples


@dataclass(frozen=True, slots=True)
class Greedy(Strategy):
    """Draw one sample."""

    @property
    def name(self) -> str:
        return "greedy"

    @property
    def most(self) -> int | None:
        return 1

    @property
    def stops(self) -> str:
        return "when the model ends"

    def start(self, task: Task) -> WholeSamples:
        return WholeSamples(task, Majority())
