"""What a task is: problems with a way to grade answers. Knows no model and no budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Problem:
    """One question. `reference` is the right answer where it can be written down, else None.

    `system` and `answer_format` (see `AnswerFormat.parse`) are what the task recommends.
    """

    id: str
    index: int
    question: str
    reference: str | None
    system: str | None = None
    answer_format: str = "auto"


@dataclass(frozen=True, slots=True)
class Attempt:
    """What is graded: the canonical `answer` that was found, how the `text` spells it, and the text.

    `complete` false says that the text was cut.
    """

    answer: str | None
    raw: str | None
    text: str
    complete: bool = True


@runtime_checkable
class Task(Protocol):
    """Problems and their grader. Deterministic: the same name and seed are the same problems."""

    @property
    def name(self) -> str: ...

    @property
    def seed(self) -> int | None:
        """What the problems were generated from; None where they are fixed."""
        ...

    def problems(self) -> Sequence[Problem]: ...

    def grade(self, problem: Problem, attempt: Attempt) -> float:
        """Score an attempt from 0 to 1; 1 alone is right. What a text does wrong is a 0, not an exception."""
        ...
