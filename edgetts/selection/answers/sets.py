"""One spelling for a set of answers, whatever their order; knows nothing of what they stand for."""

from __future__ import annotations

import re
from fractions import Fraction

from edgetts.selection.answers.algebra import plain_expression
from edgetts.selection.answers.found import Extracted, Page
from edgetts.selection.answers.numbers import canonical_number
from edgetts.selection.answers.spelling import canonical_text, unwrap
from edgetts.selection.answers.statements import boxed, stated

MAX_SET_CHARS = 2_000
MAX_ELEMENTS = 256
MAX_SET_DEPTH = 8
_PASSES = 4
_TRIES = 32
"""Spellings that may be tried before a text is given up."""

_OPENS, _CLOSES = "([{\u27e6", ")]}\u27e7"
_EMPTY = {"{}", "\u2205", "\\emptyset", "\\varnothing", "empty set", "none", "no solution", "no solutions"}
_NAME = re.compile(r"\s*[A-Za-z]\w{0,10}\s?(?:=|\\in\b|\u2208)\s?(?=\S)")
_BULLET = re.compile(r"\s*(?:[*\u2022-]|\d{1,3}[.)])\s+")
_BRACKETED = re.compile(r"\\?\{(?:[^{}]|\{[^{}]*\})*\}|\[(?:[^\[\]]|\[[^\[\]]*\])*\]")
_CUT = re.compile(r"[;\n]|,\s+(?:(?:and|or)\s+)?|\s(?:and|or|\\text\{\s?(?:and|or)\s?\})\s", re.IGNORECASE)
_CUT_BARE = re.compile(rf"{_CUT.pattern}|,", re.IGNORECASE)
_BRACED = re.compile(r"\$?\s?\\?\{.*\\?\}\s?\$?\.?", re.DOTALL)


def braced_set(raw: str) -> str | None:
    """Write a set that is spelled in braces in its one form; None for anything else."""
    return canonical_set(raw) if _BRACED.fullmatch(raw.strip()) else None


def canonical_set(raw: str) -> str | None:
    r"""Write "\{2, 1.0\}", "1 and 2" or "x = 2 or x = 1" as "{1, 2}"; None where brackets do not match.

    Elements are numbers, expressions (where sympy is installed), tuples, sets or texts, each in its own
    one form; doubles are dropped, numbers come first by value. A tuple "(1, 2)" keeps its order. Where
    any comma is followed by space, one that is not is taken for a thousands separator: "1,000, 2,000".
    """
    text = raw.strip()
    for _ in range(_PASSES):
        if len(text) > MAX_SET_CHARS:
            return None
        form = _one_form(text)
        if form is None or form == text:
            return form
        text = form
    return None


def find_set(page: Page) -> Extracted | None:
    """The last set stated, else the last in braces or brackets, else what the last line lists.

    Of a text that was cut the last line is not believed.
    """
    for start, end in sorted((*boxed(page), *stated(page)), reverse=True)[:_TRIES]:
        if form := canonical_set(page.text[start:end]):
            return Extracted(form, page.text[start:end], "set", (start, end))
    bracketed = list(_BRACKETED.finditer(page.text))
    for match in reversed(bracketed[-_TRIES:]):
        if len(match[0]) <= MAX_SET_CHARS and (form := canonical_set(match[0])):
            return Extracted(form, match[0], "set", match.span(), False)
    body = page.text.rstrip()
    line = body.rfind("\n") + 1
    colon = body.rfind(": ", line)
    start = line if colon < 0 else colon + len(": ")
    listed = body[start:]
    lists = _CUT_BARE.search(listed) or canonical_number(listed) or canonical_text(listed) in _EMPTY
    if page.complete and lists and (form := canonical_set(listed)):
        return Extracted(form, listed, "set", (start, len(body)), False)
    return None


def _one_form(raw: str) -> str | None:
    text = unwrap(raw.replace("\\{", "\u27e6").replace("\\}", "\u27e7")).strip(" \n\t.$")
    if canonical_text(text) in _EMPTY:
        return "{}"
    if not _balanced(text):
        return None
    if (
        (name := _NAME.match(text))
        and not _CUT_BARE.search(text[: name.end()])
        and _inside(text[name.end() :])
    ):
        text = text[name.end() :]
    inner = _inside(text)
    elements = _elements(inner if inner is not None else text, 0)
    return _braces(elements) if elements else None


def _braces(elements: set[str]) -> str:
    return "{" + ", ".join(sorted(elements, key=_rank)) + "}"


def _rank(element: str) -> tuple[int, Fraction, str]:
    """Numbers by value, those of many digits and all else by spelling."""
    if re.fullmatch(r"-?[\d./]{1,40}", element) and canonical_number(element) == element:
        return 0, Fraction(element), element
    return 1, Fraction(0), element


def _inside(text: str) -> str | None:
    """What stands within a pair of braces or brackets around the whole."""
    pairs = {"{": "}", "[": "]", "\u27e6": "\u27e7"}
    if len(text) < 2 or pairs.get(text[0]) != text[-1] or not _balanced(text[1:-1]):
        return None
    return text[1:-1]


def _balanced(text: str) -> bool:
    opened: list[str] = []
    for sign in text:
        if sign in _OPENS:
            opened.append(_CLOSES[_OPENS.index(sign)])
        elif sign in _CLOSES and (not opened or opened.pop() != sign):
            return False
    return not opened


def _elements(text: str, depth: int) -> set[str]:
    """Canonical elements; empty where there are none, too many, or they are nested too deep."""
    if depth > MAX_SET_DEPTH:
        return set()
    elements: set[str] = set()
    pieces = _pieces(text)
    for piece in pieces if len(pieces) <= MAX_ELEMENTS else ():
        for spelled in _both_signs(_BULLET.sub("", piece, count=1).strip()):
            if element := _element(spelled, depth):
                elements.add(element)
    return elements


def _pieces(text: str) -> list[str]:
    """Split at commas, semicolons, lines, "and" and "or" that stand outside all brackets."""
    level, outside = 0, []
    for sign in text:
        level -= sign in _CLOSES
        outside.append(level == 0)
        level += sign in _OPENS
    cut = _CUT if any(outside[m.start()] for m in _CUT.finditer(text)) else _CUT_BARE
    pieces, start = [], 0
    for match in cut.finditer(text):
        if outside[match.start()]:
            pieces.append(text[start : match.start()])
            start = match.end()
    return [*pieces, text[start:]]


def _both_signs(piece: str) -> tuple[str, ...]:
    match = re.fullmatch(r"(?:[a-z]\s?=\s?)?(?:\u00b1|\\pm)\s?([^\u00b1]+)", piece)
    return (f"-{match[1]}", match[1]) if match else (piece,)


def _element(piece: str, depth: int) -> str | None:
    inner = _inside(piece)
    if inner is not None:
        return _braces(_elements(inner, depth + 1))
    if piece.startswith("(") and piece.endswith(")") and _balanced(piece[1:-1]):
        parts = _pieces(piece[1:-1])
        if 1 < len(parts) <= MAX_ELEMENTS and depth < MAX_SET_DEPTH:
            written = [_element(part.strip(), depth + 1) for part in parts]
            return f"({', '.join(part or '' for part in written)})"
    return canonical_number(piece) or plain_expression(piece) or canonical_text(piece) or None
