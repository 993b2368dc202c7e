"""The protocol of stopping rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from edgetts.selection.aggregation.votes import Vote
from edgetts.selection.need import Need


@runtime_checkable
class StoppingRule(Protocol):
    """Look at the votes there are, each time some samples ended."""

    @property
    def name(self) -> str: ...

    @property
    def needs(self) -> frozenset[Need]: ...

    def stop(self, votes: Sequence[Vote], remaining: int) -> str | None:
        """Return why no more samples are worth waiting for, in a few words; None to go on.

        remaining: samples that may still come, those running included; 0 is no reason to stop.
        """
        ...
