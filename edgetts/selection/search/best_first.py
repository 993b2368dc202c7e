"""A*-decoding: expand the partial answer whose path gives least reason for doubt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgetts.selection.aggregation.votes import Tally, Vote
from edgetts.selection.search.ballot import weighted_vote
from edgetts.selection.search.frontier import Frontier
from edgetts.selection.search.reward_balanced import SCORE_SHARE
from edgetts.selection.search.tree import ROOT, Grow, Node, Task


@dataclass(frozen=True, slots=True)
class Ranked:
    """A node with its estimated cost f and its heuristic h, from 0 to 1."""

    node: Node
    f: float
    h: float

    @property
    def rank(self) -> tuple[float, float, int, int]:
        """Lowest first: the least cost, then the highest score, then the deepest, then the first."""
        return self.f, self.h, -self.node.depth, self.node.id


class BestFirstSearch:
    """Expand the open node of lowest f = g + h; over when an ended one is the lowest.

    h = 1 - score. A step from s to s' costs max(0, h(s) - h(s')), the least cost of steps, zero or more, for which h
    is consistent: h(s) <= cost + h(s'). So f(s') = f(s) + max(0, h(s') - h(s)): a path's cost is what
    its score has ever lost, and no node's f is below its parent's, by which the first ended node to
    become the lowest is the best there is among what was drawn ("A*-Decoding: Token-Efficient Inference
    Scaling"; the paper was not at hand: h is as a review of it has it, the cost of a step is derived).

    At most `samples` nodes are open; the worst make room. It is over after `solutions` ended nodes were the
    lowest, after `expansions` moves, or with the last open node.
    """

    def __init__(self, task: Task, *, children: int, solutions: int, expansions: int) -> None:
        self._samples = task.samples
        self._children = min(children, task.samples)
        self._solutions, self._left = solutions, expansions
        self._frontier = Frontier()
        self._begun = False
        self._waiting: list[Ranked] = []
        self._cost: dict[int, tuple[float, float]] = {ROOT: (0.0, 0.0)}
        self.solved: list[Node] = []
        """Ended nodes that were the lowest, best first."""

    def next(self, nodes: Sequence[Node]) -> Grow | None:
        self._frontier.take(nodes)
        for node in nodes:
            before, h_before = self._cost[node.parent]
            h = 1 - self._frontier.scores[node.id]
            # The prompt has no score, and so cannot have lost any: the first step is measured against 1.
            f = before + max(0.0, h - h_before)
            self._cost[node.id] = (f, h)
            self._waiting.append(Ranked(node, f, h))
        if not self._begun:
            self._begun = True
            return self._frontier.grow({ROOT: self._children})
        self._waiting.sort(key=lambda ranked: ranked.rank)
        while self._waiting and self._waiting[0].node.ended and len(self.solved) < self._solutions:
            self.solved.append(self._waiting.pop(0).node)
        candidates = [ranked for ranked in self._waiting if not ranked.node.ended]
        self._left -= 1
        if len(self.solved) >= self._solutions or not candidates or self._left <= 0:
            return None
        best, kept = candidates[0].node.id, candidates[1 : 1 + self._samples - self._children]
        keep = {ranked.node.id for ranked in kept}
        self._waiting = [r for r in self._waiting if r.node.ended or r.node.id in keep]
        return self._frontier.grow({best: self._children}, keep)

    def choose(self, votes: Sequence[Vote]) -> Tally:
        """Vote by score, among the solutions where there are some, else among all."""
        weights = dict(self._frontier.scores)
        if self.solved:
            solved = {node.id for node in self.solved}
            weights = {node: score if node in solved else 0.0 for node, score in weights.items()}
            weights |= {vote.sample: 0.0 for vote in votes if vote.sample not in weights}
        return weighted_vote(votes, weights, SCORE_SHARE)
