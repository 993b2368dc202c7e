"""Compute again what a text says it computed; knows neither the question nor whether the steps are the right ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from edgetts.selection.verification.equations import Equation, find_equations
from edgetts.selection.verification.expressions import (
    Node,
    Number,
    Reading,
    Unreadable,
    evaluate,
    first_operand,
    literal,
    numbers,
)
from edgetts.selection.verification.measures import converts
from edgetts.selection.verification.verifier import ErrorRates, Verdict, Work

ROUGH_SHARE = Fraction(1, 100)
"""How far, as a share of the value, what is said to be roughly equal may be off."""
FLOAT_PLACES = 12
"""Digits behind these are taken for the noise of a computer's floats."""
FLOAT_NOISE = Fraction(1, 10**9)
"""How far what is computed with such a number may be off, as a share of the value."""
SHOWN_WRONG = 3


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
    if (
        first is None
        or equation.doubted
        or converts(_units(equation.left), _units(equation.right))
        or _is_made_whole(equation, first)
    ):
        return None, first
    return False, first


def _readings(equation: Equation, rounded: dict[Fraction, Fraction]) -> Iterator[Reading]:
    percent = _has_percent(equation)
    units = _units(equation.left) | _units(equation.right)
    dozens = not units.isdisjoint(("dozen", "dozens", "hundred", "hundreds"))
    for exact in (rounded, {}) if rounded else ({},):
        for mixed in (True, False):
            for twelve in (False, True)[: 1 + dozens]:
                yield Reading("hundredth", twelve, mixed, exact)
                if percent:
                    yield Reading("plain", twelve, mixed, exact)
                    yield Reading("relative", twelve, mixed, exact)


def _agree(left: Fraction, right: Fraction, equation: Equation, reading: Reading) -> bool:
    if _close(left, right, equation, reading):
        return True
    if equation.percent and not _has_percent(equation) and _close(left * 100, right, equation, reading):
        return True  # Percentage: 3 / 4 = 75
    if equation.running:
        try:
            return _close(left, evaluate(first_operand(equation.right), reading), equation, reading)
        except Unreadable:
            return False
    return False


def _has_percent(equation: Equation) -> bool:
    return any(number.percent for side in (equation.left, equation.right) for number in numbers(side))


def _close(left: Fraction, right: Fraction, equation: Equation, reading: Reading) -> bool:
    """Whether they are equal to the digits shown."""
    difference = abs(left - right)
    if difference == 0:
        return True
    for side in (equation.left, equation.right):
        shown = literal(side)
        if shown is None:
            continue
        one = evaluate(Number(Fraction(1), 0, shown.percent, shown.units), replace(reading, rounded={}))
        digit = one / 10 ** min(shown.places, FLOAT_PLACES)  # what one of the last digit shown is worth
        if (shown.places or one < 1) and difference < digit:
            return True
        if equation.about and not shown.places and difference < one * _last_digit(shown.value):
            return True
        if equation.whole and not shown.places and difference < 1:
            return True
    if any(
        number.places >= FLOAT_PLACES for side in (equation.left, equation.right) for number in numbers(side)
    ):
        return difference <= FLOAT_NOISE * max(Fraction(1), abs(left))
    return equation.about and difference <= ROUGH_SHARE * abs(left)


def _last_digit(value: Fraction) -> int:
    """What one of the last digit that is not a zero is worth, in a whole number: 100 in 1300."""
    size = abs(int(value))
    worth = 1
    while size and size % (worth * 10) == 0:
        worth *= 10
    return worth


def _units(side: Node) -> set[str]:
    return {unit for number in numbers(side) for unit in number.units}


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
