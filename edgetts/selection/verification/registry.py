"""Make verifiers from what a person writes on a command line: "arithmetic", "regex:PATTERN", "tests:FILE.py"."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from pathlib import Path

from edgetts.errors import InvalidInput
from edgetts.near_miss import near_miss
from edgetts.selection.verification.verifier import EXACT, ErrorRates, Verifier

MAX_FILE_BYTES = 1 << 20
ARITHMETIC_RATES = ErrorRates(0.96, 0.53, "measured on 1,292 answers of a 0.5B model to gsm_symbolic")
"""Of texts that have equations to check; other models and tasks differ (benchmarks/votes.py measures by --verify)."""
EXAMPLES_RATES = ErrorRates(0.976, 0.068, "measured on 969 programs of a 0.5B model for HumanEval")
"""Of questions that show examples (benchmarks/humaneval.py)."""


def make_verifier(spec: str, *, unconfined: bool = False) -> Verifier:
    r"""Make the verifier of a name, or of several names joined by "+", all of which must pass.

    arithmetic: equations hold. regex:PATTERN: it matches. schema:FILE.json: the text's JSON is allowed.
    tests:FILE.py: the text's program passes the file's asserts and test functions. examples: it agrees
    with the question's own examples. program: the stated answer is what the text's program gives.
    A "+" inside a pattern stays in it, unless another verifier's name follows.
    unconfined: run programs even where this machine cannot confine them.
    Errors: InvalidInput for an unknown name, a bad pattern, or a file that cannot be read; MissingExtra for a schema
    without jsonschema; Unsupported where programs cannot be confined.
    """
    parts = re.split(rf"\+(?=\s*(?:{'|'.join(_NAMES)})\s*(?:[:+]|$))", spec)
    verifiers = [_one(part.strip(), unconfined) for part in parts]
    if len(verifiers) == 1:
        return verifiers[0]
    from edgetts.selection.verification.compose import AllOf

    return AllOf(verifiers)


def _one(spec: str, unconfined: bool) -> Verifier:
    name, colon, argument = spec.partition(":")
    name = name.strip()
    if name not in _NAMES:
        forms = f"There are: {', '.join(_FORMS[n] for n in _NAMES)}."
        raise InvalidInput(f"There is no verifier {name!r}.", hint=near_miss(name, _NAMES, forms))
    if (name in _ARGUMENTS) != bool(argument):
        if name in _ARGUMENTS:
            raise InvalidInput(
                f"The verifier {name!r} lacks what to check by.", hint=f"Write {_FORMS[name]}."
            )
        if colon:
            raise InvalidInput(f"The verifier {name!r} takes nothing behind a colon, but has {argument!r}.")
    return _MAKERS[name](argument, unconfined)


def _arithmetic(_argument: str, _unconfined: bool) -> Verifier:
    from edgetts.selection.verification.arithmetic import ArithmeticVerifier

    return ArithmeticVerifier(ARITHMETIC_RATES)


def _regex(argument: str, _unconfined: bool) -> Verifier:
    from edgetts.selection.verification.pattern import PatternVerifier

    return PatternVerifier(argument, rates=EXACT)


def _schema(argument: str, _unconfined: bool) -> Verifier:
    from edgetts.selection.verification.schema import SchemaVerifier

    source = _contents(argument, "JSON Schema")
    try:
        schema = json.loads(source)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{argument} is no JSON: {error}.") from error
    return SchemaVerifier(schema, rates=EXACT)


def _tests(argument: str, unconfined: bool) -> Verifier:
    from edgetts.selection.verification.python import TestsVerifier, sandboxed

    return TestsVerifier(
        checks_of(_contents(argument, "Python"), argument),
        run=sandboxed(unconfined=unconfined),
        rates=EXACT,
    )


def _examples(_argument: str, unconfined: bool) -> Verifier:
    from edgetts.selection.verification.python import ExamplesVerifier, sandboxed

    return ExamplesVerifier(run=sandboxed(unconfined=unconfined), rates=EXAMPLES_RATES)


def _program(_argument: str, unconfined: bool) -> Verifier:
    from edgetts.selection.verification.program import ProgramVerifier, sandboxed

    return ProgramVerifier(run=sandboxed(unconfined=unconfined))


_MAKERS: dict[str, Callable[[str, bool], Verifier]] = {
    "arithmetic": _arithmetic,
    "regex": _regex,
    "schema": _schema,
    "tests": _tests,
    "examples": _examples,
    "program": _program,
}
_NAMES = tuple(_MAKERS)
_ARGUMENTS = {"regex": "PATTERN", "schema": "FILE.json", "tests": "FILE.py"}
_FORMS = {name: f"{name}:{_ARGUMENTS[name]}" if name in _ARGUMENTS else name for name in _NAMES}


def checks_of(source: str, name: str = "The file") -> list[str]:
    """Split a file of tests into checks: each assert or call at its top, each function `test_...`.

    Imports and everything else stand before the first check behind them, and so before all later ones.
    Errors: InvalidInput for what is no Python, or has no check.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InvalidInput(f"{name} is no Python: {error}.") from error
    checks: list[str] = []
    setup = ""
    for statement in tree.body:
        text = ast.unparse(statement) + "\n"
        tests = isinstance(statement, ast.FunctionDef) and statement.name.startswith("test_")
        if isinstance(statement, ast.FunctionDef) and tests:
            checks.append(f"{setup}{text}{statement.name}()\n")
        elif isinstance(statement, ast.Assert) or (
            isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)
        ):
            checks.append(setup + text)
        else:
            setup += text
            continue
        setup = ""
    if not checks:
        raise InvalidInput(
            f"{name} has no checks.", hint="Write asserts, or functions whose names begin with test_."
        )
    return checks


def _contents(path: str, kind: str) -> str:
    try:
        content = Path(path).expanduser().read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidInput(f"The {kind} file {path!r} cannot be read: {reason}.") from error
    if len(content) > MAX_FILE_BYTES:
        raise InvalidInput(f"The {kind} file {path!r} has {len(content)} bytes, more than {MAX_FILE_BYTES}.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"The {kind} file {path!r} is not UTF-8 text.") from error
