"""Compute expressions exactly, each in the ways it can be meant; knows no spelling and no equal signs.

Numbers are fractions. Exponents and sizes are bounded, so that no expression takes long.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

MAX_BITS = 2_048
"""Largest numerator or denominator on the way; more than that is left uncomputed."""
MAX_EXPONENT = 64


class Unreadable(Exception):  # no error of anybody: the caller turns to the next place
    """What stands there is no arithmetic, or more of it than is computed."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number as written, with the units said of it."""

    value: Fraction
    places: int = 0
    percent: bool = False
    units: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """Two sides and one of + - * / ^, or "&" for a mixed number such as 2 1/2."""

    sign: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Negation:
    """What comes after a minus sign."""

    inner: Node


Node = Number | Operation | Negation


@dataclass(frozen=True, slots=True)
class Reading:
    """One way of taking what can be taken in several ways.

    `percent`: "hundredth" (25% is 0.25), "plain" (25% is 25; never inside a product), or "relative"
    (80 + 25% is 100). `dozens`: a dozen counts twelve, not one. `mixed`: 2 1/2 is a sum, not a product.
    `rounded`: what written values were before they were rounded.
    """

    percent: Literal["hundredth", "plain", "relative"] = "hundredth"
    dozens: bool = False
    mixed: bool = True
    rounded: Mapping[Fraction, Fraction] = field(default_factory=dict)


def evaluate(node: Node, reading: Reading) -> Fraction:
    """Compute exactly. Errors: Unreadable for a division by zero or sizes out of bounds."""
    if isinstance(node, Number):
        return _number(node, reading)
    if isinstance(node, Negation):
        return -evaluate(node.inner, reading)
    left = evaluate(node.left, reading)
    if node.sign in "+-" and reading.percent == "relative" and is_percent(node.right):
        share = evaluate(node.right, reading)
        return _bounded(left * (1 + share if node.sign == "+" else 1 - share))
    if (
        node.sign in "*/^"
        and reading.percent == "plain"
        and (is_percent(node.left) or is_percent(node.right))
    ):
        raise Unreadable
    return _apply(node.sign, left, evaluate(node.right, reading), reading)


def numbers(node: Node) -> Iterator[Number]:
    """Every number in it, from left to right."""
    if isinstance(node, Number):
        yield node
    elif isinstance(node, Negation):
        yield from numbers(node.inner)
    else:
        yield from numbers(node.left)
        yield from numbers(node.right)


def literal(node: Node) -> Number | None:
    """The number where the expression is nothing but one number."""
    while isinstance(node, Negation):
        node = node.inner
    return node if isinstance(node, Number) else None


def first_operand(node: Node) -> Node:
    """What the expression begins with: 8 of 8 * 2 + 1."""
    while isinstance(node, Operation) and node.sign != "&":
        node = node.left
    return node


def is_percent(node: Node) -> bool:
    """Whether it is one number with a percent sign."""
    number = literal(node)
    return number is not None and number.percent


_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_DOZENS = {"dozen": 12, "dozens": 12, "hundred": 100, "hundreds": 100}


def _number(number: Number, reading: Reading) -> Fraction:
    value = reading.rounded.get(number.value, number.value)
    if number.percent and reading.percent != "plain":
        value /= 100
    words = [unit for unit in number.units if unit.isalpha()]  # no currency
    for unit in words[:1]:
        value *= _SCALES.get(unit, 1) * (_DOZENS.get(unit, 1) if reading.dozens else 1)
    return value


def _apply(sign: str, left: Fraction, right: Fraction, reading: Reading) -> Fraction:
    if sign == "+" or (sign == "&" and reading.mixed):
        return _bounded(left + right)
    if sign == "-":
        return _bounded(left - right)
    if sign in "*&":
        return _bounded(left * right)
    if sign == "/" and right != 0:
        return _bounded(left / right)
    if sign == "^" and right.denominator == 1 and abs(right) <= MAX_EXPONENT and (left or right > 0):
        bits = left.numerator.bit_length() + left.denominator.bit_length()
        if bits * abs(right) <= MAX_BITS:
            return left ** int(right)
    raise Unreadable


def _bounded(value: Fraction) -> Fraction:
    if value.numerator.bit_length() > MAX_BITS or value.denominator.bit_length() > MAX_BITS:
        raise Unreadable
    return value
