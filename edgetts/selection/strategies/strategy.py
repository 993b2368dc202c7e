"""The protocol of strategies."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from edgetts.selection.need import Need
from edgetts.selection.search.scorers import Scorer
from edgetts.selection.search.splitter import StepSplitter
from edgetts.selection.search.tree import Search, Task


@runtime_checkable
class Strategy(Protocol):
    """Settings of a search, used for any number of questions and from any thread.

    Inherit from it for the defaults of all but `name` and `start`. A dataclass that has one of the others as a field
    gives it a default, since it takes the place of a property.
    """

    @property
    def name(self) -> str: ...

    @property
    def needs(self) -> frozenset[Need]:
        """What must be there: the engine refuses the strategy, and `auto` does not offer it, without."""
        return frozenset()

    @property
    def most(self) -> int | None:
        """Samples it can use at most; None is no limit."""
        return None

    @property
    def stops(self) -> str:
        """When it ends, in a few words that follow "stops "."""
        return "when its search ends"

    @property
    def apart(self) -> bool:
        """Whether every sample is an answer of its own, streamed as it is drawn; none is greedy before the others."""
        return False

    @property
    def scorer(self) -> Scorer | None:
        """What scores samples and steps; None where nothing does."""
        return None

    @property
    def splitter(self) -> StepSplitter | None:
        """Where steps end; None for a strategy that draws whole samples only."""
        return None

    def start(self, task: Task) -> Search:
        """Begin the search for one question's answer."""
        ...
