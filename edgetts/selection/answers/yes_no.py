"""Yes or no, and where a text says one of them; knows nothing of the question.

True counts as yes and false as no: a question that can be answered by both is a statement to affirm.
"""

from __future__ import annotations

import re

from edgetts.selection.answers.found import Extracted, Page
from edgetts.selection.answers.spelling import MAX_ANSWER_CHARS, canonical_text
from edgetts.selection.answers.statements import boxed, stated

_PLAIN = {"yes": "yes", "true": "yes", "no": "no", "false": "no"}
_WORDS = _PLAIN | {"yeah": "yes", "yep": "yes", "y": "yes", "correct": "yes", "right": "yes"}
_WORDS |= {"nope": "no", "n": "no", "incorrect": "no", "wrong": "no"}
_NEGATED = {"yes": "no", "no": "yes"}
_JUDGED = r"(?P<not>not\s|n't\s|n\u2019t\s)?(?P<word>true|correct|right|false|incorrect|wrong)"
_CLAUSE_END = r"(?=[\s*_\"'\u201d`)}\]]*(?:[.,;:!?\n\u2014\u2013]|\s-|$|\s(?:because|since|as|for)\b))"
_OPENING = re.compile(rf"(?i)(?P<not>not\s)?(?P<word>{'|'.join(sorted(_WORDS))})\b{_CLAUSE_END}")
_LOOSE = re.compile(
    rf"(?im)(?:(?:^|[.!?:;,]\s|\*\*|\(|\b(?:so|thus|hence|therefore|then|say)\s)[\s*_\"'\u201c`(]{{0,8}}(?P<plain>yes|no|true|false|yeah|yep|nope)\b"
    rf"|\b(?:is|are|was|were|be|it's|that's|answer)(?=\s|n't|n\u2019t)\s?{_JUDGED}\b){_CLAUSE_END}"
)


def plain_yes_no(raw: str) -> str | None:
    """Write an answer that is yes, no, true or false and nothing else as "yes" or "no"; None for any other."""
    return _PLAIN.get(canonical_text(raw)) if len(raw) <= MAX_ANSWER_CHARS else None


def canonical_yes_no(raw: str) -> str | None:
    """Write "Yes, because ...", "correct" or "not true" as "yes" or "no"; None where it is neither."""
    if len(raw) > MAX_ANSWER_CHARS:
        return None
    text = canonical_text(raw)
    match = _OPENING.match(text)
    return _meaning(match["word"], match["not"]) if match else None


def yes_no_opening(page: Page, start: int, end: int) -> Extracted | None:
    """The yes or no that a statement opens with, as in "yes, since ..."."""
    match = _OPENING.match(page.text, start, min(len(page.text), end + 1))
    if not match or match["word"].casefold() not in _PLAIN:
        return None
    return Extracted(_meaning(match["word"], match["not"]), match[0], "yes-no", match.span())


def find_yes_no(page: Page) -> Extracted | None:
    """The last one stated, else the one that the text opens with, else the last that ends a clause."""
    found: list[Extracted] = []
    for start, end in (*boxed(page), *stated(page)):
        raw = page.text[start:end]
        if answer := canonical_yes_no(raw):
            found.append(Extracted(answer, raw, "yes-no", (start, end)))
    if found:
        return max(found, key=lambda one: one.span)
    start = len(page.text) - len(page.text.lstrip(" \t\n*_\"'`("))
    if opening := _OPENING.match(page.text, start):
        return _guess(opening, opening["word"], opening["not"], page)
    for match in reversed(list(_LOOSE.finditer(page.text))):
        if one := _guess(match, match["plain"] or match["word"], match["not"], page):
            return one
    return None


def _guess(match: re.Match[str], word: str, negation: str | None, page: Page) -> Extracted | None:
    if match.end() == len(page.text) and not page.complete:  # "no" may become "none"
        return None
    return Extracted(_meaning(word, negation), match[0], "yes-no", match.span(), False)


def _meaning(word: str, negation: str | None) -> str:
    meaning = _WORDS[word.casefold()]
    return _NEGATED[meaning] if negation else meaning
