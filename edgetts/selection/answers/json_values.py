"""One spelling for a JSON value, and where one stands in a text; knows nothing of what it should hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from edgetts.selection.answers.fences import fenced
from edgetts.selection.answers.found import Extracted, Page
from edgetts.selection.answers.numbers import canonical_number

MAX_JSON_CHARS = 16_384
MAX_JSON_DEPTH = 64
_PARSED_CHARS = 4 * MAX_JSON_CHARS
"""Characters that may be parsed while looking for a value in one text."""


class _Number(str):
    """The one form of a number, which is itself JSON."""

    __slots__ = ()


def canonical_json(raw: str) -> str | None:
    """Write a JSON value in one form: no space, sorted keys, exact numbers; None where it is no JSON.

    1 and 1.0 are the same, and so are escaped and plain characters; true is not 1. Of a key given twice
    the last counts, which is what common parsers read. NaN and infinities are no JSON. Values of
    more than `MAX_JSON_CHARS` characters or nested deeper than `MAX_JSON_DEPTH` are not read.
    """
    if len(raw) > MAX_JSON_CHARS or _too_deep(raw):
        return None
    try:
        value = json.loads(raw, parse_int=_number, parse_float=_number, parse_constant=_refuse)
        return "".join(_spelled(value))
    except (ValueError, RecursionError):
        return None


def find_json(page: Page) -> Extracted | None:
    """The last fenced block that is JSON, else the whole text, else the last object or array in it.

    Of a text that was cut, what stands inside a bracket still open is no answer.
    """
    blocks = list(fenced(page))
    for block in reversed(blocks):
        if (block.closed or page.complete) and (found := _value(page, *block.span)):
            return found
    if page.complete and (found := _value(page, 0, len(page.text))):
        return found
    budget = _PARSED_CHARS
    for start, end in _bracketed(page):
        budget -= end - start
        if budget < 0:
            break
        if found := _value(page, start, end):
            return found
    return None


def json_document(page: Page) -> Extracted | None:
    """The whole text, where it is one object or array, fenced or not."""
    body = page.text.strip()
    if not body or (body[0] not in "{[" and not body.startswith(("```", "~~~"))):
        return None
    blocks = list(fenced(page))
    if not blocks:
        start = page.text.index(body[0])
        return _value(page, start, start + len(body)) if body[-1] in "}]" else None
    whole = blocks[0].closed and page.text[slice(*blocks[0].around)].strip() == body
    opens = page.text[slice(*blocks[0].span)].lstrip()[:1]
    return _value(page, *blocks[0].span) if whole and opens and opens in "{[" else None


def _value(page: Page, start: int, end: int) -> Extracted | None:
    raw = page.text[start:end]
    inset = len(raw) - len(raw.lstrip())
    raw = raw.strip()
    form = canonical_json(raw) if raw else None
    return Extracted(form, raw, "json", (start + inset, start + inset + len(raw))) if form else None


def _bracketed(page: Page) -> Iterator[tuple[int, int]]:
    """Yield spans of matching braces and brackets, the outer before the inner, the last first.

    Brackets within double quotes do not count at first; where that finds none, they do.
    """
    for quotes in (True, False):
        closed: list[tuple[int, int]] = []
        opened: list[int] = []
        quoted = escaped = False
        for at, sign in enumerate(page.text):
            if quoted:
                quoted = escaped or sign != '"'
                escaped = sign == "\\" and not escaped
            elif sign == '"' and quotes and opened:
                quoted = True
            elif sign in "{[":
                opened.append(at)
            elif sign in "}]" and opened and page.text[opened[-1]] == "{["["}]".index(sign)]:
                closed.append((opened.pop(), at + 1))
        if not page.complete and opened:
            closed = [span for span in closed if span[0] < opened[0]]
        yield from sorted(closed, key=lambda span: (-span[1], span[0]))


def _too_deep(raw: str) -> bool:
    """Whether brackets outside strings nest deeper than allowed; checked before any recursion."""
    depth, quoted, escaped = 0, False, False
    for sign in raw:
        if quoted:
            quoted = escaped or sign != '"'
            escaped = sign == "\\" and not escaped
        elif sign == '"':
            quoted = True
        elif sign in "{[":
            depth += 1
            if depth > MAX_JSON_DEPTH:
                return True
        elif sign in "}]":
            depth -= 1
    return False


def _number(spelling: str) -> _Number:
    """An exact number; one too long for the one form stays as it is spelled."""
    return _Number(canonical_number(spelling) or spelling)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _spelled(value: Any) -> Iterator[str]:
    """Yield the pieces of a value's one form; its depth is bounded by `_too_deep`."""
    if isinstance(value, _Number):
        yield value
    elif isinstance(value, dict):
        yield "{"
        for place, key in enumerate(sorted(value)):
            yield f"{',' if place else ''}{json.dumps(key)}:"
            yield from _spelled(value[key])
        yield "}"
    elif isinstance(value, list):
        yield "["
        for place, item in enumerate(value):
            if place:
                yield ","
            yield from _spelled(item)
        yield "]"
    else:
        yield json.dumps(value)
