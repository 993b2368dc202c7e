"""Run checks where the program they check has no say, and report each. Knows the program's text only to see
what it imports: that text never runs here.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import os
import sys
from functools import partial

from edgetts.sandbox.child.asking import Asking, ProgramGoneError
from edgetts.sandbox.child.link import Link

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType
    from typing import Any

_MESSAGE = 300


def judge(request: dict[str, Any], report: Callable[..., None]) -> None:
    """Report for each check whether it passed; does not return."""
    asking = Asking(Link(request["receiving"], request["sending"]))
    asking.begin()
    checks = Checks(asking, request["program"], request["names"])
    for number, text in enumerate(request["checks"]):
        passed, reason = checks.run(text)
        report(check=number, passed=passed, reason=reason)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)


class Checks:
    """Checks that share a namespace, in which the program's names are remote objects or copies of data."""

    def __init__(self, asking: Asking, program: str, names: list[str] | None) -> None:
        self._asking = asking
        self._names = None if names is None else frozenset(names)
        self._imports = {} if asking.broken() else _imports(program)
        self._namespace: dict[str, Any] = {"__name__": "checks", "__builtins__": builtins}
        self._fetched: dict[str, Any] = {}

    def run(self, text: str) -> tuple[bool, str]:
        """Return whether a check passed, and if not, why."""
        if self._asking.broken():
            return False, self._asking.broken()[:_MESSAGE]
        try:
            code, is_expression = _compiled(text)
            self._fetch(set(_names(code)))
            value = eval(code, self._namespace)  # noqa: S307 - what this process is for
            passed, reason = (bool(value), "it is false") if is_expression else (True, "")
        except ProgramGoneError as error:
            passed, reason = False, str(error)
        except BaseException as error:  # noqa: BLE001 - a check that raises anything has failed
            passed, reason = False, _reason(error, text)
        if self._asking.broken():
            # Whatever the check made of it.
            passed, reason = False, self._asking.broken()
        return passed, "" if passed else reason[:_MESSAGE]

    def _fetch(self, wanted: set[str]) -> None:
        """Bind the names that a check mentions, unless a check before it bound them itself."""
        asked = []
        for name in sorted(wanted):
            bound = name in self._namespace and self._namespace[name] is not self._fetched.get(name, _NOTHING)
            if bound:
                continue
            if self._names is not None and name in self._names:
                asked.append(name)
            elif not hasattr(builtins, name):
                if name in self._imports:
                    self._namespace[name] = self._fetched[name] = self._imports[name]()
                elif self._names is None:
                    asked.append(name)
        if asked:
            found = self._asking.ask("globals", asked)
            if type(found) is not dict:
                return
            for name in asked:
                self._namespace.pop(name, None)
                if name in found:
                    self._namespace[name] = self._fetched[name] = found[name]


_NOTHING = object()


def _compiled(text: str) -> tuple[CodeType, bool]:
    try:
        return compile(text.strip(), "<check>", "eval", dont_inherit=True), True
    except SyntaxError:
        return compile(text.strip(), "<check>", "exec", dont_inherit=True), False


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, type(code)):
            yield from _names(constant)


def _imports(program: str) -> dict[str, Callable[[], Any]]:
    """Return how to make the names that a program only imports, and only from the standard library.

    They are imported here: so a program cannot put something else in their place.
    """
    tree = ast.parse(program)
    found: dict[str, Callable[[], Any]] = {}
    for statement in tree.body:
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                root = alias.name.partition(".")[0]
                if root in sys.stdlib_module_names:
                    whole = partial(importlib.import_module, alias.name)
                    found[alias.asname or root] = whole if alias.asname else partial(_root, alias.name)
        elif isinstance(statement, ast.ImportFrom) and not statement.level:
            module = statement.module or ""
            if module.partition(".")[0] not in sys.stdlib_module_names:
                continue
            for alias in statement.names:
                for name in _exported(module) if alias.name == "*" else [alias.name]:
                    found[alias.asname or name] = partial(_attribute, module, name)
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.pop(node.name, None)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            found.pop(node.id, None)
    return found


def _root(name: str) -> Any:
    importlib.import_module(name)
    return sys.modules[name.partition(".")[0]]


def _attribute(module: str, name: str) -> Any:
    found = importlib.import_module(module)
    return getattr(found, name) if hasattr(found, name) else importlib.import_module(f"{module}.{name}")


def _exported(module: str) -> list[str]:
    found = importlib.import_module(module)
    return list(getattr(found, "__all__", [name for name in vars(found) if not name.startswith("_")]))


def _reason(error: BaseException, text: str) -> str:
    """Return the error, and the line of the check that it came from."""
    try:
        message = str(error)
    except BaseException:  # noqa: BLE001 - an object of the program may be printed here
        message = ""
    said = f"{type(error).__name__}: {message}".rstrip(": ")
    trace, line = error.__traceback__, 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<check>":
            line = trace.tb_lineno
        trace = trace.tb_next
    lines = text.strip().splitlines()
    return f"{said} in: {lines[line - 1].strip()}" if 0 < line <= len(lines) else said
