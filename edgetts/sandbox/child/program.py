"""Run a program, and say how it ended, or answer calls of what it defines."""

from __future__ import annotations

import atexit
import os
import sys

from edgetts.sandbox.child import plain
from edgetts.sandbox.child.answering import Answers
from edgetts.sandbox.child.link import BrokenLinkError, Link

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Report = Callable[..., None]

_SPARE = 1 << 20
"""Bytes kept back, to report with when the program has used up the rest."""
_MESSAGE = 1000


def run(request: dict[str, Any], report: Report) -> None:
    """Run the program as the main module, and evaluate an expression in it; does not return."""
    spare = bytearray(_SPARE)
    namespace = _namespace("__main__")
    ended = _execute(request["program"], namespace)
    value = ""
    if ended["outcome"] == "finished" and request["expression"]:
        try:
            code = compile(request["expression"], "<result>", "eval", dont_inherit=True)
            value = plain.dumps(eval(code, namespace)).decode()  # noqa: S307 - what this process is for
            if len(value) > request["value_bytes"]:
                raise plain.NotPlainError("the value is too large")
        except BaseException as error:  # noqa: BLE001 - an expression may raise anything
            ended, value = _raised(error), ""
    if ended["outcome"] == "memory":
        namespace.clear()
    del spare
    _finish(ended)
    report(**ended, value=value)
    os._exit(ended["exit_code"])


def serve(request: dict[str, Any], report: Report) -> None:
    """Run the program as a module, and answer calls of what it defines until nobody asks; does not return."""
    link = Link(request["receiving"], request["sending"])
    namespace = _namespace("program")
    ended = _execute(request["program"], namespace)
    try:
        if ended["outcome"] != "finished":
            link.send(plain.dumps(["ended", f"the program ended early: {ended['error']}"]))
        else:
            link.send(plain.dumps(["ready"]))
            Answers(link, namespace).serve()
    except BrokenLinkError:
        pass
    _finish(ended)
    report(**ended, value="")
    os._exit(ended["exit_code"])


def _namespace(name: str) -> dict[str, Any]:
    module = type(sys)(name)
    # dataclasses, pickle and others look a class's module up here.
    sys.modules[name] = module
    return module.__dict__


def _execute(program: str, namespace: dict[str, Any]) -> dict[str, Any]:
    try:
        exec(compile(program, "<program>", "exec", dont_inherit=True), namespace)  # noqa: S102
    except SystemExit as stop:
        return _exited(stop.code)
    except BaseException as error:  # noqa: BLE001 - a program may raise anything
        return _raised(error)
    return {"outcome": "finished", "error": "", "exit_code": 0}


def _raised(error: BaseException) -> dict[str, Any]:
    kind = type(error)
    trace = error.__traceback__
    if trace is not None:
        # The frame of this module is no part of the program.
        error.__traceback__ = trace.tb_next
    try:
        sys.excepthook(kind, error, error.__traceback__)
        message = f"{kind.__name__}: {error}"[:_MESSAGE]
    except BaseException:  # noqa: BLE001 - what prints an error may be the program's too
        message = "an error that cannot be printed"
    outcome = "memory" if issubclass(kind, MemoryError) else "raised"
    return {"outcome": outcome, "error": message, "exit_code": 1}


def _exited(code: Any) -> dict[str, Any]:
    if code is not None and not isinstance(code, int):
        # Python prints it; it is the program's own text.
        with _Suppressed():
            print(code, file=sys.stderr)  # noqa: T201
        code = 1
    return {"outcome": "exited", "error": f"SystemExit: {code or 0}", "exit_code": (code or 0) & 0xFF}


class _Suppressed:
    """contextlib.suppress(BaseException), without the import."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> bool:
        return True


def _finish(ended: dict[str, Any]) -> None:
    """Do what Python does at the end: wait for threads, call what is registered, empty the buffers."""
    steps: list[Any] = [atexit._run_exitfuncs]
    if "threading" in sys.modules:
        steps.insert(0, sys.modules["threading"]._shutdown)
    for step in (*steps, lambda: sys.stdout.flush(), lambda: sys.stderr.flush()):
        try:
            step()
        except BaseException as error:  # noqa: BLE001, PERF203 - the program may have put anything there
            if ended["outcome"] == "finished":
                ended.update(_exited(error.code) if isinstance(error, SystemExit) else _raised(error))
