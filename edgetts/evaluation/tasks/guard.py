"""Keep a model's text from being run by a scorer that evaluates it. Knows a small grammar, and no task.

Some scorers of reasoning-gym give an answer to Python's eval, or to sympy's parser, which evaluates too:
`exec("...")` in a model's text would run. What passes here is written with numbers, names, arithmetic,
lists and plain strings; it calls functions of mathematics alone, and it reaches for no attribute.
"""

from __future__ import annotations

import inspect
import keyword
import re

LONGEST_ANSWER = 10_000
"""Characters that any scorer is given."""
MOST_POWER = 100
"""What the exponents of parentheses, which nest, may multiply to."""

_EVALUATES = re.compile(r"\b(?:eval|exec|parse_expr|sympify|parse_latex|lambdify)\(")
_FUNCTIONS = frozenset(
    {
        "abs",
        "Abs",
        "sin",
        "cos",
        "tan",
        "cot",
        "sec",
        "csc",
        "asin",
        "acos",
        "atan",
        "exp",
        "log",
        "ln",
        "sqrt",
    }
)
_POWER = r"\*\*(?=\s*(?:\d{1,2}(?![\d.])|\(\s*-?\d{1,2}(?:\s*/\s*\d{1,2})?\s*\)|[A-Za-z]\w*\b(?!\s*\())(?!\s*\*\*))"
_DIGITS = re.compile(r"[\s(-]*(\d+)")
_TOKEN = re.compile(
    rf"""
    (?P<space>\s+)
    | (?P<number>\d{{1,300}}(?:\.\d{{0,300}})?(?![\w.]))
    | (?P<name>[A-Za-z][A-Za-z0-9]*(?![\w.])|_(?![\w.]))
    | (?P<power>{_POWER})
    | (?P<string>'[^'\\\n]{{0,200}}'|"[^"\\\n]{{0,200}}")
    | (?P<sign>[-+/,]|\*(?!\*))
    | (?P<open>[(\[])
    | (?P<close>[)\]])
    """,
    re.VERBOSE,
)


def evaluates(scorer: object) -> bool:
    """Whether a function's source evaluates text, as far as reading it tells; True where it cannot be read."""
    try:
        return _EVALUATES.search(inspect.getsource(scorer)) is not None  # type: ignore[arg-type]  # caught
    except (OSError, TypeError):
        return True


def harmless(answer: str) -> bool:
    """Whether evaluating an answer can do nothing but a bounded amount of arithmetic."""
    if len(answer) > LONGEST_ANSWER:
        return False
    at, powers = 0, 1
    before, word = "", ""
    seen: set[str] = set()
    calls: list[bool] = []  # of the parentheses that are open, whether each is a function's
    while at < len(answer):
        token = _TOKEN.match(answer, at)
        if token is None:
            return False
        at, kind = token.end(), str(token.lastgroup)
        if kind == "space":
            continue
        if kind == "open":
            # Neither a call of a value, nor a part of one, nor a call of another function.
            if before in ("close", "string") or (
                before == "name" and (token[0] == "[" or word not in _FUNCTIONS)
            ):
                return False
            if before == "name" and word == "exp" and any(calls):  # sin(exp(10**9)) has no end
                return False
            calls.append(before == "name")
        elif kind == "close":
            calls = calls[:-1]
        elif kind == "name":
            word = token[0]
            if before == "string" or (keyword.iskeyword(word) and word not in ("True", "False", "None")):
                return False
        elif kind == "string" and before in ("name", "string"):  # a prefix such as f, or a second part of one
            return False
        elif kind == "power" and before == "close" and (exponent := _DIGITS.match(answer, at)):
            powers *= max(1, int(exponent[1]))
        seen |= {kind, token[0]}
        before = kind
    repeats = "*" in seen and bool(seen & {"string", "[", ","})  # ('a', 'b') * 10 ** 9
    return powers <= MOST_POWER and not repeats
