"""Decide which expressions have the same values, with mpmath; knows no algebra.

A value is computed from the tree, node by node, with every operand bounded, so that no function has to
take long, and twice, with few and with many digits, so that it is known how many of them are good.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from fractions import Fraction
from importlib import import_module
from threading import Lock
from typing import Any, TypeAlias

from edgetts.errors import MissingExtra
from edgetts.selection.answers.expressions import FUNCTIONS, Term, read_expression, variables_of

POINTS = 5
"""Places at which two expressions must have the same value."""
_DIGITS = (50, 100)
"""Values are computed with both numbers of digits: their difference tells how many of them are good."""
_MAX_LOG = 5_000.0
"""Natural logarithm of the largest value; beyond it an expression is taken to have none."""
_MAX_ARGUMENT = 2_000
_MAX_FACTORIAL = 170
_ALONE = Lock()
"""mpmath's contexts change their precision while they compute: one thread at a time."""

_Value: TypeAlias = "tuple[Any, Any] | None"
"""With few and with many digits; None where there is none, or it would take too long."""


class _NoValueError(Exception):
    pass


def same_expressions(forms: Sequence[str]) -> list[list[int]]:
    """Group canonical expressions (or numbers) by value; return the indices of each group, in order.

    Two are the same where they agree at `POINTS` random real places, positive and negative, as closely
    as their precision tells. For polynomials that is the test of "Fast Probabilistic Algorithms for
    Verification of Polynomial Identities", which is wrong next to never; it is carried over to functions.
    The places are the same in every run. Functions take their principal branch, so that the root of x^2 is |x|,
    not x. What has no value at most places is the same only as its own spelling.
    """
    with _ALONE:
        values = [_values(form) for form in forms]
    groups: list[list[int]] = []
    for index, value in enumerate(values):
        joined = [group for group in groups if any(_agree(values[other], value) for other in group)]
        groups = [group for group in groups if group not in joined]
        groups.append(sorted([index, *(other for group in joined for other in group)]))
    return sorted(groups)


@functools.lru_cache(maxsize=512)
def _values(form: str) -> tuple[_Value, ...]:
    """Return the values of a form at every place, each with few and with many digits."""
    term = read_expression(form)
    if term is None:
        return ()
    names = variables_of(term)
    return tuple(_value(term, _places(names, point)) for point in range(POINTS))


def _value(term: Term, places: dict[str, Fraction]) -> _Value:
    try:
        few, many = (_valued(term, _context(digits), places) for digits in _DIGITS)
    except (_NoValueError, ValueError, ArithmeticError):
        return None
    return few, many


def _agree(one: tuple[_Value, ...], other: tuple[_Value, ...]) -> bool:
    known = [(a, b) for a, b in zip(one, other, strict=False) if a is not None and b is not None]
    if 2 * len(known) <= POINTS:
        return False
    for (few, many), (other_few, other_many) in known:
        lost = abs(few - many) + abs(other_few - other_many)
        if abs(many - other_many) > 10 * lost + max(abs(many), abs(other_many)) * 10 ** -(_DIGITS[0] - 10):
            return False
    return True


def _places(names: set[str], point: int) -> dict[str, Fraction]:
    """A value for each variable: the same for a name in every expression, whatever else is in it."""
    places = {}
    for name in names:
        chance = random.Random(f"{name} at {point}")  # noqa: S311  # not for secrets
        size = Fraction(chance.randrange(3 * 10**11, 2 * 10**12), 10**12)
        places[name] = -size if chance.random() < 0.4 else size
    return places


@functools.cache
def _context(digits: int) -> Any:
    try:
        context = import_module("mpmath").MPContext()
    except ImportError as error:
        raise MissingExtra("sympy", "math") from error
    context.dps = digits
    return context


def _valued(term: Term, mp: Any, places: dict[str, Fraction]) -> Any:
    """Evaluate a tree; every operand is bounded, so that no function has to take long."""
    args = [_valued(arg, mp, places) for arg in term.args]
    if term.op in ("number", "variable"):
        value = places[str(term.value)] if term.op == "variable" else Fraction(term.value)
        return mp.mpf(value.numerator) / value.denominator
    if term.op == "constant":
        return {"pi": +mp.pi, "e": +mp.e, "i": mp.mpc(0, 1)}[str(term.value)]
    first = args[0]
    if term.op == "+":
        value = first + args[1]
    elif term.op == "*":
        value = first * args[1]
    elif term.op == "-":
        value = -first
    elif term.op == "/":
        value = first / args[1]
    elif term.op == "^":
        value = _raised(first, args[1], mp)
    elif term.op == "factorial":
        value = mp.factorial(_within(first, _MAX_FACTORIAL))
    elif term.op == "abs":
        value = mp.mpf(abs(first))
    elif term.op in ("sqrt", "log"):
        value = getattr(mp, term.op)(first) if first or term.op == "sqrt" else _none()
    elif term.op in FUNCTIONS:
        value = getattr(mp, term.op)(_within(first, _MAX_ARGUMENT))
    else:
        raise _NoValueError
    return _sized(value, mp)


def _raised(base: Any, exponent: Any, mp: Any) -> Any:
    if base == 0:
        return mp.mpf(0) if mp.re(exponent) > 0 else _none()
    if abs(exponent) * max(1, abs(mp.log(base))) > _MAX_LOG:
        raise _NoValueError
    return mp.power(base, exponent)


def _within(value: Any, limit: int) -> Any:
    if abs(value) > limit:
        raise _NoValueError
    return value


def _sized(value: Any, mp: Any) -> Any:
    if not mp.isfinite(value) or (value and abs(mp.log(abs(value))) > 4 * _MAX_LOG):
        raise _NoValueError
    return value


def _none() -> Any:
    raise _NoValueError
