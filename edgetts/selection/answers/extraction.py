r"""Find the final answer in a text, whole or cut short; knows nothing of how likely the text was.

Explicit statements (\boxed{...}, "the answer is ...", "#### ...") come before guesses such as the last
number, and the last explicit statement wins: a model that corrects itself does so at the end.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from edgetts.selection.answers.canonical import canonical
from edgetts.selection.answers.choices import choice_opening, find_choice
from edgetts.selection.answers.code_blocks import find_code, main_block
from edgetts.selection.answers.expression_places import find_expression
from edgetts.selection.answers.format import AnswerFormat
from edgetts.selection.answers.found import Extracted, Page
from edgetts.selection.answers.json_values import find_json, json_document
from edgetts.selection.answers.number_places import find_number, last_number, number_stated
from edgetts.selection.answers.numbers import read_number
from edgetts.selection.answers.patterns import REGEX_CHARS, compile_pattern
from edgetts.selection.answers.sets import find_set
from edgetts.selection.answers.spelling import canonical_text
from edgetts.selection.answers.statements import boxed, stated
from edgetts.selection.answers.yes_no import find_yes_no, yes_no_opening

SEARCHED_CHARS = 16_384
"""Answers are looked for in this many last characters of a text, so that no input takes long."""
SHORT_ANSWER_WORDS = 8
"""A text of one line and at most this many words is taken for an answer as it is."""


def extract(text: str, format: AnswerFormat | str = "auto", *, complete: bool = True) -> Extracted | None:  # noqa: A002  # the word users know
    """Find the final answer of a text; None where there is none to find.

    complete=False says that the text was cut: then a statement that runs into the cut is not believed
    ("the answer is 12" may have become 125), and a closed \\boxed or an earlier statement counts.
    Which answers are the same is for `classes` to say: equal canonical forms are, others can be.
    Errors: InvalidInput for an unknown format or a regular expression that cannot be used; MissingExtra
    for the format "expression" without sympy.
    """
    if isinstance(format, str):
        format = AnswerFormat.parse(format)  # noqa: A001
    if format.name == "none":
        return None
    if format.name == "text":
        name = canonical_text(text)
        return Extracted(name, text, "text", (0, len(text)), complete) if name else None
    if format.name == "regex":
        return _by_pattern(text, compile_pattern(format.option), complete)
    start = max(0, len(text) - SEARCHED_CHARS)
    found = _FINDERS[format.name](Page(text[start:], complete), format)
    return found and replace(found, span=(found.span[0] + start, found.span[1] + start))


def _auto(page: Page) -> Extracted | None:
    found = [one for start, end in boxed(page) if (one := _whole(page, start, end))]
    found += [one for start, end in stated(page) if (one := _statement(page, start, end))]
    if found:
        return _last([one for one in found if one.kind != "text"] or found)
    if document := page.complete and json_document(page):
        return document
    body = page.text.rstrip()
    last_line = body.rfind("\n") + 1
    if guess := last_number(page, last_line):
        return guess
    if block := main_block(page):
        return replace(block, explicit=False)
    if last_line == 0 and len(body.split()) <= SHORT_ANSWER_WORDS and "\\boxed" not in body:
        return _whole(page, 0, len(body), explicit=False)
    return None


def _statement(page: Page, start: int, end: int) -> Extracted | None:
    """What a statement says: it opens with a choice or a yes or no, or gives a number, or is short."""
    return (
        choice_opening(page, start)
        or yes_no_opening(page, start, end)
        or number_stated(page, start, end)
        or (_whole(page, start, end) if len(page.text[start:end].split()) <= SHORT_ANSWER_WORDS else None)
    )


def _boxed_only(page: Page) -> Extracted | None:
    return _last([one for start, end in boxed(page) if (one := _whole(page, start, end))])


def _whole(page: Page, start: int, end: int, *, explicit: bool = True) -> Extracted | None:
    return read_whole(page.text[start:end], (start, end), explicit=explicit)


def read_whole(raw: str, span: tuple[int, int], *, explicit: bool = True) -> Extracted | None:
    """Read a spelling of an unknown kind as one answer that stands at a place."""
    known = canonical(raw)
    if known is None:
        return None
    number = read_number(raw) if known[0] == "number" else None
    return Extracted(known[1], raw, known[0], span, explicit, number.unit if number else "")


def _last(found: list[Extracted]) -> Extracted | None:
    return max(found, key=lambda answer: answer.span, default=None)


def _by_pattern(text: str, pattern: re.Pattern[str], complete: bool) -> Extracted | None:
    """The last match's first group, or the match where the pattern has no group."""
    group = 1 if pattern.groups else 0
    for match in reversed(list(pattern.finditer(text, max(0, len(text) - REGEX_CHARS)))):
        whole = match[group] and (complete or match.end(group) < len(text))
        if whole and (found := read_whole(match[group], match.span(group))):
            return found
    return None


_FINDERS: dict[str, Callable[[Page, AnswerFormat], Extracted | None]] = {
    "auto": lambda page, _: _auto(page),
    "number": lambda page, form: find_number(page, form.option),
    "choice": lambda page, form: find_choice(page, form.letters),
    "yes-no": lambda page, _: find_yes_no(page),
    "set": lambda page, _: find_set(page),
    "expression": lambda page, _: find_expression(page),
    "json": lambda page, _: find_json(page),
    "code": lambda page, form: find_code(page, form.option),
    "boxed": lambda page, _: _boxed_only(page),
}
"""How each format looks for its answer. A text's format finds whatever it is given, above."""
