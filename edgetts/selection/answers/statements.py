r"""Where a text states its answer (\boxed{...}, "the answer is ...", "#### ..."); knows no kinds of answers."""

from __future__ import annotations

import re
from collections.abc import Iterator

from edgetts.selection.answers.found import Page
from edgetts.selection.answers.spelling import MAX_ANSWER_CHARS

STATEMENT_CHARS = 300
"""How far after "the answer is" its answer may stand."""

_CUE = re.compile(
    r"(?i)\b(?:answer|(?:correct|right|best)\s(?:option|choice))\b"
    r"[^\n.:=]{0,60}?(?:\bis\b|\bare\b|\bbe\b|:|=|(?<=\*)[ \t]*\n)|(?m:^[ \t]*\#{4}(?!\#))"
)
_LEAD = re.compile(
    r"(?:[\s*_`:~≈]|\\[(\[]|\\approx|\$(?!\d)"
    r"|(?i:given as|equal to|about|approximately|around|exactly|option|choice|therefore)\b)*"
)
_SENTENCE_END = re.compile(r"\n|[.!?](?=[\s*_`\"')]|\\[)\]]|$)|\\\]|;")
_BOXED = re.compile(r"\\f?boxed\s?\{")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)


def boxed(page: Page) -> Iterator[tuple[int, int]]:
    r"""Yield the span inside every closed \boxed{...}, nested braces included, in one pass over the braces."""
    if "boxed" not in page.text:
        return
    closing: dict[int, int] = {}
    open_braces: list[int] = []
    for brace in _BRACE.finditer(page.text):
        if brace[0] == "{":
            open_braces.append(brace.start())
        elif brace[0] == "}" and open_braces:
            closing[open_braces.pop()] = brace.start()
    for box in _BOXED.finditer(page.text):
        end = closing.get(box.end() - 1)
        if end is not None and end - box.end() <= MAX_ANSWER_CHARS:
            yield box.end(), end


def stated(page: Page) -> Iterator[tuple[int, int]]:
    """Yield the span of what every "the answer is ..." and "#### ..." says, to the end of its sentence.

    One that runs into the end of a text that was cut is left out, and so is one that says what the
    answer is not, or that holds a box, which speaks for itself.
    """
    for cue in _CUE.finditer(page.text):
        start = past_lead(page, cue.end())
        limit = min(len(page.text), start + STATEMENT_CHARS)
        boundary = _SENTENCE_END.search(page.text, start, limit)
        end = boundary.start() if boundary else limit
        last_dot = boundary is not None and boundary[0] == "." and end + 1 == len(page.text)
        if (end == len(page.text) or last_dot) and not page.complete:
            continue
        statement = page.text[start:end]
        if statement.strip() and "\\boxed" not in statement and not re.match(r"(?i)not\b", statement):
            yield start, end


def past_lead(page: Page, start: int, end: int | None = None) -> int:
    """Return where the words and marks before an answer ("about", an opening parenthesis) are over."""
    match = _LEAD.match(page.text, start, len(page.text) if end is None else end)
    return match.end() if match else start
