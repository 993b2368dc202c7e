r"""Split a text into the tokens of arithmetic: plain, Unicode, Markdown and LaTeX spellings alike; knows no grammar.

What is not known to be harmless becomes a token "?", so that nothing beside it is read.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from edgetts.selection.verification.words import SHORT_UNITS

MAX_DIGITS = 40
GROUPED_INTEGER = r"[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3}(?![0-9])"
"""1,250,000 or, as in India, 12,50,000."""
VULGAR_FRACTION = "[\u00bc-\u00be\u2150-\u215e]"
SUPERSCRIPT = "[\u2070\u00b9\u00b2\u00b3\u2074-\u2079]"

Kind = Literal[
    "number", "word", "operator", "open", "close", "fraction", "percent", "of", "equals", "about", "end", "?"
]
"""fraction: LaTeX \\frac. of: as in 25% of 80. about: an approximation sign. end: where a clause ends.

"?": a sign that makes what it touches unreadable here, such as a root or a variable.
"""


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of text; `glued` says that no space stands before it. `places`: decimal places as written."""

    kind: Kind
    text: str
    glued: bool = False
    value: Fraction = Fraction(0)
    places: int = 0
    units: tuple[str, ...] = ()


_ARRANGED = (
    # A list's bullet, number or letter, a heading's or a quotation's sign at the start of a line.
    (re.compile(r"(?m)^[ \t]*(?:[>#]+[ \t]+)?(?:[*+\u2022\u00b7][ \t]+)?(?:(?:\(?\w{1,2}\)|\d{1,2}\.)[ \t]+(?![+*/\u00d7\u00f7=^\u2212-]))?"), ""),
    (re.compile(r"\n[ \t]{0,20}&?[ \t]{0,20}(?==[^=])"), " "),  # "= 12" on a line of its own goes on from the one before
    (re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mathit|operatorname|mbox)\s?\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"\\(?:left|right|displaystyle|boxed|fbox|quad|qquad|[Bb]igg?[lr]?)(?![A-Za-z])|\\[,;:! ]|\^\s?\{?\\circ\}?|&"), " "),
    (re.compile(r"(?<=[0-9])\{,\}(?=[0-9])"), ","),
    (re.compile(r"(?<=[0-9)])\s?\*\*\s?(?=[0-9(])"), "^"),
    (re.compile(r"\*\*|__|`"), ""),
    (re.compile(r"\\([*$%#_])"), r"\1"),
)  # fmt: skip

_TOKEN = re.compile(
    rf"""
    (?P<space>[^\S\n]+|\$(?!\s?\d)|(?<=\d)\$)
    | (?P<hard>\n|\\\\|\\[()\[\]]|\$\$|[\u201c\u201d\u00ab\u00bb"])
    | (?P<poison>\.{{2,}}|\u2026|[+\-*/:!^%~]=|==+|!=|\u2260|\|)
    | (?P<number>(?P<money>\$\s?|[\u20ac\u00a3\u00a5\u20b9]\s?)?
        (?P<digits>(?:{GROUPED_INTEGER}|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)
        (?:[eE](?P<exponent>[+\-]?[0-9]{{1,2}})(?![\w.]))?
        (?P<tail>[.,:][0-9]|_|-(?=[^\W\d_]))?)
    | (?P<vulgar>{VULGAR_FRACTION})
    | (?P<money_after>[\u20ac\u00a3\u00a5\u20b9])
    | (?P<of>of\b(?:\s(?:the|his|her|their|its|these|those)\b)?)
    | (?P<percent>%|(?:percent|per\scent)\b)
    | (?P<super>\u207b?{SUPERSCRIPT}+)
    | (?P<by>(?<=[0-9)])[xX](?=[0-9(.$]))
    | (?P<word>[^\W\d_](?:[\w'\u2019]|-(?=[^\W\d_]))*)
    | (?P<arrow>=>|<=|>=|[-=]{{1,4}}>|[<>\u2264\u2265\u2192\u21d2]+|\\(?:leq?|geq?|lt|gt|Rightarrow|rightarrow|implies|to)(?![A-Za-z]))
    | (?P<about>\u2248|\u2245|\u2243|~=|=~|\\(?:approx|simeq|sim|cong)(?![A-Za-z]))
    | (?P<equals>=|\uff1d)
    | (?P<frac>\\[dtc]?frac(?![A-Za-z]))
    | (?P<operator>\\(?:times|cdot|div|ast)(?![A-Za-z])|[+\-*/^\u2212\u2013\u00d7\u00b7\u22c5\u2217\u00f7\u2215\u2044\uff0b])
    | (?P<open>[({{\[]) | (?P<close>[)}}\]])
    | (?P<colon>\s:\s?(?=\d)) | (?P<stop>[.:;?!](?=\s|$|[^\w\s])|:(?!\d)) | (?P<comma>,) | (?P<dash>\u2014)
    | (?P<other>\\[A-Za-z]+|.)
    """,
    re.VERBOSE,
)  # fmt: skip
_SIGNS = {
    "\\times": "*", "\\cdot": "*", "\\ast": "*", "\u00d7": "*", "\u00b7": "*", "\u22c5": "*", "\u2217": "*",
    "\\div": "/", "\u00f7": "/", "\u2215": "/", "\u2044": "/", "\u2212": "-", "\u2013": "-", "\uff0b": "+",
}  # fmt: skip
_WORD_SIGNS = {"x": "*", "times": "*", "plus": "+", "minus": "-"}
_CURRENCIES = {"$": "$", "\u20ac": "€", "\u00a3": "£", "\u00a5": "¥", "\u20b9": "₹"}
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")


