"""Where numbers stand in running text; knows nothing of how a number is written in one form."""

from __future__ import annotations

import re

from edgetts.selection.answers.found import Extracted, Page
from edgetts.selection.answers.numbers import GROUPED_INTEGER, VULGAR_FRACTION, read_number
from edgetts.selection.answers.spelling import SUPERSCRIPT
from edgetts.selection.answers.statements import boxed, past_lead, stated
from edgetts.selection.answers.units import unit_named

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
_OPERATOR = re.compile(r"\s?(?:[+*\u00d7\u00f7^/]|-\s|\\times|\\div|\\cdot|,\s?\d)")
_LIST_MARKER = re.compile(r"[.)]\s+\S")
_UNIT_AFTER = re.compile(
    r"[\s~]?(?:\\(?:text|mathrm|mbox)\s?\{\s?)?"
    r"((?i:(?:square|cubic)\s)?[^\W\d_]{1,12}(?:/[a-z]{1,2}|\s(?i:per\s(?:hour|second)))?(?:\^\{?[23]\}?|[²³])?|°[CF]?)"
    r"(?![\w/^])"
)


def find_number(page: Page, unit: str) -> Extracted | None:
    """The last number stated, else the last anywhere; in the unit asked for, where one is."""
    found: list[Extracted] = []
    for start, end in boxed(page):
        if one := _whole(page, start, end, unit):
            found.append(one)
    for start, end in stated(page):
        if one := number_stated(page, start, end, unit) or _whole(page, start, end, unit):
            found.append(one)
    return max(found, key=lambda one: one.span, default=None) or last_number(page, 0, unit)


def number_stated(page: Page, start: int, end: int, unit: str = "") -> Extracted | None:
    """The number that a statement gives: after its last "=", else after its last "is", else at its start."""
    statement = page.text[start:end]
    after_equals = start + statement.rfind("=") + 1
    after_is = start + statement.rfind(" is ") + len(" is ") if " is " in statement else start
    for at in (after_equals, after_is):
        match = _NUMBER.match(page.text, past_lead(page, at, end), end)
        # An expression such as 3 + 11 is not the number that it opens with.
        if match and not _OPERATOR.match(page.text, match.end(), end):
            found = _as_number(page, match, unit, explicit=True)
            if found:
                return found
    return None


def last_number(page: Page, start: int, unit: str = "") -> Extracted | None:
    """The last number after `start`, passing over the marker of a numbered list."""
    for match in reversed(list(_NUMBER.finditer(page.text, start))):
        line_start = page.text.rfind("\n", 0, match.start()) + 1
        opens_line = not page.text[line_start : match.start()].strip(" \t*#>-")
        if opens_line and _LIST_MARKER.match(page.text, match.end()):
            continue
        if found := _as_number(page, match, unit, explicit=False):
            return found
    return None


def _whole(page: Page, start: int, end: int, unit: str) -> Extracted | None:
    raw = page.text[start:end]
    number = read_number(raw, unit)
    return Extracted(number.value, raw, "number", (start, end), unit=number.unit) if number else None


def _as_number(page: Page, match: re.Match[str], unit: str, *, explicit: bool) -> Extracted | None:
    """Read a match with the unit around it; its span is that of the number alone."""
    raw, spelled = match[0], match[0]
    if page.text.startswith("$", match.end()):  # $5$ is typeset, and costs nothing
        spelled = spelled.replace("$", "", 1)
    after = _UNIT_AFTER.match(page.text, match.end())
    if after and unit_named(after[1]):
        spelled += f" {after[1]}"
    number = read_number(spelled, unit) or (read_number(raw) if not unit else None)
    return Extracted(number.value, raw, "number", match.span(), explicit, number.unit) if number else None
