"""What a search sees of partial answers, and what it may ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from edgetts.selection.aggregation.votes import Tally, Vote
from edgetts.selection.stopping.effort import Effort
from edgetts.selection.stopping.rule import Pruning, StoppingRule
from edgetts.selection.verification.verifier import ErrorRates

ROOT = -1
"""The node that is the prompt alone. Others count from 0: a node's id is the index of its sample."""


@dataclass(frozen=True, slots=True)
class Node:
    """A partial answer: its parent's text and one step more. Log-probs are sums, in nats.

    `text`, `tokens`, `logprob` are of all of it, `step`, `step_tokens`, `step_logprob` of the last step alone.
    `ended`: nothing can follow, since the model ended it (`complete`) or it met its limit. `score`: the
    scorer's probability that it is on the way to a right answer; None without a scorer. `answer`: the
    canonical answer found in it so far. `log_weight`: of all of it, the log of what it must be weighed by to count as drawn
    without its constraint, given that this is kept; 0 where nothing constrains it.
    """

    id: int
    parent: int
    depth: int
    text: str
    tokens: int
    logprob: float
    step: str
    step_tokens: int
    step_logprob: float
    ended: bool
    complete: bool
    score: float | None = None
    answer: str | None = None
    log_weight: float = 0.0


@dataclass(frozen=True, slots=True)
class Grow:
    """Continue nodes by one step each: `copies` are node ids with how many children each gets.

    A node grown is used up; it cannot be grown again. Open nodes in `drop` are given up: their memory is freed.
    """

    copies: Mapping[int, int]
    drop: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Draw:
    """Have `total` whole samples in all, those there are included, or fewer where a rule or the budget ends it.

    stop: asked each time samples ended; whatever it says ends the search. prune: asked now and then which
    samples that are still running to give up.
    """

    total: int
    stop: StoppingRule | None = None
    prune: Pruning | None = None


Move = Grow | Draw


@dataclass(frozen=True, slots=True)
class Task:
    """What a search may know: the samples (leaves, particles, beams) it may have side by side, and its seed.

    rates: how often the verifier errs, where there is one that knows. rounds: samples in all at which it is cheap to look
    at the votes before going on, rising to `samples`; empty where none is cheaper than another. price: what a pass over one
    sample costs, as a share of what a right answer is worth; 0 where only the budget counts. effort: what more samples
    take, in such passes; None where nothing is known of the device.
    """

    samples: int
    seed: int = 0
    rates: ErrorRates | None = None
    question: str = field(default="", compare=False)
    rounds: tuple[int, ...] = ()
    price: float = 0.0
    effort: Effort | None = field(default=None, compare=False)


@runtime_checkable
class Search(Protocol):
    """One search, for one question. It may be ended at any time, and then `choose` is asked for the answer."""

    def next(self, nodes: Sequence[Node]) -> Move | None:
        """Return what to do now; None when the search is over.

        nodes: what came of the last move: the children of a Grow in the order of its copies; of a Draw,
        the samples that ended since the last call. Empty at first.
        """
        ...

    def choose(self, votes: Sequence[Vote]) -> Tally:
        """Choose among the nodes that ended; if none did, those that are open. `Vote.sample` is the node's id."""
        ...


@runtime_checkable
class Scorer(Protocol):
    """Say how likely it is that a partial answer leads to a right one."""

    @property
    def name(self) -> str: ...

    @property
    def judges(self) -> bool:
        """Whether it needs the model's own judgement of the text."""
        ...

    def score(self, node: Node, question: str, judgement: float | None) -> float:
        """Return a probability from 0 to 1. judgement: the model's own, where `judges`."""
        ...
