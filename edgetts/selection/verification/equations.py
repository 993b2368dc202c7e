"""Find the equations between numbers in a text, and take each side as an expression; judges none of them.

Both sides must be read whole. Where a side holds a variable, a word that changes its value, or anything not
known, there is no equation here: missing one costs little, and misreading one would call right work wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgetts.selection.verification.expressions import Node, Unreadable, literal
from edgetts.selection.verification.grammar import parse
from edgetts.selection.verification.notation import Token, tokens_of
from edgetts.selection.verification.words import APPROXIMATELY, CHANGING, COUNTS, LABELS, PROSE, SUMS

SEARCHED_CHARS = 32_768
"""Equations are looked for in this many last characters of a text, so that no input takes long."""
MAX_CLAUSE_TOKENS = 400
SENTENCE_TOKENS = 60
"""How far around an equation its sentence is read."""
DOUBTING_TOKENS = 8
"""How far behind an equation a word that takes it back is looked for."""


@dataclass(frozen=True, slots=True)
class Equation:
    """Two sides that a text says are equal; `spelled` is how, with one space between tokens.

    `otherwise`: the left side with a minus before it that may be the bullet of a list.
    `about`: it says so roughly. `whole`: whole numbers or remainders are spoken of around it.
    `percent`: percents are. `running`: the right side goes on to another equal sign, as in 5 + 3 = 8 * 2 = 16.
    `last`: nothing comes after it. `doubted`: the text may take it back.
    """

    left: Node
    right: Node
    spelled: str
    otherwise: Node | None = None
    about: bool = False
    whole: bool = False
    percent: bool = False
    running: bool = False
    last: bool = False
    doubted: bool = False


def find_equations(text: str) -> list[Equation]:
    """Return them in the order of the text; in a long text, those of its last `SEARCHED_CHARS` characters."""
    if len(text) > SEARCHED_CHARS:
        text = text[-SEARCHED_CHARS:]
        text = text[text.find("\n") + 1 :]
    tokens = tokens_of(text)
    return [
        equation for start, end in _clauses(tokens) for equation in _Clause(tokens, start, end).equations()
    ]


_ROUNDED = re.compile(r"approx\w*|round\w*|roughly|nearest|estimat\w*")
_WHOLE = re.compile(r"whole|floor|ceil\w*|truncat\w*|remainder|leftover|left|remaining|integer|full|complete")
_DOUBT = re.compile(
    r"(?i)not|\w*n['\u2019]t|wrong|incorrect|mistaken?|false|wait|impossible|contradict\w*|error|however|but|binary|octal|hex\w*|mod|modulo"
)
_LEADING = APPROXIMATELY | {"exactly", "only", "just"}


def _clauses(tokens: Sequence[Token]) -> Iterator[tuple[int, int]]:
    """The stretches without an end in them that hold an equal sign."""
    start = 0
    for at in range(len(tokens) + 1):
        if at == len(tokens) or tokens[at].kind == "end":
            if at - start <= MAX_CLAUSE_TOKENS and any(_equates(token) for token in tokens[start:at]):
                yield start, at
            start = at + 1


def _equates(token: Token) -> bool:
    return token.kind in ("equals", "about")


class _Clause:
    """A stretch of tokens from `start` to `end`, and the equations in it."""

    def __init__(self, tokens: Sequence[Token], start: int, end: int) -> None:
        self.tokens, self.start, self.end = tokens, start, end

    def equations(self) -> Iterator[Equation]:
        signs = [at for at in range(self.start, self.end) if _equates(self.tokens[at])]
        bounds = [self.start - 1, *signs, self.end]
        words = self.sentence()
        rounded, whole = (any(pattern.fullmatch(word) for word in words) for pattern in (_ROUNDED, _WHOLE))
        for before, sign, after in zip(bounds, signs, bounds[2:], strict=False):
            left, right = self.left(before + 1, sign), self.right(sign + 1, after)
            if left is None or right is None or (literal(left[0]) and literal(right[0])):
                continue  # 60 minutes = 1 hour, or 3 apples = 6 dollars: nothing is computed
            behind = right[1]
            yield Equation(
                left=left[0],
                right=right[0],
                spelled=" ".join(token.text for token in self.tokens[left[1] : behind] if token.text),
                otherwise=self.with_bullet(left[1], sign),
                about=self.tokens[sign].kind == "about" or right[2] or rounded,
                whole=whole,
                percent=any("%" in word or word.startswith("percent") for word in words),
                running=after != self.end,
                last=all(token.kind == "end" for token in self.tokens[behind : behind + 4]),
                doubted=any(
                    _DOUBT.fullmatch(token.text) for token in self.tokens[behind : behind + DOUBTING_TOKENS]
                ),
            )

    def sentence(self) -> list[str]:
        """The words around in lower case, to the next hard end on both sides."""
        first, last = self.start, self.end
        while first > max(0, self.start - SENTENCE_TOKENS) and self.tokens[first - 1].text != ".":
            first -= 1
        limit = min(len(self.tokens), self.end + SENTENCE_TOKENS)
        while last < limit and self.tokens[last].text != ".":
            last += 1
        return [token.text.lower() for token in self.tokens[first:last]]

    def left(self, start: int, end: int) -> tuple[Node, int] | None:
        """The expression that ends before the equal sign, and where it begins."""
        for at in range(start + self.bullet(start), end):
            if self.may_open(at, start) and (parsed := self.parsed(at, end)) and parsed[1] == end:
                node = parsed[0]
                return (node, at) if self.may_stand(at, start, alone=literal(node) is not None) else None
        return None

    def right(self, start: int, end: int) -> tuple[Node, int, bool] | None:
        """The expression behind the equal sign, the place behind it, and whether it is said to be rough."""
        at = start
        while at < end and self.tokens[at].text.lower() in _LEADING:
            at += 1
        parsed = self.parsed(at, end)
        if parsed is None or not (parsed[1] == end or self.may_end(parsed[1])):
            return None
        about = any(token.text.lower() in APPROXIMATELY for token in self.tokens[start:at])
        return parsed[0], parsed[1], about

    def with_bullet(self, first: int, end: int) -> Node | None:
        """The left side with the minus before it, where it is taken for a bullet."""
        if first != self.start + 1 or not self.bullet(self.start):
            return None
        parsed = self.parsed(self.start, end)
        return parsed[0] if parsed and parsed[1] == end else None

    def bullet(self, start: int) -> bool:
        """Whether a clause begins here with a minus and a space."""
        if start != self.start or start + 1 >= self.end:
            return False
        return self.tokens[start].text == "-" and not self.tokens[start + 1].glued

    def parsed(self, at: int, end: int) -> tuple[Node, int] | None:
        try:
            return parse(self.tokens, at, end)
        except Unreadable:
            return None

    def may_open(self, at: int, start: int) -> bool:
        """Whether an expression can begin here, and not inside of a larger one that was not readable."""
        token, before = self.tokens[at], self.tokens[at - 1] if at > start else None
        if token.kind == "operator":
            return token.text in "+-" and (before is None or before.kind == "open")
        if token.kind not in ("number", "open", "fraction"):
            return False
        return before is None or before.kind != "operator" or self.bullet(at - 1)

    def may_stand(self, at: int, start: int, *, alone: bool) -> bool:
        """Whether nothing before the expression changes what it means."""
        if at == start or self.bullet(at - 1):
            return start != self.start or self.may_begin_clause(alone=alone)
        before = self.tokens[at - 1]
        name = before.text.lower()
        if before.kind == "of":
            name = self.tokens[at - 2].text.lower() if at - 2 >= start else ""
            return name in SUMS and not alone
        if before.kind == "word":
            variable = (len(name) == 1 and name != "i") or "_" in name
            return not (alone or variable or name in CHANGING or name in LABELS)
        return before.kind == "open" and not alone

    def may_begin_clause(self, *, alone: bool) -> bool:
        """Not behind a comma after a number: the mean of 3, 4, 5 + 1 = ..."""
        if self.start == 0 or self.tokens[self.start - 1].text != ",":
            return True
        if alone:
            return False
        at = self.start - 2
        if at < 0 or self.tokens[at].kind not in ("number", "percent", "close", "?"):
            return True
        while at >= max(0, self.start - SENTENCE_TOKENS) and self.tokens[at].kind != "end":
            if _equates(self.tokens[at]):
                return True
            at -= 1
        return False

    def may_end(self, at: int) -> bool:
        """Whether what follows does not change what the expression means."""
        token = self.tokens[at]
        following = self.tokens[at + 1] if at + 1 < len(self.tokens) else Token("end", ".")
        opens = following.kind in ("number", "open", "fraction", "operator", "?")
        if token.kind == "word" and token.text.lower() == "and":  # seven and a half
            return not opens and following.text.lower() not in COUNTS
        if token.kind in ("open", "of"):
            return not opens
        return token.kind == "close" or (token.kind == "word" and token.text.lower() in PROSE)
