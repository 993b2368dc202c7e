"""Read a mathematical expression, LaTeX or plain, into a tree; knows no algebra, and evaluates nothing.

The grammar is closed: numbers, single letters (with subscripts) and Greek names, + - * / ^ ! | |,
fractions, roots and the functions of `FUNCTIONS`. Nothing else passes, and what passes is bounded in
length, depth, variables and digits, so that algebra on it is bounded, too. Text of a model is never
given to a parser that could evaluate it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from edgetts.selection.answers.spelling import MAX_ANSWER_CHARS, caret_powers, unwrap_latex

MAX_DEPTH = 30
MAX_TOKENS = 200
MAX_VARIABLES = 8
MAX_DIGITS = 60

FUNCTIONS = {
    "sqrt", "exp", "log", "sin", "cos", "tan", "cot", "sec", "csc", "asin", "acos", "atan",
    "sinh", "cosh", "tanh", "abs", "factorial",
}  # fmt: skip
_ALIASES = {"ln": "log", "arcsin": "asin", "arccos": "acos", "arctan": "atan"}
_INVERSES = {"sin": "asin", "cos": "acos", "tan": "atan"}
GREEK = {
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu",
    "xi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega",
}  # fmt: skip
_GREEK_SIGNS = dict(zip("\u03b1\u03b2\u03b3\u03b4\u03b5\u03b8\u03bb\u03bc\u03bd\u03be\u03c1\u03c3\u03c4\u03c6\u03c7\u03c8\u03c9", (
    "alpha", "beta", "gamma", "delta", "epsilon", "theta", "lambda", "mu", "nu", "xi", "rho", "sigma", "tau",
    "phi", "chi", "psi", "omega"), strict=True))  # fmt: skip
_CONSTANTS = {"pi": "pi", "e": "e", "i": "i"}
_SIGNS = {
    "\\cdot": "*", "\\times": "*", "\\div": "/", "\u00d7": "*", "\u00b7": "*", "\u22c5": "*", "\u00f7": "/",
    "\u2212": "-", "\u2013": "-", "\u03c0": "pi", "\u221a": "sqrt", "**": "^", "\\lvert": "|", "\\rvert": "|",
}  # fmt: skip
_CLEANING = re.compile(r"\\(?:left|right|displaystyle|quad|qquad|limits)(?![A-Za-z])|\\[()\[\];:, !]|\$|`|~")
_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d{1,3}(?![\w.]))?|\.\d+)|(?P<name>\\?[A-Za-z]+|[\u03b1-\u03c9\u221a])"
    r"|(?P<sign>\*\*|[-+*/^!|(){}\[\],=_\u00d7\u00b7\u22c5\u00f7\u2212\u2013]))"
)


@dataclass(frozen=True, slots=True)
class Term:
    """A node: "number" (value a Fraction), "variable" or "constant" (value its name), or an operation.

    Operations: "+", "*", "/", "^" of two, "-" and each of `FUNCTIONS` of one.
    """

    op: str
    args: tuple[Term, ...] = ()
    value: Fraction | str = ""


class _NotReadError(Exception):
    """The text is no expression of the grammar, or passes a bound."""


def read_expression(raw: str) -> Term | None:
    """Read an expression; None where it is none.

    Of "y = ..." and of a sum that is worked out, the right side counts; any other equation is no
    expression. log and ln are both the natural logarithm, e and i the constants, and 1/2x is x/2.
    """
    if len(raw) > MAX_ANSWER_CHARS:
        return None
    text = raw.strip().rstrip(".;,").strip()
    if text.startswith("**") and text.endswith("**") and len(text) > 4:
        text = text[2:-2]
    text = _CLEANING.sub(" ", unwrap_latex(caret_powers(text)))
    text = re.sub(r"(\\[dtc]?frac)\s*(\d)\s*(\d)", r"\1{\2}{\3}", text)  # \frac12 is one half
    try:
        tokens = _tokens(re.sub(r"(?<=\d)(?:,|\{,\})(?=\d{3}(?!\d))", "", text))
        for side in (sides := _sides(tokens))[:-1]:
            if not side or (not _is_name(side) and any(kind == "name" for kind, _ in side)):
                return None
        reader = _Reader(sides[-1])
        term = reader.sum(0)
        return term if reader.done and len(reader.variables) <= MAX_VARIABLES else None
    except (_NotReadError, ZeroDivisionError):
        return None


def variables_of(term: Term) -> set[str]:
    """Return the names of its variables."""
    if term.op == "variable":
        return {str(term.value)}
    return {name for arg in term.args for name in variables_of(arg)}


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    at = 0
    text = text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if not match or len(tokens) >= MAX_TOKENS or len(match["number"] or "") > MAX_DIGITS:
            raise _NotReadError
        kind = match.lastgroup or ""
        # "x y" is a product; "for x in y" is a sentence.
        beside = tokens and tokens[-1][0] == "name" and match.start(kind) > at
        if kind == "name" and beside and (_is_word(match[kind]) or _is_word(tokens[-1][1])):
            raise _NotReadError
        at = match.end()
        token = _SIGNS.get(match[kind], match[kind])
        if token in ("pi", "sqrt"):
            kind = "name"
        elif kind == "name" and token in tuple("*/-|"):
            kind = "sign"
        tokens += [(kind, token)]
    return tokens


def _is_word(token: str) -> bool:
    """Whether it is several letters that name nothing: a product, or a word."""
    name = token.lower()
    return name.isalpha() and len(name) > 1 and name not in FUNCTIONS | GREEK | {*_ALIASES, "pi"}


def _sides(tokens: list[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    sides: list[list[tuple[str, str]]] = [[]]
    for token in tokens:
        if token == ("sign", "="):
            sides.append([])
        else:
            sides[-1].append(token)
    return sides


def _is_name(side: list[tuple[str, str]]) -> bool:
    """Whether a left side names what the right side is: y, f(x), x_1, dy/dx."""
    spelled = " ".join(token for _, token in side)
    name = r"\\?[A-Za-z]+(?: _(?: \w{1,4}| \{ \w{1,4} \}))?(?: \( [A-Za-z] \))?|d[a-z] / d[a-z]"
    return re.fullmatch(name, spelled) is not None


class _Reader:
    """A descent over the tokens. One rule a precedence; every rule counts its depth."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens = tokens
        self._at = 0
        self.variables: set[str] = set()

    @property
    def done(self) -> bool:
        return self._at == len(self._tokens)

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._at] if not self.done else ("end", "")

    def _take(self, *signs: str) -> str:
        """Take one of these signs where it comes next."""
        kind, token = self._peek()
        if kind != "sign" or token not in signs:
            return ""
        self._at += 1
        return token

    def _need(self, sign: str) -> None:
        if not self._take(sign):
            raise _NotReadError

    def sum(self, depth: int) -> Term:
        if depth > MAX_DEPTH:
            raise _NotReadError
        term = self._product(depth + 1)
        while sign := self._take("+", "-"):
            right = self._product(depth + 1)
            term = Term("+", (term, Term("-", (right,)) if sign == "-" else right))
        return term

    def _product(self, depth: int, inside_function: bool = False) -> Term:
        term = self._signed(depth)
        while True:
            if not inside_function and (sign := self._take("*", "/")):
                term = Term(sign, (term, self._signed(depth)))
            elif self._starts_factor() and not (inside_function and self._starts_function()):
                term = Term("*", (term, self._power(depth)))
            else:
                return term

    def _starts_factor(self) -> bool:
        """Whether a factor follows without a sign; a number after a factor is a misreading of something."""
        kind, token = self._peek()
        return kind == "name" or (kind == "sign" and token in tuple("({["))

    def _starts_function(self) -> bool:
        name = self._peek()[1].lstrip("\\").lower()
        return _ALIASES.get(name, name) in FUNCTIONS

    def _signed(self, depth: int) -> Term:
        if depth > MAX_DEPTH:
            raise _NotReadError
        if sign := self._take("+", "-"):
            inner = self._signed(depth + 1)
            return Term("-", (inner,)) if sign == "-" else inner
        return self._power(depth)

    def _power(self, depth: int) -> Term:
        base = self._postfix(depth)
        if self._take("^"):
            return Term("^", (base, self._signed(depth + 1)))
        return base

    def _postfix(self, depth: int) -> Term:
        term = self._atom(depth)
        while self._take("!"):
            term = Term("factorial", (term,))
        return term

    def _atom(self, depth: int) -> Term:
        kind, token = self._peek()
        self._at += 1
        if kind == "number":
            return Term("number", value=Fraction(token))
        if kind == "name":
            return self._named(token, depth)
        pairs = {"(": ")", "{": "}", "[": "]", "|": "|"}
        if kind != "sign" or token not in pairs:
            raise _NotReadError
        inner = self.sum(depth + 1)
        self._need(pairs[token])
        return Term("abs", (inner,)) if pairs[token] == token else inner

    def _named(self, token: str, depth: int) -> Term:
        name = _GREEK_SIGNS.get(token, token.lstrip("\\"))
        if name in ("frac", "dfrac", "tfrac", "cfrac") and token.startswith("\\"):
            return Term("/", (self._argument(depth), self._argument(depth)))
        known = _ALIASES.get(name.lower(), name.lower())
        if known in FUNCTIONS:
            return self._function(known, depth)
        if name in _CONSTANTS:
            return Term("constant", value=_CONSTANTS[name])
        if len(name) == 1 or name.lower() in GREEK:
            return self._variable(name)
        if token.startswith("\\") or len(name) > 3:
            raise _NotReadError
        # xy is x times y; what follows belongs to the y.
        self._at -= 1
        self._tokens[self._at : self._at + 1] = [("name", letter) for letter in name]
        first = self._atom(depth)
        while len(name) > 1:
            name = name[1:]
            if len(name) > 1:
                first = Term("*", (first, self._atom(depth)))
            else:
                first = Term("*", (first, self._power(depth)))
        return first

    def _variable(self, name: str) -> Term:
        if self._take("_"):
            braced = self._take("{")
            kind, token = self._peek()
            if kind not in ("number", "name") or not token.isalnum() or len(token) > 4:
                raise _NotReadError
            self._at += 1
            if braced:
                self._need("}")
            name = f"{name}_{token}"
        self.variables.add(name)
        return Term("variable", value=name)

    def _function(self, name: str, depth: int) -> Term:
        base = degree = power = None
        if name == "log" and self._take("_"):
            base = self._argument(depth)
        if name == "sqrt" and self._take("["):
            degree = self.sum(depth + 1)
            self._need("]")
        if self._take("^"):
            power = self._argument(depth)
        minus_one = Term("-", (Term("number", value=Fraction(1)),))
        if power == minus_one and name in _INVERSES:
            name, power = _INVERSES[name], None
        argument = self._argument(depth, of_function=name != "sqrt")
        term = Term(name, (argument,))
        if degree is not None:
            term = Term("^", (argument, Term("/", (Term("number", value=Fraction(1)), degree))))
        if base is not None:
            term = Term("/", (term, Term("log", (base,))))
        return Term("^", (term, power)) if power is not None else term

    def _argument(self, depth: int, of_function: bool = False) -> Term:
        """What a command or function applies to: a group, else one factor, or for sin 2x all of 2x."""
        if depth > MAX_DEPTH:
            raise _NotReadError
        for opening, closing in (("{", "}"), ("(", ")"), ("[", "]")):
            if self._take(opening):
                inner = self.sum(depth + 1)
                self._need(closing)
                return inner
        return self._product(depth + 1, inside_function=True) if of_function else self._signed(depth + 1)
