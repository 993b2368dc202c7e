"""The protocol of verifiers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from edgetts.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Work:
    """What is verified: a text that answers a question, whole, or `complete` false for the part there is.

    `answer` is the canonical answer found in it, None where there is none.
    """

    question: str
    text: str
    answer: str | None = None
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verifier found. `passed` is None where it cannot tell, such as for a text without arithmetic.

    `reason` says in a few words why; `share` is the part of the checks that passed, 0 to 1, None without checks.
    """

    passed: bool | None
    reason: str = ""
    share: float | None = None


@dataclass(frozen=True, slots=True)
class ErrorRates:
    """How often a verifier passes what is right, and what is wrong.

    `source` says where that is from: "exact", "declared", or "measured on N texts".
    """

    passes_right: float
    passes_wrong: float
    source: str = "declared"

    def __post_init__(self) -> None:
        for name in ("passes_right", "passes_wrong"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidInput(f"{name} is {getattr(self, name)}, but it must be from 0 to 1.")


EXACT = ErrorRates(1.0, 0.0, "exact: what passes is what was asked for")
"""Of a pattern, a schema, tests or a function that the user gives: they say what is right."""


@runtime_checkable
class Verifier(Protocol):
    """Check texts. Deterministic; usable from several threads."""

    @property
    def name(self) -> str: ...

    @property
    def rates(self) -> ErrorRates | None:
        """None where they are not known: then passing is evidence, but of unknown strength."""
        ...

    def verify(self, work: Work) -> Verdict:
        """Judge a text. What the text itself does wrong is a verdict, never an exception."""
        ...
