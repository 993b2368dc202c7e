"""What an answer looks like, as a person declares it; knows nothing of how it is found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from edgetts.errors import InvalidInput, MissingExtra
from edgetts.near_miss import near_miss
from edgetts.selection.answers.algebra import has_algebra
from edgetts.selection.answers.choices import DEFAULT_LETTERS, check_letters
from edgetts.selection.answers.code_blocks import check_language
from edgetts.selection.answers.patterns import compile_pattern
from edgetts.selection.answers.units import unit_named

FormatName = Literal[
    "auto",
    "number",
    "choice",
    "yes-no",
    "set",
    "expression",
    "json",
    "code",
    "boxed",
    "regex",
    "text",
    "none",
]
_KNOWN = (
    "Known are: auto, number[:UNIT], choice[:A-J], yes-no, set, expression, json, code[:LANGUAGE], boxed, "
    "regex:PATTERN, text, none."
)


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """What the answer looks like: one of `FormatName`, with an `option` where that takes one.

    auto: whatever is stated explicitly; else a JSON document; else the last number of the last line;
    else a fenced block that is most of the text; else a short text as a whole; else nothing.
    number: the last one stated, else the last anywhere; its option is the unit it is wanted in ("km",
    "%", "ratio"). choice: A to E, or the range of its option ("A-J", "1-4"). yes-no: true counts as yes.
    set: elements in any order. expression: mathematics, compared by sympy (extra "math"). json: the
    last value. code: the last fenced block; its option is the language. boxed: LaTeX \\boxed only.
    regex: what its option, a Python regular expression, matches last. text: all of it. none: never an answer.
    Errors: InvalidInput for a name or option that is none; MissingExtra for "expression" without sympy.
    """

    name: FormatName = "auto"
    option: str = ""

    def __post_init__(self) -> None:
        if self.name not in get_args(FormatName):
            raise InvalidInput(
                f"There is no answer format {self.name!r}.",
                hint=near_miss(self.name, get_args(FormatName), _KNOWN),
            )
        if self.name == "regex":
            compile_pattern(self.option)
        elif self.option and self.name not in _CHECKS:
            raise InvalidInput(
                f"The answer format {self.name!r} takes no pattern or other option.",
                hint="For a regular expression use 'regex:PATTERN'.",
            )
        elif self.option:
            _CHECKS[self.name](self.option)
        if self.name == "expression" and not has_algebra():
            raise MissingExtra("sympy", "math")

    @classmethod
    def parse(cls, value: str) -> AnswerFormat:
        """Read "auto", "number", "choice:A-J", "code:python", ..., or "regex:PATTERN"."""
        name, colon, option = value.partition(":")
        if name == "regex" and not colon:
            raise InvalidInput(
                "The answer format 'regex' has no pattern.", hint=r"For example: 'regex:Total: (\d+)'."
            )
        if name != "regex":
            name, option = name.strip(), option.strip()
        if colon and not option and name in _CHECKS:
            raise InvalidInput(
                f"The answer format {name!r} has a colon and no option.", hint=f"Write {name!r} alone."
            )
        return cls(name, option)  # type: ignore[arg-type]  # checked when made

    def __str__(self) -> str:
        return f"{self.name}:{self.option}" if self.option else self.name

    @property
    def letters(self) -> str:
        """The range of a choice."""
        return self.option if self.name == "choice" and self.option else DEFAULT_LETTERS


def _check_unit(name: str) -> None:
    if unit_named(name) is None:
        raise InvalidInput(
            f"{name!r} is no unit that is known.", hint="For example: number:km, number:%, number:$."
        )


_CHECKS = {"number": _check_unit, "choice": check_letters, "code": check_language}
