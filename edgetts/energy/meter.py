"""The protocol of energy meters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Energy:
    """Joules spent since a meter was started, with bounds for what it may have missed or charged too much.

    source: what was read, such as "rapl" or "laptop-x86's watts by processor time". provenance: "measured" where a
    counter or a battery was read, else "modelled". shared: it is a share of what was counted while others were under way too.
    """

    joules: float
    low: float
    high: float
    source: str
    provenance: Literal["measured", "modelled"]
    shared: bool = False

    @property
    def stated(self) -> str:
        """Where the figure comes from, in words."""
        return f"{self.provenance}: {self.source}"


@runtime_checkable
class EnergyMeter(Protocol):
    """Count the joules of one answer. Each answer has a meter of its own; a meter is used by one thread.

    An answer is under way from `start` until its meter is let go.
    """

    @property
    def name(self) -> str: ...

    def start(self) -> None:
        """Count from now."""
        ...

    def read(self) -> Energy | None:
        """Return what was spent since `start`; None where it cannot be told (suspended, unplugged, refused)."""
        ...


MeterFactory = Callable[[], EnergyMeter | None]
"""Make the meter of one answer; None where there is nothing to count with."""
