"""The protocol of strategies."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from edgetts.selection.need import Need
from edgetts.selection.search.tree import Search, Task


@runtime_checkable
class Strategy(Protocol):
    """Settings of a search, used for any number of questions and from any thread."""

    @property
    def name(self) -> str: ...

    @property
    def needs(self) -> frozenset[Need]:
        """What must be there: the engine refuses the strategy, and `auto` does not offer it, without."""
        ...

    def start(self, task: Task) -> Search:
        """Begin the search for one question's answer."""
        ...
