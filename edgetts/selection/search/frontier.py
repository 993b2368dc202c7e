"""The branches that a search may still continue, and the scores of all there were; knows no way of choosing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from edgetts.errors import InvalidInput
from edgetts.selection.search.tree import ROOT, Grow, Node

NEUTRAL = 0.5
"""The score of a first step that could not be scored."""


class Frontier:
    """Open nodes, and the moves on them. Every open node is grown, kept or given up in each move.

    So no branch is forgotten, and its memory is freed as soon as nobody wants it.
    """

    def __init__(self) -> None:
        self._open: set[int] = {ROOT}
        self.ended: dict[int, Node] = {}
        """Nodes after which nothing comes, in the order they came."""
        self.scores: dict[int, float] = {}
        """Of every node but the prompt. One that could not be scored, such as where the budget had no room
        to ask the model, has its parent's."""

    def take(self, nodes: Sequence[Node]) -> list[Node]:
        """Note what came of the last move, and return those of them that can be continued.

        Errors: InvalidInput for a score that is no probability.
        """
        for node in nodes:
            score = self.scores.get(node.parent, NEUTRAL) if node.score is None else node.score
            if not 0 <= score <= 1:
                raise InvalidInput(f"A scorer gave {score}, but a score is a probability from 0 to 1.")
            self.scores[node.id] = score
            if node.ended:
                self.ended[node.id] = node
            else:
                self._open.add(node.id)
        return [node for node in nodes if not node.ended]

    def grow(self, copies: Mapping[int, int], keep: Iterable[int] = ()) -> Grow:
        """Continue some open nodes, keep others for later, and give up the rest.

        Nodes with no copies are given up too. Errors: InvalidInput for a node that is not open.
        """
        grown = {node: n for node, n in copies.items() if n > 0}
        kept = set(keep) - grown.keys()
        unknown = (grown.keys() | kept) - self._open
        if unknown or not grown:
            raise InvalidInput(f"A search continues open nodes; {sorted(unknown) or 'none'} are not.")
        dropped = frozenset(self._open - grown.keys() - kept - {ROOT})
        self._open = kept
        return Grow(grown, dropped)
