"""Write expressions in one form, with sympy; reads no text but through a closed grammar, and runs none.

Trees come from `expressions` and are built node by node, so that nothing of a model is ever evaluated as
Python. Every step is bounded: powers of numbers by their digits, expansion by its terms. There is no
open-ended `simplify`: whether two expressions are equal is decided by their `values`.
"""

from __future__ import annotations

import functools
import importlib.util
import math
import re
from fractions import Fraction
from importlib import import_module
from threading import Lock
from typing import Any

from edgetts.errors import MissingExtra
from edgetts.selection.answers.expressions import FUNCTIONS, GREEK, Term, read_expression
from edgetts.selection.answers.numbers import canonical_number
from edgetts.selection.answers.spelling import MAX_ANSWER_CHARS

MAX_POWER_BITS = 2_048
"""Largest power of a number that is worked out."""
MAX_FACTORIAL = 170
MAX_TERMS = 128
"""Terms that multiplying out may make; an expression of more is left as it is spelled."""
_PASSES = 4
"""A form that still changes when it is read again so many times is none."""
_ALONE = Lock()
"""sympy's caches and precision belong to the process: one thread at a time."""


class _UnboundedError(Exception):
    """The expression has no value, or working it out would take too long."""


def has_algebra() -> bool:
    """Whether sympy is installed; does not load it."""
    return importlib.util.find_spec("sympy") is not None


@functools.lru_cache(maxsize=512)
def canonical_expression(raw: str) -> str | None:
    """Write an expression multiplied out, in sympy's order of terms; None where it is none.

    A number is written as numbers are: "1/2 + 1/4" is "0.75". Equal expressions can have different
    forms (x/(x+1) and 1 - 1/(x+1)), which is why `classes` compares values, too.
    Errors: MissingExtra where sympy is not installed.
    """
    form = raw
    for _ in range(_PASSES):
        with _ALONE:
            written = _written(form)
        if written is None or written == form:
            return written
        form = written
    return None


def plain_expression(raw: str) -> str | None:
    """Write what is unmistakably an expression in one form, where sympy is there to do it; else None.

    Unmistakable: it holds a variable, a constant or a function, and an operator beside; words and
    hyphens of ordinary text do not pass.
    """
    spelled = re.sub(r"\\[A-Za-z]+", " ", raw)
    words = [w for w in re.findall(r"[A-Za-z]{2,}", spelled) if w.lower() not in FUNCTIONS | GREEK | {"pi"}]
    marked = re.search(r"[-+*/^=\u221a\u00b2\u00b3\u2212]|\\[a-z]+|\d\s?[a-z]|pi|[a-z]\(", raw)
    hyphened = re.fullmatch(r"\s*[A-Za-z](?:-[A-Za-z])+\s*", raw)
    lettered = re.search(r"[A-Za-z\u03b1-\u03c9\u221a]", raw)
    if words or not marked or hyphened or not lettered or not has_algebra():
        return None
    return canonical_expression(raw)


def _sympy() -> Any:
    try:
        return import_module("sympy")
    except ImportError as error:
        raise MissingExtra("sympy", "math") from error


@functools.cache
def _printer() -> Any:
    """A printer whose constants cannot be taken for variables."""
    plain = import_module("sympy.printing.str").StrPrinter
    spelled = {"_print_Exp1": lambda self, _: "e", "_print_ImaginaryUnit": lambda self, _: "i"}
    return type("Printer", (plain,), spelled)({"order": "lex"})


def _written(raw: str) -> str | None:
    """Read and write once; None for no expression, no value, or one that passes a bound."""
    term = read_expression(raw)
    if term is None:
        return None
    sympy = _sympy()
    try:
        built = expanded = _built(term)
        if _terms(term) <= MAX_TERMS:
            expanded = sympy.expand(built, power_base=False, power_exp=False, log=False, basic=False)
        for expression in (expanded, built):
            if expression.has(sympy.nan, sympy.zoo, sympy.oo, -sympy.oo):
                return None
            if expression.is_Rational:
                return canonical_number(f"{expression.p}/{expression.q}")
            form = str(_printer().doprint(expression)).replace("**", "^")
            if len(form) <= MAX_ANSWER_CHARS:
                return form
    except (_UnboundedError, RecursionError, ZeroDivisionError, OverflowError):
        return None
    return None


def _built(term: Term) -> Any:
    """Build the sympy expression of a tree, refusing what sympy would work out at length."""
    sympy = _sympy()
    args = [_built(arg) for arg in term.args]
    if term.op == "number":
        value = Fraction(term.value)
        return sympy.Rational(value.numerator, value.denominator)
    if term.op == "variable":
        return sympy.Symbol(str(term.value))
    if term.op == "constant":
        return {"pi": sympy.pi, "e": sympy.E, "i": sympy.I}[str(term.value)]
    if term.op == "+":
        return args[0] + args[1]
    if term.op == "*":
        return args[0] * args[1]
    if term.op == "-":
        return -args[0]
    if term.op == "/":
        return args[0] / args[1]
    if term.op == "^":
        _check_power(*args)
        return args[0] ** args[1]
    if term.op == "factorial":
        if args[0].is_number and not (args[0].is_Integer and 0 <= args[0] <= MAX_FACTORIAL):
            raise _UnboundedError
        return sympy.factorial(args[0])
    if term.op == "sqrt":
        return sympy.sqrt(args[0])
    return getattr(sympy, "Abs" if term.op == "abs" else term.op)(args[0])


def _check_power(base: Any, exponent: Any) -> None:
    """Refuse a power that has too many digits, or that multiplies out into too many of them."""
    if not exponent.is_Rational:
        return
    size = max(abs(exponent.p), 1)
    bits = max((max(abs(n.p), n.q).bit_length() for n in base.atoms() if n.is_Rational), default=1)
    if size * bits > MAX_POWER_BITS:
        raise _UnboundedError
    if base.is_Add and base.is_number and size > 64:  # (1 + sqrt(2))^1000 multiplies out when it is expanded
        raise _UnboundedError


def _terms(term: Term) -> int:
    """Bound the terms of an expression multiplied out, those inside its functions included."""
    below = [_terms(arg) for arg in term.args]
    if term.op == "^":
        exponent = _whole(term.args[1])
        if exponent is None:
            return below[0] + below[1]
        if below[0] == 1:
            return 1
        return math.comb(below[0] + exponent - 1, exponent) if exponent <= MAX_TERMS else MAX_TERMS + 1
    if term.op in ("*", "/"):
        return below[0] * below[1]
    return max(1, sum(below))


def _whole(term: Term) -> int | None:
    if term.op == "-":
        return _whole(term.args[0])
    value = term.value
    return int(value) if isinstance(value, Fraction) and value.denominator == 1 else None
