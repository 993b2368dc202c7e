"""What drawing more samples takes, in passes over a sample that runs alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Effort(Protocol):
    """What it takes to go on, in passes over a sample that runs alone: a device's passes over several are cheaper than as many."""

    def of(self, running: int, age: int, fresh: int) -> float:
        """Return what ending samples takes: those `running` side by side, of `age` tokens each, and `fresh` ones beside them."""
        ...


@dataclass(frozen=True, slots=True)
class ByToken:
    """Where only tokens count, or nothing is known of the device: every token is as dear, in a wide pass too.

    tokens: of a sample, on average. How far a running one has come is not asked, since long ones get longer yet.
    """

    tokens: float

    def of(self, running: int, age: int, fresh: int) -> float:
        del age
        return (running + fresh) * self.tokens
