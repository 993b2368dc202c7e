"""Read the visible examples of a question as checks of the program that is asked for; runs none of them."""

from __future__ import annotations

import ast
import builtins
import re
import warnings
from collections.abc import Iterator
from contextlib import nullcontext

from edgetts.selection.verification.code import defined_in, prompt_in

MAX_EXAMPLES = 50
MAX_EXAMPLE_CHARS = 2_000

_PROMPT = re.compile(r"^[ \t]*>>>[ \t]?(.*)$")
_MORE = re.compile(r"^[ \t]*\.\.\.[ \t]?(.*)$")
_GIVES = re.compile(
    r"[ \t`]*(?:={2,3}>?|=>|[-=\u2013\u2014]{1,3}>|\u279e|\u2794|\u2192|\u21d2|\u27f6|\u279c|=|#[ \t]*(?:=>|->)?"
    r"|,?[ \t]*(?:should|must|will|would)?[ \t]*(?:returns?|gives?|equals?|be|is|evaluates?[ \t]to|outputs?)\b:?)"
    r"[ \t`]*(?:returns?[ \t]+|should[ \t]return[ \t]+)?"
)
_CALL = re.compile(r"(?<![\w.])([^\W\d]\w{0,100})\(")
_SCALAR = re.compile(r"[-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?j?(?![\w(])|(?:[Tt]rue|[Ff]alse|None)\b")
_NOTATION = ("==", "➞", "->", "=>", "→")
"""What stands between a call and its value where the question defines no function by which calls are known."""


def examples_in(question: str) -> list[str]:
    """Return the examples of a question as checks: "f(2) == 4", in the order given.

    Read are doctests (">>> f(2)" with "4" on the next line, or ">>> f(2) == 4"), calls with what they give
    ("f(2) ➞ 4", "f(2) -> 4", "f(2) = 4", "f(2) returns 4", "f(2) # 4") and lines that are an assert. What
    a doctest assigns before a call stands before its check. Only values that are Python literals count,
    and of calls without an assert, those of a function that the question defines, if it defines one.
    """
    names = set(defined_in(prompt_in(question)))
    lines = question.splitlines()
    found: list[str] = []
    at = 0
    while at < len(lines) and len(found) < MAX_EXAMPLES:
        if _PROMPT.match(lines[at]):
            at = _doctests(lines, at, found)
            continue
        line = lines[at].strip()
        at += 1
        if len(line) > MAX_EXAMPLE_CHARS or re.match(r"(?:async )?(?:def|class)\b", line):
            continue
        if re.match(r"assert\b", line):
            if _parses(line):
                found.append(line)
        else:
            found.extend(_calls(line, names))
    return list(dict.fromkeys(found))[:MAX_EXAMPLES]


def _doctests(lines: list[str], at: int, found: list[str]) -> int:
    """Read a run of doctest lines; return the place behind it."""
    setup: list[str] = []
    while at < len(lines) and (opening := _PROMPT.match(lines[at])):
        source = [opening[1]]
        at += 1
        while at < len(lines) and (more := _MORE.match(lines[at])):
            source.append(more[1])
            at += 1
        shown: list[str] = []
        while at < len(lines) and lines[at].strip() and not _PROMPT.match(lines[at]) and not _ends(lines[at]):
            shown.append(lines[at].strip())
            at += 1
        code = "\n".join(source).strip()
        if check := _doctest(code, shown):
            before = "\n".join(setup)
            found.append(f"{before}\nassert {check}" if setup else check)
        elif not shown and _parses(code) and not _is_expression(code):
            setup.append(code)
    return at


def _ends(line: str) -> bool:
    return line.strip().startswith(('"""', "'''"))


def _doctest(code: str, shown: list[str]) -> str | None:
    """One doctest as a check; None for a statement, or for an output that is no literal."""
    if not _is_expression(code):
        return None
    if not shown:
        return code if re.search(r"[^=<>!]==[^=]", code) else None
    value = " ".join(shown).strip().removesuffix('"""').removesuffix("'''").strip()
    for candidate in (value, shown[0]):
        if _is_literal(candidate):
            return f"({code}) == {candidate}" if "==" in code else f"{code} == {candidate}"
    return None


def _calls(line: str, names: set[str]) -> Iterator[str]:
    """Every call of a line that is said to give a literal."""
    at = 0
    while call := _CALL.search(line, at):
        at = call.end()
        end = _closing(line, call.end() - 1)
        gives = _GIVES.match(line, end) if end else None
        if end is None or gives is None:
            continue
        known = call[1] in names if names else any(sign in gives[0] for sign in _NOTATION)
        value = _literal_at(line, gives.end()) if known else None
        source = line[call.start() : end]
        if value is not None and _names_in(source) <= {call[1], *names, *dir(builtins)}:
            yield f"{source} == {value}"
            at = gives.end() + len(value)


def _literal_at(line: str, at: int) -> str | None:
    """The literal that begins at a place, whatever comes behind it."""
    scalar = None
    if line[at : at + 1] in ("(", "[", "{"):
        end = _closing(line, at)
    elif line[at : at + 1] in ("'", '"'):
        end = _quoted(line, at)
    else:
        scalar = _SCALAR.match(line, at)
        end = scalar.end() if scalar else None
    if end is None:
        return None
    value = line[at:end]
    value = value.removesuffix(".").replace("true", "True").replace("false", "False") if scalar else value
    operator = re.match(r"[ \t]*(?:[*/%+]|-(?!>)|==)", line[end:])
    return value if _is_literal(value) and not operator else None


def _closing(line: str, at: int) -> int | None:
    """The place behind the bracket that closes the one at `at`, passing over strings."""
    open_brackets: list[str] = []
    while at < len(line):
        sign = line[at]
        if sign in "'\"":
            end = _quoted(line, at)
            if end is None:
                return None
            at = end
            continue
        if sign in "([{":
            open_brackets.append(sign)
        elif sign in ")]}":
            if not open_brackets or open_brackets.pop() + sign not in ("()", "[]", "{}"):
                return None
            if not open_brackets:
                return at + 1
        at += 1
    return None


def _quoted(line: str, at: int) -> int | None:
    match = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"").match(line, at)
    return match.end() if match else None


def _is_literal(text: str) -> bool:
    tree = _tree(text, "eval")
    if not isinstance(tree, ast.Expression):
        return False
    try:
        ast.literal_eval(tree)
    except (ValueError, TypeError, MemoryError, RecursionError):
        return False
    return True


def _names_in(source: str) -> set[str]:
    """The names that an expression uses; a blank one where it is no expression."""
    tree = _tree(source, "eval")
    return {""} if tree is None else {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _is_expression(text: str) -> bool:
    return _tree(text, "eval") is not None


def _parses(text: str) -> bool:
    return _tree(text, "exec") is not None


def _tree(text: str, mode: str) -> ast.AST | None:
    """Parse what is not too long; None where it is no Python."""
    if not 0 < len(text) <= MAX_EXAMPLE_CHARS:
        return None
    # Filters of warnings belong to the whole process, so they are set aside only where a "\d" may warn.
    quiet = warnings.catch_warnings() if "\\" in text else nullcontext()
    try:
        with quiet:
            if "\\" in text:
                warnings.simplefilter("ignore")
            return ast.parse(text, mode=mode)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
