"""What an answer found in a text is; knows nothing of how answers are looked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

AnswerKind = Literal["number", "choice", "yes-no", "set", "expression", "json", "code", "text"]


@dataclass(frozen=True, slots=True)
class Extracted:
    """An answer found in a text; equal to another where the canonical forms are equal.

    `span` is where `raw` stands in the text, in characters. `explicit` says that the text states it as
    its answer; otherwise it is a guess. `unit` names the unit of a number, where the text gives one that
    is known ("km"); it is no part of the canonical form, and `classes` says when it parts two answers.
    """

    canonical: str
    raw: str = field(compare=False)
    kind: AnswerKind = field(compare=False)
    span: tuple[int, int] = field(compare=False)
    explicit: bool = field(compare=False, default=True)
    unit: str = field(compare=False, default="")


@dataclass(frozen=True, slots=True)
class Page:
    """The part of a text that is searched; complete=False says that its end was cut off."""

    text: str
    complete: bool = True
