"""What a trace says in place of a device and a search: when passes ended, what was wanted, and what was given up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgetts.replay.recorded import Pass
from edgetts.replay.trace import AnswerTrace
from edgetts.selection.aggregation import Majority, Tally, Vote
from edgetts.selection.need import Need
from edgetts.selection.search.tree import Draw, Move, Node
from edgetts.selection.stopping.rule import Running


class Diverged(Exception):  # the tree of errors is for people
    """The replay does what was not recorded."""


class TracedWorld:
    """A clock that goes by the recorded passes, and a meter that says what was read then."""

    def __init__(self, trace: AnswerTrace) -> None:
        self.now = trace.began
        self.scoring = 0
        self.closing = 0
        self.widest = 0
        self._trace = trace
        self._at = 0
        self._under_way = False
        self._joules: float | None = None

    def clock(self) -> float:
        return self.now

    def joules(self) -> float | None:
        return self._joules

    def step(self, width: int, held: int, most: int) -> Pass:  # noqa: ARG002  # the protocol's
        if self._at == len(self._trace.passes):
            raise Diverged("it goes on where the answer ended")
        one = self._trace.passes[self._at]
        if one.width == 0 or (width > 1 and one.drawn != width):
            raise Diverged(f"it runs {width} samples where the answer ran {one.drawn}")
        self.now, self._under_way = one.ended, True
        draws = max(1, one.drawn if width == 1 else 1)
        return Pass(one.width, one.ended - one.began, min(draws, most))

    def closed(self, index: int) -> None:
        self.scoring = max(self.scoring, self._trace.scoring.get(index, 0))

    def taken(self) -> None:
        if self._at == len(self._trace.passes):
            raise Diverged("it goes on where the answer ended")
        one = self._trace.passes[self._at]
        if not self._under_way and one.width:
            raise Diverged("it begins samples where the answer ran a pass")
        self.now, self._under_way = one.taken, False
        self._joules, self.closing, self.widest = one.joules, one.closing, one.widest
        self._at += 1


class Again:
    """The moves of a search that was recorded, with the moments at which its rules stopped or gave up."""

    def __init__(self, trace: AnswerTrace) -> None:
        self._trace = trace
        self._at = 0

    def next(self, nodes: Sequence[Node]) -> Move | None:  # noqa: ARG002  # the protocol's
        if self._at == len(self._trace.moves):
            return None
        total = self._trace.moves[self._at] or 0
        self._at += 1
        decided, pruned = self._trace.decided, self._trace.pruned
        return Draw(
            total,
            None if decided is None else _Decided(*decided),
            _Pruned({i: self._trace.samples[i].draws for i in pruned if i < len(self._trace.samples)})
            if pruned
            else None,
        )

    def choose(self, votes: Sequence[Vote]) -> Tally:
        return Majority()(votes)


@dataclass(frozen=True, slots=True)
class _Decided:
    """Stop at the vote at which it stopped."""

    votes: int
    said: str
    name: str = "as recorded"

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset()

    def stop(self, votes: Sequence[Vote], remaining: int) -> str | None:  # noqa: ARG002  # the protocol's
        return self.said if len(votes) >= self.votes else None


@dataclass(frozen=True, slots=True)
class _Pruned:
    """Give samples up where they were given up. draws: tokens they had drawn by then."""

    draws: dict[int, int]
    name: str = "as recorded"

    def prune(self, running: Sequence[Running], ended: Sequence[Running]) -> frozenset[int]:  # noqa: ARG002
        return frozenset(
            one.sample for one in running if len(one.tokens) >= self.draws.get(one.sample, 1 << 62)
        )
