"""Samples that have nothing to do with each other."""

from __future__ import annotations

from dataclasses import dataclass

from edgetts.selection.aggregation import Majority
from edgetts.selection.search.tree import Task
from edgetts.selection.strategies.strategy import Strategy
from edgetts.selection.strategies.whole import WholeSamples


@dataclass(frozen=True, slots=True)
class Independent(Strategy):
    """Draw every sample there is room for, each an answer of its own; the one shown is as a plain vote has it."""

    @property
    def name(self) -> str:
        return "independent"

    @property
    def apart(self) -> bool:
        return True

    @property
    def stops(self) -> str:
        return "when all samples are there"

    def start(self, task: Task) -> WholeSamples:
        return WholeSamples(task, Majority())
