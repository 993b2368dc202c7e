"""One spelling for each answer, so that votes are counted by value; knows nothing of where an answer stood.

Numbers are exact (integers and fractions, never floats). A percent sign and units are dropped, since
samples of one question agree on the unit but not on writing it: 25% is the same vote as 25, not as 0.25.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction
from typing import Literal

AnswerKind = Literal["number", "choice", "text"]

MAX_NUMBER_CHARS = 500
"""Longest spelling that is read as a number: this alone bounds the arithmetic. Anything longer is text."""
MAX_EXPONENT_DIGITS = 18
PLAIN_ZEROS = 40
"""Zeros written out before the canonical form turns to scientific notation."""

THOUSANDS = r"(?:,|\{,\}|\\[,!]|[\u00a0\u2009\u202f])"
GROUPED_INTEGER = rf"\d{{1,3}}(?:{THOUSANDS}\d{{3}})+(?!\d)|\d{{1,2}}(?:,\d\d)+,\d{{3}}(?!\d)"
VULGAR_FRACTION = "[\u00bc-\u00be\u2150-\u215e]"
SUPERSCRIPT = "[\u207a\u207b]?[\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+"

_SUPERSCRIPT_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_LATEX_WRAPPER = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|operatorname|mbox|boxed)\s?\{([^{}]*)\}")
_NOISE = re.compile(r"\\(?:left|right|displaystyle|quad|qquad)(?![A-Za-z])|\\[()\[\];:, ]|\\!|\*\*|__|`")
_CHOICE = re.compile(r"(?:\(([A-Ea-e])\)[.:]?|([A-E])[).:]|([A-E]))(\s.{0,200})?", re.DOTALL)
_DECIMAL = r"\d+(?:\.\d+)?|\.\d+"
_NUMBER = re.compile(
    rf"""
    (?:(?:about|around|approximately|exactly|only|roughly|nearly)\s|[~≈]\s?|\\approx\s?)?
    (?P<sign>[+\-]?)\s?(?:usd|us)?\s?\\?[$€£¥₹]?\s?(?P<late_sign>[+\-]?)
    (?:
      (?:(?P<whole>\d+)\s)?(?P<numerator>{_DECIMAL})\s?/\s?(?P<denominator>{_DECIMAL})
      |
      (?P<mantissa>{_DECIMAL})
      (?:e(?P<exponent>[+\-]?\d+)
        |\s?(?:\u00d7|\\times|\\cdot|\*|x)\s?10\s?\^\s?\{{?\s?(?P<power>[+\-]?\d+)\s?\}}?)?
    )
    (?:\.(?!\s?\w))?
    (?P<scale>k(?![a-z])|\s?(?:thousand|million|billion|trillion)(?![a-z]))?
    \s?(?:\\?[%°$€£¥₹]|\^\s?\{{?\\circ\}}?)?
    \s?(?:(?![nwxyz](?![a-z]))[^\W\d_](?:[^\d+*=<>^~]|\^\{{?[23]\}}?){{0,40}})?  # a unit, but no variable
    [\s.,;:!]*
    """,
    re.VERBOSE | re.IGNORECASE,
)
_TRIMMED = " ,;:!?\"'\u201c\u201d\u2018\u2019\u00ab\u00bb*_`"
_SCALES = {"k": 3, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}


def canonical(raw: str) -> tuple[AnswerKind, str] | None:
    """Read an answer as a choice, a number or else text; None where nothing is left of it."""
    if choice := canonical_choice(raw):
        return "choice", choice
    if number := canonical_number(raw):
        return "number", number
    text = canonical_text(raw)
    return ("text", text) if text else None


def canonical_number(raw: str) -> str | None:
    """Write a number in its one form: "1687.5", "-3", "1/3", "1e999999999"; None where it is not one number.

    Where an equation is given, its right side counts. Exact, and bounded: neither a long spelling nor
    a large exponent costs more than a few hundred digits of arithmetic.
    """
    if len(raw) > MAX_NUMBER_CHARS:
        return None
    match = _NUMBER.fullmatch(_plain_spelling(raw))
    if not match or (match["sign"] and match["late_sign"]):
        return None
    sign = "-" if "-" in (match["sign"], match["late_sign"]) else ""
    scale = _SCALES[match["scale"].strip().lower()] if match["scale"] else 0
    if match["denominator"]:
        magnitude = _fraction(match["whole"] or "0", match["numerator"], match["denominator"], scale)
    else:
        exponent = match["exponent"] or match["power"] or "0"
        if len(exponent) > MAX_EXPONENT_DIGITS:
            return None
        magnitude = _decimal(match["mantissa"], int(exponent) + scale)
    return magnitude if magnitude in (None, "0") else f"{sign}{magnitude}"


def canonical_choice(raw: str) -> str | None:
    """Write "(b)", "B.", "B) because ..." or "B" as "B"; None where it is not a choice from A to E."""
    match = _CHOICE.fullmatch(_unwrap(raw).strip()) if len(raw) <= MAX_NUMBER_CHARS else None
    if not match or (match[3] and match[4]):  # "A dog": an article, unless punctuation says otherwise
        return None
    return (match[1] or match[2] or match[3]).upper()


def canonical_text(raw: str) -> str:
    """Fold case, Unicode forms and space; trim leading articles and the punctuation around."""
    text = " ".join(unicodedata.normalize("NFKC", _unwrap(_caret_powers(raw))).casefold().split())
    text = text.rstrip(_TRIMMED + ".").lstrip(_TRIMMED) or text  # an answer of signs alone stays
    if re.fullmatch(r"\([^()]+\)", text):
        text = text[1:-1].strip()
    return re.sub(r"^(?:an?|the) (?=\S)", "", text)


def _unwrap(raw: str) -> str:
    r"""Take \text{...} and its like, math delimiters and Markdown emphasis away."""
    return _NOISE.sub(" ", _LATEX_WRAPPER.sub(r" \1 ", raw))


def _caret_powers(raw: str) -> str:
    """Write 5² as 5^2, before Unicode normalisation makes it 52."""
    return re.sub(SUPERSCRIPT, lambda m: "^" + m[0].translate(_SUPERSCRIPT_DIGITS), raw)


def _plain_spelling(raw: str) -> str:
    """Rewrite LaTeX, Unicode and thousands so that one plain pattern reads them all."""
    text = re.sub(rf"(?={VULGAR_FRACTION})", " ", _caret_powers(raw))  # 1½ is 1 1/2, not 11/2
    text = re.sub(rf"(?<![\d,])(?:{GROUPED_INTEGER})(?!,\d)", lambda m: re.sub(r"\D", "", m[0]), text)
    text = unicodedata.normalize("NFKC", text).translate({0x2044: "/", 0x2212: "-", 0x2013: "-", 0x2010: "-"})
    text = re.sub(r"\\[dtc]?frac\s?\{([^{}]*)\}\s?\{([^{}]*)\}", r" \1/\2", text)
    text = " ".join(_unwrap(text).rpartition("=")[2].split())
    if text.startswith("$") and text.rstrip(".").endswith("$"):
        text = text.rstrip(".").strip("$").strip()
    return text[1:-1].strip() if text.startswith("(") and text.endswith(")") else text


def _decimal(digits: str, exponent: int) -> str:
    """Write digits ("12.50") times ten to the exponent, without superfluous zeros."""
    whole, _, part = digits.partition(".")
    significant = str(int(whole + part))  # ASCII, whatever digits the script has
    mantissa = significant.rstrip("0")
    if not mantissa:
        return "0"
    exponent += len(significant) - len(mantissa) - len(part)
    point = len(mantissa) + exponent  # digits before the decimal point
    if 0 <= exponent <= PLAIN_ZEROS:
        return mantissa + "0" * exponent
    if exponent < 0 < point:
        return f"{mantissa[:point]}.{mantissa[point:]}"
    if exponent < 0 and -point <= PLAIN_ZEROS:
        return f"0.{'0' * -point}{mantissa}"
    return f"{mantissa}e{exponent}"


def _fraction(whole: str, numerator: str, denominator: str, scale: int) -> str | None:
    """Write a mixed number as a decimal where that is exact, else as a reduced fraction."""
    bottom = Fraction(denominator)
    if bottom == 0:
        return None
    value = (int(whole) + Fraction(numerator) / bottom) * 10**scale
    rest, places = value.denominator, 0
    for factor in (2, 5):
        count = 0
        while rest % factor == 0:
            rest, count = rest // factor, count + 1
        places = max(places, count)
    if rest != 1:
        return f"{value.numerator}/{value.denominator}"
    return _decimal(str(value.numerator * 10**places // value.denominator), -places)
