"""Compute again what a text says it computed; knows neither the question nor whether the steps are the right ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from edgetts.selection.verification.equations import Equation, find_equations
from edgetts.selection.verification.expressions import (
    Node,
    Reading,
    Unreadable,
    evaluate,
    first_operand,
    literal,
    numbers,
)
from edgetts.selection.verification.verifier import ErrorRates, Verdict, Work

ROUGH_SHARE = Fraction(1, 100)
"""How far, as a share of the value, what is said to be roughly equal may be off."""
FLOAT_PLACES = 12
"""Digits behind these are taken for the noise of a computer's floats."""
SHOWN_WRONG = 3

_SECONDS = {
    "second": 1,
    "sec": 1,
    "minute": 60,
    "min": 60,
    "hour": 3600,
    "hr": 3600,
    "day": 86400,
    "week": 604800,
}
_CENTS = {"cent": 1, "¢": 1, "penny": 1, "pennie": 1, "nickel": 5, "dime": 10, "quarter": 25}
_MONEY = {"dollar": 100, "$": 100, "euro": 100, "€": 100, "pound": 100, "£": 100, "usd": 100}
_MILLIMETRES = {
    "mm": 1, "millimeter": 1, "cm": 10, "centimeter": 10, "meter": 1000, "metre": 1000, "km": 10**6,
    "kilometer": 10**6, "kilometre": 10**6,
}  # fmt: skip
_INCHES = {"inch": 1, "inches": 1, "foot": 12, "feet": 12, "ft": 12, "yard": 36, "mile": 63360}
_MILLIGRAMS = {
    "mg": 1,
    "milligram": 1,
    "gram": 10**3,
    "kg": 10**6,
    "kilogram": 10**6,
    "ton": 10**9,
    "tonne": 10**9,
}
_OUNCES = {"oz": 1, "ounce": 1, "lb": 16, "pound": 16}
_MILLILITRES = {"ml": 1, "milliliter": 1, "millilitre": 1, "liter": 1000, "litre": 1000}
_PIECES = {"dozen": 12}
_DIMENSIONS = (
    _SECONDS, _CENTS | _MONEY, _MILLIMETRES, _INCHES, _MILLIGRAMS, _OUNCES, _MILLILITRES, _PIECES,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Computed:
    """An equation found in a text, and whether it holds; None where that cannot be told.

    `value` is what the left side comes to, where it could be computed.
    """

    spelled: str
    holds: bool | None
    value: Fraction | None = None


class ArithmeticVerifier:
    """Pass a text whose equations between numbers all hold, computed again with exact fractions.

    None for a text without an equation that can be read: equations with variables are left out, as is
    whatever has units to convert. `share` is the part of the equations that hold. A result is right when
    it is right to the digits shown, rounded or cut off: 10 / 3 = 3.33. Of a text that is not complete, an
    equation that runs into the cut is left out.
    """

    name = "arithmetic"

    def __init__(self, rates: ErrorRates | None = None) -> None:
        self._rates = rates

    @property
    def rates(self) -> ErrorRates | None:
        """None unless measured: right steps need not be the right way, and a slip need not matter."""
        return self._rates

    def verify(self, work: Work) -> Verdict:
        """Judge the equations in a text."""
        told = [
            equation for equation in computed(work.text, complete=work.complete) if equation.holds is not None
        ]
        if not told:
            return Verdict(None, "no equation between numbers")
        wrong = [equation for equation in told if not equation.holds]
        share = 1 - len(wrong) / len(told)
        if not wrong:
            return Verdict(True, f"{len(told)} of {len(told)} equations hold", share)
        shown = "; ".join(
            f"{equation.spelled}, but it is {_shown(equation.value)}" for equation in wrong[:SHOWN_WRONG]
        )
        return Verdict(False, f"{len(wrong)} of {len(told)} equations do not hold: {shown}", share)


def computed(text: str, *, complete: bool = True) -> list[Computed]:
    """Find the equations of a text, and compute each again.

    Where the text itself corrects one, computing the same left side again and rightly, only that counts.
    """
    rounded: dict[Fraction, Fraction] = {}
    found: list[Computed] = []
    rights: dict[str, int] = {}  # where a left side was last computed rightly
    for equation in find_equations(text):
        if not complete and equation.last:
            continue
        holds, value = _judge(equation, rounded)
        if holds:
            rights[_left(equation.spelled)] = len(found)
        found.append(Computed(equation.spelled, holds, value))
    return [
        one
        for at, one in enumerate(found)
        if one.holds is not False or rights.get(_left(one.spelled), -1) < at
    ]


def _left(spelled: str) -> str:
    return spelled.partition("=")[0]


def _judge(equation: Equation, rounded: dict[Fraction, Fraction]) -> tuple[bool | None, Fraction | None]:
    """Whether it holds in any way that it can be read; what the left side comes to in the first of them.

    `rounded` learns what results were before they were rounded, so that 10 / 3 = 3.33 and
    3.33 * 3 = 10 both hold.
    """
    first: Fraction | None = None
    for left in (equation.left, *([equation.otherwise] if equation.otherwise else [])):
        for reading in _readings(equation, rounded):
            try:
                value, right = evaluate(left, reading), evaluate(equation.right, reading)
            except Unreadable:
                continue
            first = value if first is None else first
            if _agree(value, right, equation, reading):
                if (shown := literal(equation.right)) and value != right:
                    rounded[shown.value] = value
                return True, value
    if first is None or equation.doubted or _converts(equation) or _is_made_whole(equation, first):
        return None, first
    return False, first


def _readings(equation: Equation, rounded: dict[Fraction, Fraction]) -> Iterator[Reading]:
    percent = _has_percent(equation)
    units = {
        unit for side in (equation.left, equation.right) for number in numbers(side) for unit in number.units
    }
    dozens = not units.isdisjoint(("dozen", "dozens", "hundred", "hundreds"))
    for exact in (rounded, {}) if rounded else ({},):
        for mixed in (True, False):
            for twelve in (False, True)[: 1 + dozens]:
                yield Reading("hundredth", twelve, mixed, exact)
                if percent:
                    yield Reading("plain", twelve, mixed, exact)
                    yield Reading("relative", twelve, mixed, exact)


def _agree(left: Fraction, right: Fraction, equation: Equation, reading: Reading) -> bool:
    if _close(left, right, equation):
        return True
    if equation.percent and not _has_percent(equation) and _close(left * 100, right, equation):
        return True  # Percentage: 3 / 4 = 75
    if equation.running:
        try:
            return _close(left, evaluate(first_operand(equation.right), reading), equation)
        except Unreadable:
            return False
    return False


def _has_percent(equation: Equation) -> bool:
    return any(number.percent for side in (equation.left, equation.right) for number in numbers(side))


def _close(left: Fraction, right: Fraction, equation: Equation) -> bool:
    """Whether they are equal to the digits shown."""
    difference = abs(left - right)
    if difference == 0:
        return True
    for side in (equation.left, equation.right):
        shown = literal(side)
        if shown is None:
            continue
        places = shown.places + 2 * shown.percent
        if places and difference < Fraction(1, 10 ** min(places, FLOAT_PLACES)):
            return True
        if equation.about and difference < _last_digit(shown.value):
            return True
        if equation.whole and not places and difference < 1:
            return True
    return equation.about and difference <= ROUGH_SHARE * abs(left)


def _last_digit(value: Fraction) -> int:
    """What one of the last digit that is not a zero is worth, in a whole number: 100 in 1300."""
    size = abs(int(value))
    worth = 1
    while size and size % (worth * 10) == 0:
        worth *= 10
    return worth


def _converts(equation: Equation) -> bool:
    """Whether units of one kind are mixed, so that the numbers alone say nothing: 30 min + 30 min = 1 hour."""
    left, right = _units(equation.left), _units(equation.right)
    if left.isdisjoint(_CENTS) != right.isdisjoint(_CENTS):
        return True  # a price without a unit may be in dollars
    return any(
        len({dimension[unit] for unit in (left | right) & dimension.keys()}) > 1 for dimension in _DIMENSIONS
    )


def _units(side: Node) -> set[str]:
    return {
        unit if unit in ("inches", "feet") else unit.removesuffix("s")
        for number in numbers(side)
        for unit in number.units
    }


def _is_made_whole(equation: Equation, value: Fraction) -> bool:
    """Whether a whole number beside the exact one is given: 7 / 2 = 3 may be meant, or be a slip."""
    shown = literal(equation.right)
    whole = shown is not None and not shown.places and shown.value.denominator == 1
    return shown is not None and whole and value.denominator != 1 and abs(value - shown.value) < 1


def _shown(value: Fraction | None) -> str:
    if value is None:
        return "something else"
    if value.denominator == 1 and abs(value) < 10**15:
        return str(value.numerator)
    try:
        return f"{float(value):.6g}"
    except OverflowError:
        return "too large to show"
