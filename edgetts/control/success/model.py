"""The protocol of success models: how likely the answer of a way of computing is right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from edgetts.interval import Interval

Approach = Literal["reason", "direct"]
"""reason: the model writes its way to the answer. direct: it is asked for the answer alone."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A way of computing one answer, as far as success depends on it. temperature: of the samples but the first, greedy one.

    cap: tokens a sample may have. aggregator: by name. verified: by a verifier's name, "" without one.
    """

    samples: int
    cap: int
    approach: Approach = "reason"
    temperature: float = 0.7
    aggregator: str = "majority"
    verified: str = ""


@runtime_checkable
class SuccessModel(Protocol):
    """What is known of one model at one kind of task."""

    @property
    def task(self) -> str: ...

    @property
    def provenance(self) -> str:
        """In words: "measured on 100 questions of gsm_symbolic, 2026-11-28", "a prior: nothing was measured"."""
        ...

    def predict(self, attempt: Attempt) -> Interval | None:
        """Return P(right); None where nothing at all is known of such an attempt."""
        ...
