"""Read tokens as an expression, by a grammar of our own; knows no sentences and no equal signs."""

from __future__ import annotations

from collections.abc import Sequence

from edgetts.selection.verification.expressions import (
    Negation,
    Node,
    Number,
    Operation,
    Unreadable,
    literal,
)
from edgetts.selection.verification.notation import Token
from edgetts.selection.verification.words import NO_UNITS, PROSE

MAX_DEPTH = 32
MAX_UNIT_WORDS = 5


def parse(tokens: Sequence[Token], start: int, end: int) -> tuple[Node, int]:
    """Read the longest expression from `start`, before `end`; return it and the place behind it.

    Errors: Unreadable.
    """
    parser = _Parser(tokens, start, end)
    return parser.sum(0), parser.at


_NOTHING = Token("end", "")


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
                if name in NO_UNITS or len(found) == MAX_UNIT_WORDS:
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
