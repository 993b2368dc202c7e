"""The protocol of stopping rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Running:
    """A sample under way: its token ids, and their log-probs in nats. text: what they spell so far, where that is known."""

    sample: int
    tokens: Sequence[int]
    logprobs: Sequence[float]
    text: str = ""


@runtime_checkable
class Pruning(Protocol):
    """Look at the samples under way, every few tokens."""

    @property
    def name(self) -> str: ...

    def prune(self, running: Sequence[Running], ended: Sequence[Running]) -> frozenset[int]:
        """Return the samples (by their index) that are not worth going on with. `ended` are those that ended."""
        ...
