"""Write expressions in one form, with sympy; reads no text but through a closed grammar, and runs none.

Trees come from `expressions` and are built node by node, so that nothing of a model is ever evaluated as
Python. Sympy adds, multiplies and raises to powers, which is bounded: powers of numbers by their digits,
expansion by its terms. Functions are atoms to it but for a table of plain values: sympy given
nested functions of numbers can take for ever. There is no `simplify`: whether two expressions are
equal is decided by their `values`.
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
MAX_SURD_POWER = 32
"""Largest power of a sum of roots, such as 1 + sqrt(2), and largest number beside a variable in an exponent."""
MAX_PARTS = 12
"""Functions are worked out at fractions, and parts of pi, of at most this denominator."""
MAX_FACTORIAL = 170
MAX_TERMS = 128
"""Terms that multiplying out may make; an expression of more is left as it is spelled."""
_OF_ANGLES = ("sin", "cos", "tan", "cot", "sec", "csc")
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
    """A printer whose imaginary unit cannot be taken for a variable."""
    plain = import_module("sympy.printing.str").StrPrinter
    return type("Printer", (plain,), {"_print_ImaginaryUnit": lambda self, _: "i"})({"order": "lex"})


def _written(raw: str) -> str | None:
    """Read and write once; None for no expression, no value, or one that passes a bound."""
    term = read_expression(raw)
    if term is None:
        return None
    try:
        built = _built(term)
        for expression in (_multiplied_out(built), built):
            form = _spelled(expression)
            if len(form) <= MAX_ANSWER_CHARS:
                return form
    except (_UnboundedError, RecursionError, ArithmeticError, ValueError):  # the last: too many digits
        return None
    return None


def _built(term: Term) -> Any:
    """Build the sympy expression of a tree, refusing what sympy would work out at length."""
    sympy = _sympy()
    if term.op == "number":
        value = Fraction(term.value)
        return sympy.Rational(value.numerator, value.denominator)
    if term.op == "constant" and term.value == "i":
        return sympy.I
    if term.op in ("variable", "constant"):
        return sympy.Symbol(str(term.value))
    args = [_built(arg) for arg in term.args]
    if term.op == "+":
        return args[0] + args[1]
    if term.op == "*":
        return args[0] * args[1]
    if term.op == "-":
        return -args[0]
    if term.op == "/":
        return args[0] / args[1]
    if term.op == "^":
        return _power(*args)
    if term.op == "sqrt":
        return _power(args[0], sympy.Rational(1, 2))
    if term.op == "exp":
        return _power(sympy.Symbol("e"), args[0])
    return _applied(term.op, args[0])


def _multiplied_out(expression: Any) -> Any:
    if _terms(expression) > MAX_TERMS:
        return expression
    return _sympy().expand(expression, power_base=False, power_exp=False, log=False, basic=False)


def _spelled(expression: Any) -> str:
    sympy = _sympy()
    if expression.has(sympy.nan, sympy.zoo, sympy.oo, -sympy.oo):
        raise _UnboundedError
    if expression.is_Rational:
        number = canonical_number(f"{expression.p}/{expression.q}")
        if number is None:
            raise _UnboundedError
        return number
    return str(_printer().doprint(expression)).replace("**", "^")


def _atom(spelling: str) -> Any:
    """Something that algebra takes as it is spelled: what sympy knows of functions takes it any time."""
    if len(spelling) > MAX_ANSWER_CHARS:
        raise _UnboundedError
    return _sympy().Symbol(spelling)


def _power(base: Any, exponent: Any) -> Any:
    """Raise it where that is plain and small: a name to any power, the rest to fractions; else it is an atom."""
    exponent = _multiplied_out(exponent)
    size = _largest(exponent)
    if exponent.is_Rational:
        small = size * _largest(base).bit_length() <= MAX_POWER_BITS
        whole = exponent.is_Integer and (size <= MAX_SURD_POWER or not base.is_number)
        if base.is_Symbol or (small and (base.is_Rational or whole or not base.is_number)):
            return base**exponent
    elif base.is_Symbol or (base.is_Rational and base > 0 and size <= MAX_SURD_POWER):
        return base**exponent
    return _atom(f"(({_spelled(base)})^({_spelled(exponent)}))")


def _largest(expression: Any) -> int:
    """The largest whole number in an expression."""
    return max((max(abs(n.p), n.q) for n in expression.atoms() if n.is_Rational), default=1)


def _applied(function: str, argument: Any) -> Any:
    """Apply a function where its value is a plain one, as at parts of pi; else it is an atom."""
    sympy = _sympy()
    e, pi = sympy.Symbol("e"), sympy.Symbol("pi")
    value = None
    if function == "factorial" and argument.is_number:
        if not (argument.is_Integer and 0 <= argument <= MAX_FACTORIAL):
            raise _UnboundedError
        value = sympy.factorial(argument)
    elif function == "abs" and argument.is_Rational:
        value = abs(argument)
    elif function == "log" and argument.as_base_exp()[0] == e and argument.as_base_exp()[1].is_Rational:
        value = argument.as_base_exp()[1]
    elif function in _OF_ANGLES and _is_simple(argument / pi):
        value = getattr(sympy, function)(argument / pi * sympy.pi)
    elif function in FUNCTIONS and function != "factorial" and _is_simple(argument):
        value = getattr(sympy, function)(argument)
    if value is not None:
        if value.has(sympy.zoo, sympy.nan, sympy.oo):
            raise _UnboundedError
        value = value.subs(sympy.pi, pi)
        if not value.atoms(sympy.Function):
            return value
    return _atom(f"{function}({_spelled(argument)})")


def _is_simple(number: Any) -> bool:
    return bool(number.is_Rational and number.q <= MAX_PARTS and abs(number.p) <= MAX_PARTS**2)


def _terms(expression: Any) -> int:
    """Bound the terms of an expression multiplied out."""
    if expression.is_Pow and expression.exp.is_Rational:
        below, times = _terms(expression.base), math.ceil(abs(expression.exp))
        if below == 1:
            return 1
        return math.comb(below + times - 1, times) if times <= MAX_TERMS else MAX_TERMS + 1
    below_each = [_terms(arg) for arg in expression.args]
    return math.prod(below_each) if expression.is_Mul else max(1, sum(below_each))
