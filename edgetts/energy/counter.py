"""The protocol of counters: what a device counts, whoever spends it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol


class Unavailable(Exception):
    """There is no such counter here; says why, and what to do."""


class CannotTell(Exception):
    """What was spent since the last look cannot be told; says why. The next look begins anew."""


@dataclass(frozen=True, slots=True)
class Count:
    """Joules counted so far, from a start that means nothing; each of the first three never falls.

    low, high: the same with what is charged too much left out, and with what is missed. edge: joules by which the
    beginning and the end of any stretch may be wrong, since a counter moves in steps.
    """

    joules: float
    low: float
    high: float
    edge: float = 0.0


class Counter(Protocol):
    """Count the joules of the device, or of a part of it."""

    @property
    def name(self) -> str: ...

    @property
    def source(self) -> str:
        """What is read, in words."""
        ...

    @property
    def provenance(self) -> Literal["measured", "modelled"]: ...

    def read(self) -> Count:
        """Return the count; CannotTell where it means nothing beside the last one. Takes less than a millisecond."""
        ...


class Total:
    """Add up stretches of which each has bounds of its own."""

    def __init__(self) -> None:
        self._joules = self._low = self._high = 0.0

    def add(self, low: float, joules: float, high: float) -> None:
        self._joules += joules
        self._low += low
        self._high += high

    def count(self, edge: float = 0.0) -> Count:
        return Count(self._joules, self._low, self._high, edge)
