"""The laws of the Search contract, for whoever writes a strategy, over a language model that can be enumerated.

One token is one step. Knows `edgetts.selection` and the toy model, and nothing of any runtime.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from edgetts.selection.aggregation.votes import Tally, Vote
from edgetts.selection.search.tree import ROOT, Draw, Grow, Move, Node, Search, Task
from edgetts.selection.strategies.strategy import Strategy
from edgetts.testing.fake import ToyModel

Tokens = tuple[int, ...]


def toy_score(tokens: Tokens) -> float:
    """Score a path by a number between 0.05 and 0.95 that only looks random."""
    return float(np.random.Generator(np.random.PCG64([7, len(tokens), *tokens])).uniform(0.05, 0.95))


def toy_answer(tokens: Tokens) -> str | None:
    """Find an answer in a path: whether its sum is even; none in an empty one."""
    return str(sum(tokens) % 2) if tokens else None


@dataclass(frozen=True, slots=True)
class ToyTask:
    """A question to a toy model: how long answers get, what each path scores, and what answer is in it."""

    model: ToyModel
    max_tokens: int = 4
    score: Callable[[Tokens], float | None] = toy_score
    answer: Callable[[Tokens], str | None] = toy_answer


class ToyTree:
    """Do what a search asks, to the letter, and refuse what the contract does not allow.

    samples: nodes that may be open at a time. seed: of the tokens drawn. Refuses with an AssertionError
    that names the law. A node's text has a letter for each token; an end token is none.
    """

    def __init__(self, toy: ToyTask, samples: int, seed: int = 0) -> None:
        self.toy, self.samples, self.seed = toy, samples, seed
        self.tokens: dict[int, Tokens] = {ROOT: ()}
        self.nodes: dict[int, Node] = {}
        self.open: set[int] = set()
        self.grown: list[int] = []
        """Every node that was grown, in order."""
        self._root_used = False

    def do(self, move: Move) -> list[Node]:
        """Do one move and return what the search sees of it."""
        if isinstance(move, Draw):
            _law(0 < move.total <= self.samples, "a search draws no more samples than the task has")
            return [self._sample() for _ in range(move.total - len(self.nodes))]
        return self._grow(move)

    def votes(self) -> list[Vote]:
        """Return the votes that an engine would have cast now: of what ended, or else of what is open."""
        chosen = [n for n in self.nodes.values() if n.ended] or [self.nodes[i] for i in sorted(self.open)]
        return [
            Vote(n.id, n.answer, n.logprob, n.tokens, n.complete, path=self.tokens[n.id], score=n.score)
            for n in chosen
        ]

    def _grow(self, move: Grow) -> list[Node]:
        _law(bool(move.copies), "a search that goes on grows a node at least")
        _law(all(n > 0 for n in move.copies.values()), "a node that is grown gets a child at least")
        _law(not set(move.copies) & move.drop, "no node is grown and given up in one move")
        can = self.open if self._root_used else self.open | {ROOT}
        for node in move.copies:
            _law(node in can, f"a node is grown once, and only while it is open, unlike {node}")
        _law(move.drop <= self.open, "only open nodes are given up")
        self.open -= move.drop | move.copies.keys()
        self._root_used = self._root_used or ROOT in move.copies
        _law(
            len(self.open) + sum(move.copies.values()) <= self.samples,
            f"no more than {self.samples} nodes are open at a time",
        )
        self.grown += move.copies
        return [self._child(parent) for parent, copies in move.copies.items() for _ in range(copies)]

    def _sample(self) -> Node:
        """Draw a whole sample: one node, as a search sees it."""
        tokens, logprob, ended, complete = self.tokens[ROOT], 0.0, False, False
        random = np.random.Generator(np.random.PCG64([self.seed, len(self.nodes)]))
        drawn = 0
        while not ended:
            tokens, step, ended, complete = self._step(tokens, random)
            logprob, drawn = logprob + step, drawn + 1
        return self._add(ROOT, tokens, logprob, drawn, ended, complete)

    def _child(self, parent: int) -> Node:
        random = np.random.Generator(np.random.PCG64([self.seed, len(self.nodes)]))
        tokens, logprob, ended, complete = self._step(self.tokens[parent], random)
        return self._add(parent, tokens, logprob, 1, ended, complete)

    def _step(self, tokens: Tokens, random: np.random.Generator) -> tuple[Tokens, float, bool, bool]:
        chances = np.asarray(self.toy.model.probabilities(tokens))
        token = int(np.searchsorted(np.cumsum(chances), random.random() * chances.sum(), side="right"))
        complete = token in self.toy.model.end_tokens
        longer = tokens if complete else (*tokens, token)
        ended = complete or len(longer) == self.toy.max_tokens
        return longer, math.log(chances[token]), ended, complete

    def _add(
        self, parent: int, tokens: Tokens, logprob: float, drawn: int, ended: bool, complete: bool
    ) -> Node:
        before = self.nodes.get(parent)
        text = "".join(chr(ord("a") + token) for token in tokens)
        node = Node(
            id=len(self.nodes),
            parent=parent,
            depth=before.depth + 1 if before else 1,
            text=text,
            tokens=drawn + (before.tokens if before else 0),
            logprob=logprob + (before.logprob if before else 0.0),
            step=text[len(before.text) if before else 0 :],
            step_tokens=drawn,
            step_logprob=logprob,
            ended=ended,
            complete=complete,
            score=self.toy.score(tokens),
            answer=self.toy.answer(tokens),
        )
        self.nodes[node.id], self.tokens[node.id] = node, tokens
        if not ended:
            self.open.add(node.id)
        return node


def run_search(search: Search, tree: ToyTree, *, moves: int = 1000) -> list[Move]:
    """Let a search go on until it is over, and return its moves. AssertionError after `moves` of them."""
    made: list[Move] = []
    nodes: list[Node] = []
    while (move := search.next(nodes)) is not None:
        made.append(move)
        _law(len(made) <= moves, f"a search ends within {moves} moves where answers do")
        nodes = tree.do(move)
    return made


def check_search(strategy: Strategy, samples: Iterable[int] = (1, 2, 3, 5, 8)) -> None:
    """Check a strategy by the laws of the contract, on toy models with and without ends and with gaps in the scores.

    Laws: it ends; it grows open nodes only, each once, and never more than the task's samples side by side;
    the same seed gives the same moves and choice; it can be asked to choose after any move, within a
    move too, whatever the order of votes, and goes on as if it had not been asked; it does without a score
    that could not be had. Raises AssertionError with the law that was broken.
    """
    ending = ToyModel.random(4, seed=1, end_tokens=frozenset({3}))
    certain = ToyModel(2, lambda _: (1.0, 0.0))
    for toy in (
        ToyTask(ending),
        ToyTask(ToyModel.random(3, seed=2), max_tokens=3),
        ToyTask(certain),
        ToyTask(ending, score=lambda _: 0.5),
        ToyTask(ending, score=lambda tokens: float(len(tokens) % 2)),
        ToyTask(ending, score=lambda tokens: toy_score(tokens) if sum(tokens) % 2 else None),
    ):
        for number in samples:
            for seed in (0, 3):
                _check_one(strategy, toy, Task(number, seed=seed))


def _check_one(strategy: Strategy, toy: ToyTask, task: Task) -> None:
    undisturbed = ToyTree(toy, task.samples, task.seed)
    search = strategy.start(task)
    moves = run_search(search, undisturbed)
    _law(bool(moves), "a search makes a move at least")
    chosen = _choice(search, undisturbed.votes())

    asked = ToyTree(toy, task.samples, task.seed)
    again = strategy.start(replace(task, question="Asked with other words?"))
    nodes: list[Node] = []
    for number, move in enumerate(moves):
        _law(
            again.next(nodes) == move, f"move {number} is the same with the same seed, asked to choose or not"
        )
        nodes = asked.do(move)
        # A cut within the move: the search was not told of its nodes yet.
        _choice(again, asked.votes())
    _law(again.next(nodes) is None, "it ends where it ended, with the same seed")
    _law(_choice(again, asked.votes()) == chosen, "the choice is the same with the same seed")
    _law(_choice(again, asked.votes()) == chosen, "to choose twice is to choose the same")


def _choice(search: Search, votes: list[Vote]) -> Tally:
    tally = search.choose(votes)
    _law(search.choose(votes[::-1]) == tally, "the order of votes does not matter")
    _law(tally.sample in {vote.sample for vote in votes}, "what is shown is one of the votes")
    counted = [vote.answer for vote in votes if vote.counts]
    _law((tally.answer is None) == (not counted), "there is an answer if a vote counts")
    _law(tally.answer is None or tally.answer in counted, "the answer is one that was voted for")
    total = math.fsum(tally.distribution.values())
    _law(not counted or abs(total - 1) < 1e-9, "the distribution sums to 1")
    _law(all(share >= 0 for share in tally.distribution.values()), "no answer has less than nothing")
    _law(tally.confidence is None or 0 <= tally.confidence <= 1, "a confidence is from 0 to 1")
    return tally


def _law(holds: bool, law: str) -> None:
    if not holds:
        raise AssertionError(f"The Search contract does not hold: {law}.")
