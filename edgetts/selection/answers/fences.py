"""Fenced blocks of a Markdown text; knows nothing of what is in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from edgetts.selection.answers.found import Page

_FENCE = re.compile(r"(?m)^[ \t]{0,12}(`{3,}|~{3,})[ \t]*([\w+#.-]{0,30})[^\n`]*$")


@dataclass(frozen=True, slots=True)
class Block:
    """What stands between two fences: `span` is that of its lines, `around` that with the fences."""

    language: str
    span: tuple[int, int]
    around: tuple[int, int]
    closed: bool


def fenced(page: Page) -> Iterator[Block]:
    """Yield the fenced blocks of a text, the last one also where its fence was never closed."""
    opening: re.Match[str] | None = None
    for fence in _FENCE.finditer(page.text):
        if opening is None:
            opening = fence
        elif fence[1].startswith(opening[1]) and not fence[2]:
            start = min(opening.end() + 1, fence.start())
            yield Block(opening[2].lower(), (start, fence.start()), (opening.start(), fence.end()), True)
            opening = None
    if opening is not None:
        start, end = min(opening.end() + 1, len(page.text)), len(page.text)
        yield Block(opening[2].lower(), (start, end), (opening.start(), end), False)
