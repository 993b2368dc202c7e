"""Stop when votes agree, or when they have shown that they will not; knows agreement alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgetts.errors import InvalidInput
from edgetts.selection.aggregation.votes import Vote
from edgetts.selection.confidence.signals import certaindex
from edgetts.selection.need import Need
from edgetts.selection.stopping.settings import spell
from edgetts.selection.stopping.votes import going_on


@dataclass(frozen=True, slots=True)
class Certaindex:
    """Stop when certaindex reaches `threshold` after `minimum` samples, or is at most `floor` after `patience`.

    A `floor` below 0 is never met, so that only agreement stops. Source: "Efficiently Serving LLM Reasoning Programs with
    Certaindex", which gives computation where it still helps and ends both the certain and the hopeless.
    """

    threshold: float = 0.9
    floor: float = -1.0
    patience: int = 8
    minimum: int = 3

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise InvalidInput(
                f"Certaindex's threshold is {self.threshold}, but it must be above 0 and at most 1."
            )
        if not self.floor < self.threshold:
            raise InvalidInput(f"Certaindex's floor, {self.floor}, must be below its threshold.")
        if self.patience < 2 or self.minimum < 2:
            raise InvalidInput("Certaindex needs two samples at least, for its patience and its minimum.")

    @property
    def name(self) -> str:
        return spell("certaindex", self)

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"several"})

    def stop(self, votes: Sequence[Vote], remaining: int) -> str | None:
        found = certaindex(votes)
        if found is None or not going_on(votes, remaining):
            return None
        if found >= self.threshold and len(votes) >= self.minimum:
            return f"certaindex {found:.2f}: the samples agree"
        if found <= self.floor and len(votes) >= self.patience:
            return f"certaindex {found:.2f}: the samples do not come to agree"
        return None
