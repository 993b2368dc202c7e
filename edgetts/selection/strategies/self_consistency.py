"""Several samples that vote."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgetts.selection.aggregation import Aggregator, Majority
from edgetts.selection.need import Need
from edgetts.selection.search.scorers import Scorer
from edgetts.selection.search.tree import Task
from edgetts.selection.stopping.rule import Pruning, StoppingRule
from edgetts.selection.stopping.votes import VoteDecided
from edgetts.selection.strategies.strategy import Strategy
from edgetts.selection.strategies.whole import WholeSamples


@dataclass(frozen=True, slots=True)
class SelfConsistency(Strategy):
    """Let samples vote, and stop when `stop` says that more would not help.

    prune: which samples to give up under way. scorer: for aggregators that weigh scores.
    Source: "Self-Consistency Improves Chain of Thought Reasoning in Language Models".
    """

    aggregator: Aggregator = field(default_factory=Majority)
    stop: StoppingRule | None = field(default_factory=VoteDecided)
    prune: Pruning | None = None
    scorer: Scorer | None = None

    @property
    def name(self) -> str:
        return "self_consistency"

    @property
    def needs(self) -> frozenset[Need]:
        return self.aggregator.needs | (frozenset() if self.stop is None else self.stop.needs)

    @property
    def stops(self) -> str:
        return "when all samples are there" if self.stop is None else f"by the rule {self.stop.name}"

    def start(self, task: Task) -> WholeSamples:
        return WholeSamples(task, self.aggregator, self.stop, self.prune)
