"""Confine this process, say so, and only then do what was asked.

A request is a length and a marshalled dictionary on standard input; what follows it there is the program's
standard input. Reports go to a descriptor of their own, one line of JSON each.
"""

# ruff: noqa: PTH101 - importing pathlib takes longer than most programs run

from __future__ import annotations

import marshal
import os
import sys

from edgetts.sandbox.child import plain
from edgetts.sandbox.child.link import read, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_STARTUP_ONLY = ("EDGETTS_SANDBOX", "LD_LIBRARY_PATH", "PYTHONHASHSEED", "PYTHONUTF8")


def main() -> None:
    """Answer the request on standard input; does not return."""
    request: dict[str, Any] = marshal.loads(read(0, int.from_bytes(read(0, 4), "big")))  # noqa: S302
    reports = request["reports"]

    def report(**said: Any) -> None:
        write(reports, plain.write_json(said).encode() + b"\n")

    apply = _mechanisms(request)
    if request["task"] == "probe":
        enforced: list[str] = []
        failed: dict[str, str] = {}
        for mechanism in request["mechanisms"]:
            try:
                enforced += apply[mechanism]()
            except Exception as error:  # noqa: BLE001, PERF203 - the answer is that it does not work, and why
                failed[mechanism] = f"{type(error).__name__}: {error}"
        report(enforced=enforced, failed=failed)
        os._exit(0)

    # All that the task needs is loaded before this process is confined, and forgotten by its name after.
    task = _task(request["task"])
    try:
        applied = [name for mechanism in request["mechanisms"] for name in apply[mechanism]()]
    except Exception as error:  # noqa: BLE001 - whatever it is, nothing may run unconfined
        report(refused=f"{type(error).__name__}: {error}")
        os._exit(1)
    report(enforced=applied)
    for name in _STARTUP_ONLY:
        os.environ.pop(name, None)
    sys.dont_write_bytecode = True
    sys.argv = ["<program>"]
    for name in [name for name in sys.modules if name.partition(".")[0] == "edgetts"]:
        del sys.modules[name]
    task(request, report)


def _task(name: str) -> Callable[[dict[str, Any], Callable[..., None]], None]:
    if name == "judge":
        from edgetts.sandbox.child.judge import judge

        return judge
    from edgetts.sandbox.child.program import run, serve

    return run if name == "run" else serve


def _mechanisms(request: dict[str, Any]) -> dict[str, Callable[[], list[str]]]:
    """Return what applies each mechanism to this process, sees that it holds, and says what it enforces."""
    from edgetts.sandbox.child import installation, kernel, landlock, resources, seccomp

    def tether() -> list[str]:
        kernel.die_with_parent(request["parent"])
        return []

    def private() -> list[str]:
        kernel.be_private()
        kernel.drop_capabilities()
        return []

    def limit() -> list[str]:
        return resources.restrict(request["cpu_seconds"], request["memory_bytes"], request["file_bytes"])

    def confine_paths() -> list[str]:
        read_only, listed = installation.readable()
        work = request["directory"] if request["file_bytes"] else None
        landlock.restrict(read_only, listed, installation.DEVICES, work)
        _must_fail(lambda: os.close(os.open("/", os.O_RDONLY)), "a directory outside can be listed")
        return ["paths"]

    def confine_calls() -> list[str]:
        seccomp.restrict()
        _must_fail(lambda: os.chmod("", 0), "the mode of a file can be changed")
        return ["calls"]

    return {
        "tether": tether,
        "private": private,
        "resources": limit,
        "landlock": confine_paths,
        "seccomp": confine_calls,
    }


def _must_fail(action: Any, otherwise: str) -> None:
    try:
        action()
    except PermissionError:
        return
    raise OSError(f"it is accepted but not kept: {otherwise}")
