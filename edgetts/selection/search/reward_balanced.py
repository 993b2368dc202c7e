"""REBASE: share a width among the nodes of one depth by their scores."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgetts.errors import InvalidInput
from edgetts.selection.aggregation.votes import Tally, Vote
from edgetts.selection.search.ballot import weighted_vote
from edgetts.selection.search.frontier import Frontier
from edgetts.selection.search.tree import ROOT, Grow, Node, Task

SCORE_SHARE = "score-weighted vote (uncalibrated)"
"""What the confidence is: the winner's part of the scores of all ended answers."""


def balanced_widths(scores: Sequence[float], width: int, temperature: float) -> list[int]:
    """Share `width` children among nodes in proportion to softmax(score / temperature).

    They sum to `width`, and a higher score never gets fewer: from the best down, each gets its part of
    what is left, rounded up; of equals, the first comes first ("Inference Scaling Laws: An Empirical Analysis
    of Compute-Optimal Inference for LLM Problem-Solving").
    """
    if not scores or width < 0 or temperature <= 0:
        raise InvalidInput("A width is shared among at least one node, at a temperature above 0.")
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    best = scores[order[0]]
    weights = [math.exp((scores[i] - best) / temperature) for i in order]
    widths = [0] * len(scores)
    for at, i in enumerate(order):
        part = width * weights[at] / math.fsum(weights[at:]) if weights[at] else 0.0
        # What only rounding lifts above a whole number is that number.
        widths[i] = min(width, math.ceil(part - 1e-9))
        width -= widths[i]
    return widths


class RewardBalancedSearch:
    """Grow one depth after the other; every answer that ends takes one off the width."""

    def __init__(self, task: Task, *, temperature: float) -> None:
        self._width = task.samples
        self._temperature = temperature
        self._frontier = Frontier()
        self._begun = False

    def next(self, nodes: Sequence[Node]) -> Grow | None:
        open_nodes = self._frontier.take(nodes)
        if not self._begun:
            self._begun = True
            return self._frontier.grow({ROOT: self._width})
        left = self._width - len(self._frontier.ended)
        if left <= 0 or not open_nodes:
            return None
        widths = balanced_widths(
            [self._frontier.scores[node.id] for node in open_nodes], left, self._temperature
        )
        return self._frontier.grow({node.id: width for node, width in zip(open_nodes, widths, strict=True)})

    def choose(self, votes: Sequence[Vote]) -> Tally:
        """Vote, each answer weighing what its last score is."""
        return weighted_vote(votes, self._frontier.scores, SCORE_SHARE)
