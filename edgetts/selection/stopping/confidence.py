"""Stop when the answer is sure enough, or hopeless; knows a signal and its calibration, not where they are from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgetts.errors import InvalidInput
from edgetts.selection.aggregation.majority import self_consistency
from edgetts.selection.aggregation.votes import Tally, Vote
from edgetts.selection.confidence.calibration import Calibration
from edgetts.selection.confidence.signals import Signal, signal
from edgetts.selection.need import Need
from edgetts.selection.stopping.settings import spell
from edgetts.selection.stopping.votes import going_on


@dataclass(frozen=True, slots=True)
class Confidence:
    """Stop when confidence reaches `threshold` after `minimum` samples, or is at most `floor` after `patience`.

    Confidence is what `calibration` makes of its signal; without one, the share of all samples that voted for
    the winner, which is no probability of being right. A calibration holds for the numbers of samples it was fitted
    on. A `floor` below 0 is never met. `choose` tallies the votes.
    """

    threshold: float = 0.8
    floor: float = -1.0
    patience: int = 8
    minimum: int = 3
    calibration: Calibration | None = None
    choose: Callable[[Sequence[Vote]], Tally] = self_consistency

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise InvalidInput(
                f"The confidence to stop at is {self.threshold}, but it must be above 0 and at most 1."
            )
        if not self.floor < self.threshold:
            raise InvalidInput(f"The confidence's floor, {self.floor}, must be below its threshold.")
        if self.patience < 1 or self.minimum < 1:
            raise InvalidInput("Confidence needs one sample at least, for its patience and its minimum.")

    @property
    def name(self) -> str:
        return spell("confidence", self)

    @property
    def needs(self) -> frozenset[Need]:
        return self._signal.needs | {"several"}

    def stop(self, votes: Sequence[Vote], remaining: int) -> str | None:
        if not going_on(votes, remaining):
            return None
        tally = self.choose(votes)
        value = self._signal(votes, tally)
        found = 0.0 if tally.answer is None else value
        if found is None:
            return None
        if value is not None and self.calibration is not None:
            found = self.calibration.apply(value)
        if found >= self.threshold and len(votes) >= self.minimum:
            return f"confidence {found:.2f} is enough"
        if found <= self.floor and len(votes) >= self.patience:
            return f"confidence {found:.2f} is hopeless"
        return None

    @property
    def _signal(self) -> Signal:
        return self.calibration.measure() if self.calibration is not None else signal("vote-share")
