"""Draw whole samples and choose among them: the search of every strategy that looks at nothing before its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgetts.selection.aggregation import Aggregator, Tally, Vote
from edgetts.selection.search.tree import Draw, Node, Task
from edgetts.selection.stopping.rule import Pruning, StoppingRule


@dataclass(slots=True)
class WholeSamples:
    """Draw `task.samples` samples, or fewer where `stop` says so, and choose by the aggregator."""

    task: Task
    aggregator: Aggregator
    stop: StoppingRule | None = None
    prune: Pruning | None = None
    _begun: bool = False

    def next(self, nodes: Sequence[Node]) -> Draw | None:
        del nodes
        if self._begun:
            return None
        self._begun = True
        return Draw(self.task.samples, self.stop, self.prune)

    def choose(self, votes: Sequence[Vote]) -> Tally:
        return self.aggregator(votes)
