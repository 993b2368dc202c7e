"""The letter of a choice, and where one stands in a text; knows nothing of what is chosen among."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from edgetts.errors import InvalidInput
from edgetts.selection.answers.found import Extracted, Page
from edgetts.selection.answers.spelling import MAX_ANSWER_CHARS, unwrap
from edgetts.selection.answers.statements import STATEMENT_CHARS, boxed, stated

DEFAULT_LETTERS = "A-E"


@dataclass(frozen=True, slots=True)
class _Patterns:
    whole: re.Pattern[str]
    stated: re.Pattern[str]
    loose: re.Pattern[str]
    bare: re.Pattern[str]


@lru_cache(maxsize=64)
def _patterns(letters: str) -> _Patterns:
    upper, any_case = f"[{letters}]", f"[{letters}{letters.lower()}]"
    return _Patterns(
        re.compile(rf"(?:\(({any_case})\)[.:]?|({upper})[).:]|({upper}))(\s.{{0,200}})?", re.DOTALL),
        re.compile(
            rf"\(({any_case})\)"
            rf"|({upper})(?=[).:,*\s]*(?:\n|$)|[).:,]\s|\*\*|\s(?:because|since|as|for|-|\())"
        ),
        re.compile(
            rf"(?m)(?<!\w)\(({any_case})\)|\b(?i:option|choice)\s+({any_case})\b"
            rf"|^[ \t]*({upper})[).:](?=\s|$)"
        ),
        re.compile(rf"\A\W*({any_case})\W*\Z"),
    )


def check_letters(letters: str) -> None:
    """Raise InvalidInput for anything but a range of capital letters or digits: "A-J", "1-4"."""
    if not re.fullmatch(r"[A-Z]-[A-Z]|[0-9]-[0-9]", letters, re.ASCII) or letters[0] >= letters[2]:
        raise InvalidInput(
            f"{letters!r} is no range of choices.", hint="Give the first and the last: 'choice:A-J'."
        )


def canonical_choice(raw: str, letters: str = DEFAULT_LETTERS) -> str | None:
    """Write "(b)", "B.", "B) because ..." or "B" as "B"; None where it is not a choice among the letters."""
    if len(raw) > MAX_ANSWER_CHARS:
        return None
    match = _patterns(letters).whole.fullmatch(unwrap(raw).strip())
    if not match or (match[3] and match[4]):  # "A dog": an article, unless punctuation says otherwise
        return None
    return (match[1] or match[2] or match[3]).upper()


def choice_opening(page: Page, start: int, letters: str = DEFAULT_LETTERS) -> Extracted | None:
    """The choice that a statement opens with."""
    limit = min(len(page.text), start + STATEMENT_CHARS)
    match = _patterns(letters).stated.match(page.text, start, limit)
    return Extracted((match[1] or match[2]).upper(), match[0], "choice", match.span()) if match else None


def find_choice(page: Page, letters: str) -> Extracted | None:
    """The last choice stated, else the last that stands as one ("option c", "(A)"), else a lone letter."""
    found: list[Extracted] = []
    for start, end in boxed(page):
        raw = page.text[start:end]
        if letter := canonical_choice(raw, letters):
            found.append(Extracted(letter, raw, "choice", (start, end)))
    for start, end in stated(page):
        raw = page.text[start:end]
        if opening := choice_opening(page, start, letters):
            found.append(opening)
        elif letter := canonical_choice(raw, letters):
            found.append(Extracted(letter, raw, "choice", (start, end)))
    if found:
        return max(found, key=lambda one: one.span)
    patterns = _patterns(letters)
    loose = list(patterns.loose.finditer(page.text)) or list(patterns.bare.finditer(page.text))
    if not loose:
        return None
    letter = next(group for group in loose[-1].groups() if group)
    return Extracted(letter.upper(), loose[-1][0], "choice", loose[-1].span(), False)
