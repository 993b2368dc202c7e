"""Draw whole samples and choose among them: the search of every strategy that looks at nothing before its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgetts.selection.aggregation import Aggregator, Auto, Tally, Vote
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
        if "score" not in self.aggregator.needs:
            return self.aggregator(votes)
        # A verdict is a score where there is no other; what the budget had no room to judge has none.
        judged = [
            replace(vote, score=float(vote.passed))
            if vote.score is None and vote.passed is not None
            else vote
            for vote in votes
        ]
        judged = [vote for vote in judged if vote.score is not None]
        return self.aggregator(judged) if any(vote.counts for vote in judged) else Auto()(votes)
