r"""Find the final answer in a text, whole or cut short; knows nothing of how likely the text was.

Explicit statements (\boxed{...}, "the answer is ...", "#### ...") come before guesses such as the last
number, and the last explicit statement wins: a model that corrects itself does so at the end.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, get_args

from edgetts.errors import InvalidInput
from edgetts.selection.answers.canonical import (
    GROUPED_INTEGER,
    MAX_NUMBER_CHARS,
    SUPERSCRIPT,
    VULGAR_FRACTION,
    AnswerKind,
    canonical,
    canonical_number,
    canonical_text,
)
from edgetts.selection.answers.patterns import REGEX_CHARS, compile_pattern

FormatName = Literal["auto", "number", "choice", "boxed", "regex", "text", "none"]

SEARCHED_CHARS = 16_384
"""Answers are looked for in this many last characters of a text, so that no input takes long."""
STATEMENT_CHARS = 300
"""How far after "the answer is" its answer may stand."""
SHORT_ANSWER_WORDS = 8
"""A text of one line and at most this many words is taken for an answer as it is."""


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """What the answer looks like: one of `FormatName`; `pattern` belongs to "regex" alone.

    auto: whatever is stated explicitly; else the last number of the last line; else a short text as a
    whole; else nothing. number: the last one stated, else the last anywhere. choice: A to E. boxed:
    LaTeX \\boxed only. text: all of it. none: never an answer.
    """

    name: FormatName = "auto"
    pattern: str = ""

    def __post_init__(self) -> None:
        if self.name not in get_args(FormatName):
            near = difflib.get_close_matches(str(self.name).casefold(), get_args(FormatName), n=1)
            known = "Known are: auto, number, choice, boxed, regex:PATTERN, text, none."
            raise InvalidInput(
                f"There is no answer format {self.name!r}.",
                hint=f"Did you mean {near[0]!r}?" if near else known,
            )
        if self.name == "regex":
            compile_pattern(self.pattern)
        elif self.pattern:
            raise InvalidInput(
                f"The answer format {self.name!r} takes no pattern.", hint="Use 'regex:PATTERN'."
            )

    @classmethod
    def parse(cls, value: str) -> AnswerFormat:
        """Read "auto", "number", ..., or "regex:PATTERN" with a Python regular expression."""
        name, colon, pattern = value.partition(":")
        if name == "regex" and not colon:
            raise InvalidInput(
                "The answer format 'regex' has no pattern.", hint=r"For example: 'regex:Total: (\d+)'."
            )
        return cls(name.strip(), pattern)  # type: ignore[arg-type]  # checked when made

    def __str__(self) -> str:
        return f"regex:{self.pattern}" if self.name == "regex" else self.name


@dataclass(frozen=True, slots=True)
class Extracted:
    """An answer found in a text; equal to another where the canonical forms are equal.

    `span` is where `raw` stands in the text, in characters. `explicit` says that the text states it as
    its answer; otherwise it is a guess.
    """

    canonical: str
    raw: str = field(compare=False)
    kind: AnswerKind = field(compare=False)
    span: tuple[int, int] = field(compare=False)
    explicit: bool = field(compare=False, default=True)


def extract(text: str, format: AnswerFormat | str = "auto", *, complete: bool = True) -> Extracted | None:  # noqa: A002  # the word users know
    """Find the final answer of a text; None where there is none to find.

    complete=False says that the text was cut: then a statement that runs into the cut is not believed
    ("the answer is 12" may have become 125), and a closed \\boxed or an earlier statement counts.
    Free text ("text") is compared in normalised spelling only; clustering by meaning is another step.
    Errors: InvalidInput for an unknown format or a regular expression that cannot be used.
    """
    if isinstance(format, str):
        format = AnswerFormat.parse(format)  # noqa: A001
    if format.name == "none":
        return None
    if format.name == "text":
        return _whole(text, explicit=complete)
    if format.name == "regex":
        return _by_pattern(text, compile_pattern(format.pattern), complete)
    start = max(0, len(text) - SEARCHED_CHARS)
    search = _Search(text[start:], complete)
    found = {
        "auto": search.auto,
        "number": search.number,
        "choice": search.choice,
        "boxed": search.boxed_only,
    }[format.name]()
    if found is None:
        return None
    first, last = found.span
    return Extracted(found.canonical, found.raw, found.kind, (first + start, last + start), found.explicit)


_SIGN = r"[+\-\u2212\u2013]"
_CURRENCY = r"(?:\\?\$|[€£¥₹])"
_DECIMAL = rf"(?:(?:{GROUPED_INTEGER}|\d+)(?:\.\d+)?|\.\d+)"
_LATEX_FRACTION = r"\\[dtc]?frac\s?\{[^{}]{1,60}\}\s?\{[^{}]{1,60}\}"
_POWER_OF_TEN = rf"\s?(?:\u00d7|\\times|\\cdot|\*|x)\s?10(?:\^\{{?\s?{_SIGN}?\d+\}}?|{SUPERSCRIPT})"
_NUMBER = re.compile(
    rf"""
    (?<![A-Za-z\d_.])(?<!\d:)
    (?:(?<![\w)}}\]]){_SIGN})?{_CURRENCY}?(?:(?<=[$€£¥₹]){_SIGN})?
    (?:
      (?:\d+\s?)?{_LATEX_FRACTION}
      | \d*{VULGAR_FRACTION}
      | (?:\d+[ ])?\d+/\d+(?![\d.,/])
      | {_DECIMAL}(?:[eE][+\-]?\d+(?!\w)|{_POWER_OF_TEN}|\s?/\s?{_DECIMAL}(?![\d/]))?
    )
    (?!\d|:\d|(?:st|nd|rd|th)\b)
    (?:\s?\\?%|\s(?:thousand|million|billion|trillion)\b)?
    """,
    re.VERBOSE,
)
_CUE = re.compile(
    r"(?i)\b(?:answer|(?:correct|right|best)\s(?:option|choice))\b"
    r"[^\n.:=]{0,60}?(?:\bis\b|\bare\b|\bbe\b|:|=|(?<=\*)[ \t]*\n)|(?m:^[ \t]*\#{4}(?!\#))"
)
_LEAD = re.compile(
    r"(?:[\s*_`:~≈]|\\[(\[]|\\approx|\$(?!\d)"
    r"|(?i:given as|equal to|about|approximately|around|exactly|option|choice|therefore)\b)*"
)
_SENTENCE_END = re.compile(r"\n|[.!?](?=[\s*_`\"')]|\\[)\]]|$)|\\\]|;")
_STATED_CHOICE = re.compile(
    r"\(([A-Ea-e])\)|([A-E])(?=[).:,*\s]*(?:\n|$)|[).:,]\s|\*\*|\s(?:because|since|as|for|-|\())"
)
_LOOSE_CHOICE = re.compile(
    r"(?m)(?<!\w)\(([A-Ea-e])\)|\b(?i:option|choice)\s+([A-Ea-e])\b|^[ \t]*([A-E])[).:](?=\s|$)"
)
_BARE_CHOICE = re.compile(r"\A\W*([A-Ea-e])\W*\Z")
_BOXED = re.compile(r"\\f?boxed\s?\{")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_OPERATOR = re.compile(r"\s?(?:[+*\u00d7\u00f7^/]|-\s|\\times|\\div|\\cdot|,\s?\d)")
_LIST_MARKER = re.compile(r"[.)]\s+\S")


class _Search:
    """One bounded text, and the ways of looking for an answer in it."""

    def __init__(self, text: str, complete: bool) -> None:
        self.text = text
        self.complete = complete

    def auto(self) -> Extracted | None:
        stated = [*self._boxed(), *self._statements()]
        valued = [s for s in stated if s.kind != "text"]
        if stated:
            return _last(valued or stated)
        body = self.text.rstrip()
        last_line = body.rfind("\n") + 1
        if guess := self._last_number(last_line):
            return guess
        if last_line == 0 and len(body.split()) <= SHORT_ANSWER_WORDS and "\\boxed" not in body:
            return self._found(0, len(body), explicit=False)
        return None

    def number(self) -> Extracted | None:
        stated = [s for s in (*self._boxed(), *self._statements()) if s.kind == "number"]
        return _last(stated) or self._last_number(0)

    def choice(self) -> Extracted | None:
        stated = [s for s in (*self._boxed(), *self._statements()) if s.kind == "choice"]
        if stated:
            return _last(stated)
        loose = list(_LOOSE_CHOICE.finditer(self.text)) or list(_BARE_CHOICE.finditer(self.text))
        if not loose:
            return None
        letter = next(group for group in loose[-1].groups() if group)
        return Extracted(letter.upper(), loose[-1][0], "choice", loose[-1].span(), False)

    def boxed_only(self) -> Extracted | None:
        return _last(list(self._boxed()))

    def _boxed(self) -> Iterator[Extracted]:
        r"""Every closed \boxed{...}, nested braces included, in one pass over the braces."""
        if "boxed" not in self.text:
            return
        closing: dict[int, int] = {}
        open_braces: list[int] = []
        for brace in _BRACE.finditer(self.text):
            if brace[0] == "{":
                open_braces.append(brace.start())
            elif brace[0] == "}" and open_braces:
                closing[open_braces.pop()] = brace.start()
        for box in _BOXED.finditer(self.text):
            end = closing.get(box.end() - 1)
            if (
                end is not None
                and end - box.end() <= MAX_NUMBER_CHARS
                and (found := self._found(box.end(), end))
            ):
                yield found

    def _statements(self) -> Iterator[Extracted]:
        """Every "the answer is ..." and "#### ..." with something after it."""
        for cue in _CUE.finditer(self.text):
            if found := self._stated_after(cue.end()):
                yield found

    def _stated_after(self, start: int) -> Extracted | None:
        start = _LEAD.match(self.text, start).end()  # type: ignore[union-attr]  # it matches nothing, too
        limit = min(len(self.text), start + STATEMENT_CHARS)
        boundary = _SENTENCE_END.search(self.text, start, limit)
        end = boundary.start() if boundary else limit
        runs_into_cut = end == len(self.text) or (
            boundary and boundary[0] == "." and end + 1 == len(self.text)
        )
        statement = self.text[start:end]
        if "\\boxed" in statement or not statement.strip() or re.match(r"(?i)not\b", statement):
            return None  # a box speaks for itself, and what the answer is not tells nothing
        if runs_into_cut and not self.complete:
            return None
        if choice := _STATED_CHOICE.match(self.text, start, limit):
            return Extracted((choice[1] or choice[2]).upper(), choice[0], "choice", choice.span())
        after_equals = start + statement.rfind("=") + 1
        after_is = start + statement.rfind(" is ") + len(" is ") if " is " in statement else start
        for at in (after_equals, after_is):
            if found := self._number_at(at, end):
                return found
        return self._found(start, end) if len(statement.split()) <= SHORT_ANSWER_WORDS else None

    def _number_at(self, start: int, end: int) -> Extracted | None:
        """The number that a statement opens with, unless it opens an expression such as 3 + 11."""
        start = _LEAD.match(self.text, start, end).end()  # type: ignore[union-attr]  # as above
        match = _NUMBER.match(self.text, start, end)
        if not match or _OPERATOR.match(self.text, match.end(), end):
            return None
        return self._as_number(match, explicit=True)

    def _last_number(self, start: int) -> Extracted | None:
        """The last number, passing over the marker of a numbered list."""
        for match in reversed(list(_NUMBER.finditer(self.text, start))):
            line_start = self.text.rfind("\n", 0, match.start()) + 1
            opens_line = not self.text[line_start : match.start()].strip(" \t*#>-")
            if opens_line and _LIST_MARKER.match(self.text, match.end()):
                continue
            if found := self._as_number(match, explicit=False):
                return found
        return None

    def _as_number(self, match: re.Match[str], *, explicit: bool) -> Extracted | None:
        name = canonical_number(match[0])
        return Extracted(name, match[0], "number", match.span(), explicit) if name else None

    def _found(self, start: int, end: int, *, explicit: bool = True) -> Extracted | None:
        raw = self.text[start:end]
        known = canonical(raw)
        return Extracted(known[1], raw, known[0], (start, end), explicit) if known else None


def _last(found: list[Extracted]) -> Extracted | None:
    return max(found, key=lambda answer: answer.span, default=None)


def _whole(text: str, *, explicit: bool) -> Extracted | None:
    name = canonical_text(text)
    return Extracted(name, text, "text", (0, len(text)), explicit) if name else None


def _by_pattern(text: str, pattern: re.Pattern[str], complete: bool) -> Extracted | None:
    """The last match's first group, or the match where the pattern has no group."""
    group = 1 if pattern.groups else 0
    for match in reversed(list(pattern.finditer(text, max(0, len(text) - REGEX_CHARS)))):
        if match[group] and (complete or match.end(group) < len(text)) and (known := canonical(match[group])):
            return Extracted(known[1], match[group], known[0], match.span(group))
    return None
