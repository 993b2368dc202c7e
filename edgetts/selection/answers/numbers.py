"""One spelling for each number, so that votes are counted by value; knows nothing of where it stood.

Numbers are exact (integers and fractions, never floats). A percent sign and units are no part of the
value, since samples of one question agree on the unit but not on writing it: 25% is the same vote as 25,
not as 0.25. What unit was written is said beside the value, and `classes` parts answers of different ones.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction

from edgetts.selection.answers.spelling import MAX_ANSWER_CHARS, caret_powers, unwrap
from edgetts.selection.answers.units import Unit, in_base, unit_named

MAX_EXPONENT_DIGITS = 18
PLAIN_ZEROS = 40
"""Zeros written out before the canonical form turns to scientific notation."""

THOUSANDS = r"(?:,|\{,\}|\\[,!]|[\u00a0\u2009\u202f])"
GROUPED_INTEGER = rf"\d{{1,3}}(?:{THOUSANDS}\d{{3}})+(?!\d)|\d{{1,2}}(?:,\d\d)+,\d{{3}}(?!\d)"
VULGAR_FRACTION = "[\u00bc-\u00be\u2150-\u215e]"
_DECIMAL = r"\d+(?:\.\d+)?|\.\d+"
_NUMBER = re.compile(
    rf"""
    (?:(?:about|around|approximately|exactly|only|roughly|nearly)\s|[~≈]\s?|\\approx\s?)?
    (?P<sign>[+\-]?)\s?(?:usd|us)?\s?\\?(?P<currency>[$€£¥₹]?)\s?(?P<late_sign>[+\-]?)
    (?:
      (?:(?P<whole>\d+)\s)?(?P<numerator>{_DECIMAL})\s?/\s?(?P<denominator>{_DECIMAL})
      |
      (?P<mantissa>{_DECIMAL})
      (?:e(?P<exponent>[+\-]?\d+)
        |\s?(?:\u00d7|\\times|\\cdot|\*|x)\s?10\s?\^\s?\{{?\s?(?P<power>[+\-]?\d+)\s?\}}?)?
    )
    (?:\.(?!\s?\w))?
    (?P<scale>k(?![a-z])|\s?(?:thousand|million|billion|trillion)(?![a-z]))?
    \s?(?P<mark>\\?[%°$€£¥₹]|\^\s?\{{?\\circ\}}?)?
    \s?(?P<unit>(?![nwxyz](?![a-z]))[^\W\d_](?:[^\d+*=<>^~]|\^\{{?[23]\}}?){{0,40}})?  # but no variable
    [\s.,;:!]*
    """,
    re.VERBOSE | re.IGNORECASE,
)
_SCALES = {"k": 3, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}


@dataclass(frozen=True, slots=True)
class Number:
    """A number in its one form, and the name of its unit: "" where none is written or known."""

    value: str
    unit: str = ""


def canonical_number(raw: str) -> str | None:
    """Write a number in its one form: "1687.5", "-3", "1/3", "1e999999999"; None where it is not one number.

    Where an equation is given, its right side counts. Exact, and bounded: neither a long spelling nor
    a large exponent costs more than a few hundred digits of arithmetic.
    """
    number = read_number(raw)
    return number.value if number else None


def read_number(raw: str, unit: str = "") -> Number | None:
    """Read a number and its unit; None where it is not one number.

    With a `unit` asked for, a value in another unit of that dimension is converted ("5 km" is 5000 for
    "m"), a bare number is taken to be in it, and one of another dimension is None.
    """
    if len(raw) > MAX_ANSWER_CHARS:
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
    if magnitude is None:
        return None
    value = magnitude if magnitude == "0" else f"{sign}{magnitude}"
    written = _unit_written(match)
    return _in_unit(value, written, unit) if unit else Number(value, written.name if written else "")


def _unit_written(match: re.Match[str]) -> Unit | None:
    mark = (match["mark"] or "").lstrip("\\")
    word = (match["unit"] or "").strip()
    if mark.startswith("^"):
        mark = "°"
    for spelling in (mark + word, word, mark, match["currency"]):
        if spelling and (unit := unit_named(spelling)):
            return unit
    return None


def _in_unit(value: str, written: Unit | None, asked: str) -> Number | None:
    wanted = unit_named(asked)
    if wanted is None or written is None or written.name == wanted.name:
        return Number(value, asked)
    base = in_base(value, written) if written.dimension == wanted.dimension else None
    if base is None:
        return None
    converted = base / wanted.size
    in_one_form = canonical_number(f"{converted.numerator}/{converted.denominator}")
    return Number(in_one_form, asked) if in_one_form else None


def _plain_spelling(raw: str) -> str:
    """Rewrite LaTeX, Unicode and thousands so that one plain pattern reads them all."""
    text = re.sub(rf"(?={VULGAR_FRACTION})", " ", caret_powers(raw))  # 1½ is 1 1/2, not 11/2
    text = re.sub(rf"(?<![\d,])(?:{GROUPED_INTEGER})(?!,\d)", lambda m: re.sub(r"\D", "", m[0]), text)
    text = unicodedata.normalize("NFKC", text).translate({0x2044: "/", 0x2212: "-", 0x2013: "-", 0x2010: "-"})
    text = re.sub(r"\\[dtc]?frac\s?\{([^{}]*)\}\s?\{([^{}]*)\}", r" \1/\2", text)
    text = " ".join(unwrap(text).rpartition("=")[2].split())
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
