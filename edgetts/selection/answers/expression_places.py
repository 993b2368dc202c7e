"""Where an expression stands in a text; knows no algebra."""

from __future__ import annotations

import re
from collections.abc import Iterator

from edgetts.selection.answers.algebra import canonical_expression
from edgetts.selection.answers.found import Extracted, Page
from edgetts.selection.answers.number_places import last_number
from edgetts.selection.answers.spelling import MAX_ANSWER_CHARS
from edgetts.selection.answers.statements import boxed, stated

_INLINE = re.compile(r"\$([^$\n]{1,500})\$|\\\(([^\n]{1,500}?)\\\)|\\\[(.{1,500}?)\\\]", re.DOTALL)
_TRIES = 8
"""Spellings that may be tried before a text is given up."""


def find_expression(page: Page) -> Extracted | None:
    """The last expression stated, else the last one typeset as mathematics, else the last line, else a number.

    Errors: MissingExtra where sympy is not installed.
    """
    spans = sorted((*boxed(page), *stated(page)), reverse=True)
    for start, end in spans[:_TRIES]:
        for begin in _beginnings(page, start, end):
            if found := _read(page, begin, end, explicit=True):
                return found
    typeset = [
        match for match in _INLINE.finditer(page.text) if page.complete or match.end() < len(page.text)
    ]
    for match in reversed(typeset[-_TRIES:]):
        if found := _read(page, *match.span(match.lastindex or 0), explicit=False):
            return found
    if page.complete:
        end = len(page.text.rstrip())
        line = page.text.rfind("\n", 0, end) + 1
        for begin in _beginnings(page, line, end):
            if re.fullmatch(r"\W*[A-Za-z]{2,}\W*", page.text[begin:end]):
                continue  # "so", not s times o
            if found := _read(page, begin, end, explicit=False):
                return found
    return last_number(page, 0)


def _beginnings(page: Page, start: int, end: int) -> Iterator[int]:
    """Where an expression may begin in a sentence: at its start, after its last colon, after its last "is"."""
    yield start
    for mark in (": ", " is ", "="):
        at = page.text.rfind(mark, start, end)
        if at >= 0:
            yield at + len(mark)


def _read(page: Page, start: int, end: int, *, explicit: bool) -> Extracted | None:
    raw = page.text[start:end]
    form = canonical_expression(raw) if 0 < len(raw) <= MAX_ANSWER_CHARS else None
    return Extracted(form, raw, "expression", (start, end), explicit) if form else None
