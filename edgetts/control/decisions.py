"""What was decided while an answer was computed, one decision at a time; knows no text."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

DecisionKind = Literal["plan", "start", "cut", "revise", "conclude", "stop"]
"""start: samples begin. cut: samples are given up. revise: the plan changes. conclude: samples that run are made to
state their answer. stop: nothing more is computed."""


@dataclass(frozen=True, slots=True)
class Decision:
    """at: seconds since the question came. tokens: of the budget, spent by then. samples: the ones concerned.

    joules: spent by then, None where nobody knows. count: samples started.
    """

    kind: DecisionKind
    at: float
    tokens: int
    reason: str
    samples: tuple[int, ...] = ()
    count: int = 0
    joules: float | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
