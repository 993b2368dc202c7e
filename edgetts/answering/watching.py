"""What may be told of an answer while it is computed, such as to write a trace of its decisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from edgetts.control.cost.work import LengthLaw
from edgetts.profiles.curves import StepTimes
from edgetts.profiles.device import PowerDraw
from edgetts.selection.aggregation import Tally, Vote
from edgetts.selection.need import Need
from edgetts.selection.search.tree import Draw, Move, Node, Search
from edgetts.selection.stopping.rule import Pruning, Running, StoppingRule
from edgetts.types import Answer, Sample

if TYPE_CHECKING:
    from edgetts.answering.question import Question


@dataclass(frozen=True, slots=True)
class Known:
    """What a controller decides by, beside its budget and its clock: the curve, the watts, and how long samples get.

    share: of the processor that a pass keeps busy. power, lengths: None where nothing is known.
    """

    times: StepTimes
    power: PowerDraw | None = None
    share: float = 1.0
    lengths: LengthLaw | None = None


class Watcher(Protocol):
    """Told what happens, in order. Times are readings of the answer's clock. It fails at nothing, and takes no time."""

    def begin(self, question: Question) -> None:
        """The plan is made; nothing was computed yet."""
        ...

    def prompt_read(self, at: float) -> None: ...

    def moved(self, total: int | None) -> None:
        """The search wants `total` whole samples in all; None where it grows partial ones."""
        ...

    def decided(self, votes: int, said: str) -> None:
        """The stopping rule says that so many votes are enough."""
        ...

    def pruned(self, samples: Sequence[int]) -> None:
        """The pruning rule gives samples up."""
        ...

    def passed(self, width: int, began: float, ended: float, drawn: int) -> None:
        """A pass over `width` tokens drew `drawn`, those that end a sample included."""
        ...

    def taken(self, at: float, joules: float | None, closing: int, widest: int) -> None:
        """What a pass, or the beginning of samples, brought was taken. joules: spent by then, None where unknown.

        closing: passes in which running samples can now be made to state their answers; 0 is never. widest: tokens that the
        next pass may run.
        """
        ...

    def sample_ended(self, sample: Sample, vote: Vote, draws: int, *, concluded: bool, scoring: int) -> None:
        """draws: tokens drawn for it, those that a stop string took back and the one that ended it included.

        concluded: it was made to state its answer, and came to its end. scoring: tokens read so far to have texts judged.
        """
        ...

    def end(self, at: float, answer: Answer, votes: Sequence[Vote]) -> None: ...


class WatchedSearch:
    """A search of which a watcher is told the moves."""

    def __init__(self, search: Search, watcher: Watcher) -> None:
        self._search = search
        self._watcher = watcher

    def next(self, nodes: Sequence[Node]) -> Move | None:
        move = self._search.next(nodes)
        if isinstance(move, Draw):
            self._watcher.moved(move.total)
            return replace(
                move,
                stop=None if move.stop is None else _WatchedRule(move.stop, self._watcher),
                prune=None if move.prune is None else _WatchedPruning(move.prune, self._watcher),
            )
        if move is not None:
            self._watcher.moved(None)
        return move

    def choose(self, votes: Sequence[Vote]) -> Tally:
        return self._search.choose(votes)


class _WatchedRule:
    """A stopping rule of which a watcher is told when it stops."""

    def __init__(self, rule: StoppingRule, watcher: Watcher) -> None:
        self._rule = rule
        self._watcher = watcher

    @property
    def name(self) -> str:
        return self._rule.name

    @property
    def needs(self) -> frozenset[Need]:
        return self._rule.needs

    def stop(self, votes: Sequence[Vote], remaining: int) -> str | None:
        said = self._rule.stop(votes, remaining)
        if said is not None:
            self._watcher.decided(len(votes), said)
        return said


class _WatchedPruning:
    """A pruning rule of which a watcher is told what it gives up."""

    def __init__(self, rule: Pruning, watcher: Watcher) -> None:
        self._rule = rule
        self._watcher = watcher

    @property
    def name(self) -> str:
        return self._rule.name

    def prune(self, running: Sequence[Running], ended: Sequence[Running]) -> frozenset[int]:
        found = self._rule.prune(running, ended)
        if found:
            self._watcher.pruned(sorted(found))
        return found