def tokens_of(text: str) -> list[Token]:
    """Split a text. Clauses end with a token "end": its text is "." where a sentence ends too, else ":" or ","."""
    for pattern, replacement in _ARRANGED:
        text = pattern.sub(replacement, text)
    found: list[Token] = []
    spaced = True
    for match in _TOKEN.finditer(text):
        if match.lastgroup == "space":
            spaced = True
            continue
        found.extend(_tokens(match, not spaced, found, text))
        spaced = False
    return found


def _tokens(match: re.Match[str], glued: bool, before: list[Token], text: str) -> Iterator[Token]:
    kind, spelled = match.lastgroup or "", match[0]
    if kind == "number":
        yield _number(match, glued, text)
    elif kind == "vulgar":
        value = Fraction(unicodedata.numeric(spelled)).limit_denominator(100)
        yield Token("fraction", spelled, glued)
        for part in (value.numerator, value.denominator):
            yield Token("open", "", True)
            yield Token("number", "", True, Fraction(part))
            yield Token("close", "", True)
    elif kind == "word":
        yield _word(spelled, glued, before, text[match.end() : match.end() + 20])
    elif kind == "by":
        yield Token("operator", "*", glued)
    elif kind == "operator":
        yield Token("operator", _SIGNS.get(spelled, spelled), glued)
    elif kind == "super":
        yield Token("operator", "^", glued)
        digits = spelled.translate(_SUPERSCRIPTS)
        yield Token("number", spelled, True, Fraction(digits if len(digits) < 4 else "999"))
    elif kind in ("hard", "stop"):
        factorial = spelled == "!" and glued and before and before[-1].kind in ("number", "close")
        yield Token("?", spelled, glued) if factorial else Token("end", ":" if spelled == ":" else ".", glued)
    elif kind in ("arrow", "comma", "dash"):
        yield Token("end", ",", glued)
    elif kind in _KINDS:
        yield Token(_KINDS[kind], spelled, glued)
    else:
        yield Token("?", spelled, glued)


_KINDS: dict[str, Kind] = {
    "of": "of",
    "percent": "percent",
    "about": "about",
    "equals": "equals",
    "frac": "fraction",
    "open": "open",
    "close": "close",
}


def _number(match: re.Match[str], glued: bool, text: str) -> Token:
    digits = match["digits"].replace(",", "") if match["digits"].isascii() else ""
    letters = re.match(
        rf"(?:(?!{VULGAR_FRACTION}|{SUPERSCRIPT})[^\W\d_]){{1,20}}", text[match.end() : match.end() + 20]
    )
    word = letters[0].lower() if letters else ""
    times = word == "x" and re.match(r"\s?[\d($.]", text[match.end() + 1 : match.end() + 3])
    known = not word or times or word in SHORT_UNITS or len(word) > 3
    if match["tail"] or not known or not digits.replace(".", "").isdecimal() or len(digits) > MAX_DIGITS:
        return Token("?", match[0], glued)
    value = Fraction(digits) * Fraction(10) ** int(match["exponent"] or 0)
    places = 0 if match["exponent"] else len(digits.partition(".")[2])
    units = (_CURRENCIES[match["money"][0]],) if match["money"] else ()
    return Token("number", match[0], glued, value, places, units)


def _word(spelled: str, glued: bool, before: list[Token], after: str) -> Token:
    name = spelled.lower()
    if name == "equals":
        return Token("equals", spelled, glued)
    follows = re.match(r"\s?(?:-|\(\s?){0,4}[$€£¥₹]?\.?\d|\s?\\[dtc]?frac", after)
    operand_before = before and before[-1].kind in ("number", "close", "percent", "word")
    if name in _WORD_SIGNS and follows and operand_before:
        return Token("operator", _WORD_SIGNS[name], glued)
    return Token("word", spelled, glued)
