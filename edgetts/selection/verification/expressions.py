"""Read and compute arithmetic exactly, in a grammar of its own; knows no sentences and no equal signs.

Numbers are fractions. Lengths, depths, exponents and sizes are bounded, so that no input takes long.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

MAX_DEPTH = 32
MAX_BITS = 2_048
"""Largest numerator or denominator on the way; more than that is left uncomputed."""
MAX_EXPONENT = 64
MAX_UNIT_WORDS = 5

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


def parse(tokens: Sequence[Token], start: int, end: int) -> tuple[Node, int]:
    """Read the longest expression from `start`, before `end`; return it and the place behind it.

    Errors: Unreadable.
    """
    parser = _Parser(tokens, start, end)
    return parser.sum(0), parser.at


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
    for unit in number.units[:1]:
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


_NOTHING = Token("end", "")
_NO_UNITS = frozenset(
    [
        "more",
        "less",
        "fewer",
        "than",
        "half",
        "plus",
        "minus",
        "squared",
        "cubed",
        "factorial",
        "choose",
        "mod",
        "out",
        "twice",
        "times",
        "greater",
        "larger",
        "smaller",
        "bigger",
        "longer",
        "shorter",
        "older",
        "younger",
        "higher",
        "lower",
        "quarter",
        "quarters",
        "third",
        "thirds",
    ]
)
"""Words behind a number that change it, so that it is not read at all."""
PROSE = frozenset(
    [
        "and",
        "so",
        "then",
        "which",
        "that",
        "this",
        "is",
        "are",
        "was",
        "were",
        "will",
        "would",
        "therefore",
        "thus",
        "hence",
        "but",
        "or",
        "with",
        "for",
        "because",
        "since",
        "as",
        "if",
        "when",
        "while",
        "where",
        "we",
        "he",
        "she",
        "they",
        "it",
        "you",
        "i",
        "in",
        "on",
        "at",
        "to",
        "from",
        "by",
        "have",
        "has",
        "had",
        "the",
        "there",
        "means",
        "gives",
        "equals",
        "not",
        "now",
        "next",
        "after",
        "before",
        "into",
        "let",
        "using",
    ]
)
"""Words that no unit begins with or contains: there the number has ended."""


class _Parser:
    """Recursive descent over tokens. `at` is the place of the next one."""

    def __init__(self, tokens: Sequence[Token], start: int, end: int) -> None:
        self.tokens = tokens
        self.at = start
        self.end = end

    def peek(self, ahead: int = 0) -> Token:
        at = self.at + ahead
        return self.tokens[at] if at < self.end else _NOTHING

    def sum(self, depth: int) -> Node:
        left = self.product(depth)
        while (sign := self.sign("+-")) and self.operand_follows(1):
            self.at += 1
            left = Operation(sign, left, self.product(depth))
        return left

    def product(self, depth: int) -> Node:
        left = self.unary(depth)
        divided = False
        while True:
            if (sign := self.sign("*/")) and self.operand_follows(1):
                divided = divided or sign == "/"
                self.at += 1
            elif self.peek().kind == "of" and self.operand_follows(1) and _is_part(left):
                sign, self.at = "*", self.at + 1
            elif self.peek().kind == "open" and self.peek().glued:  # 2(3 + 4)
                if divided:
                    raise Unreadable  # 8 / 2(2 + 2) is read in two ways
                sign = "*"
            else:
                return left
            left = Operation(sign, left, self.unary(depth))

    def unary(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise Unreadable
        if sign := self.sign("+-"):
            self.at += 1
            inner = self.unary(depth + 1)
            return Negation(inner) if sign == "-" else inner
        return self.power(depth)

    def power(self, depth: int) -> Node:
        base = self.primary(depth)
        if self.sign("^"):
            self.at += 1
            return Operation("^", base, self.unary(depth + 1))
        return base

    def primary(self, depth: int) -> Node:
        token = self.peek()
        if token.kind == "number":
            self.at += 1
            return self.mixed(token, depth)
        if token.kind == "fraction":
            self.at += 1
            node: Node = Operation("/", self.group(depth), self.group(depth))
        else:
            node = self.group(depth)
        self.units()
        return node

    def group(self, depth: int) -> Node:
        if self.peek().kind != "open":
            raise Unreadable
        self.at += 1
        node = self.sum(depth + 1)
        if self.peek().kind != "close":
            raise Unreadable
        self.at += 1
        return node

    def mixed(self, token: Token, depth: int) -> Node:
        """A number with its percent sign and units, or a mixed one: 2 1/2, 2\\frac{1}{2}."""
        whole = Number(token.value)
        if not token.places and not token.units:
            if self.peek().kind == "fraction":
                return Operation("&", whole, self.primary(depth))
            top, slash, bottom = self.peek(), self.peek(1), self.peek(2)
            if top.kind == bottom.kind == "number" and slash.text == "/" and slash.glued and bottom.glued:
                self.at += 3
                part = Operation("/", Number(top.value), Number(bottom.value, units=self.units()))
                return Operation("&", whole, part)
        percent = self.peek().kind == "percent"
        self.at += percent
        return Number(token.value, token.places, percent, token.units + self.units())

    def units(self) -> tuple[str, ...]:
        """The words behind a number, such as "miles per hour" or "/day", or "(apples)"."""
        found: list[str] = []
        while True:
            token, following = self.peek(), self.peek(1)
            slashed = token.text == "/" and following.kind == "word"
            name = (following if slashed else token).text.lower()
            if slashed or (token.kind == "word" and name not in PROSE):
                if name in _NO_UNITS or len(found) == MAX_UNIT_WORDS:
                    raise Unreadable
                if len(name) == 1 and name != "a" and not slashed:  # a variable
                    raise Unreadable
                found.append(name)
                self.at += 2 if slashed else 1
                if self.sign("^") and self.peek(1).kind == "number":  # cm^2
                    self.at += 2
            elif token.kind == "of" and following.kind == "word" and following.text.lower() not in PROSE:
                self.at += 1  # boxes of apples
            elif token.kind == "open" and (words := self.comment()):
                self.at += words
            else:
                return tuple(found)

    def comment(self) -> int:
        """How many tokens a parenthesis of words alone has; 0 where it holds anything else."""
        size = 1
        while self.peek(size).kind == "word" and len(self.peek(size).text) > 1:
            size += 1
        return size + 1 if size > 1 and self.peek(size).kind == "close" else 0

    def sign(self, signs: str) -> str:
        token = self.peek()
        return token.text if token.kind == "operator" and token.text in signs else ""

    def operand_follows(self, ahead: int) -> bool:
        token = self.peek(ahead)
        if token.kind == "operator" and token.text in "+-":
            token = self.peek(ahead + 1)
        return token.kind in ("number", "open", "fraction")


def _is_part(node: Node) -> bool:
    """Whether "of" behind it multiplies: 25% of 80, 3/4 of 80, 0.25 of 80."""
    number = literal(node)
    if number is None:
        return isinstance(node, Operation) and node.sign == "/"
    return number.percent or 0 < number.value < 1
