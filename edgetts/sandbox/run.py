"""Run one program."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Any

from edgetts.errors import InvalidInput, RuntimeFailure
from edgetts.sandbox.child import plain
from edgetts.sandbox.confinement import enforced_by, required
from edgetts.sandbox.execution import Execution, Outcome
from edgetts.sandbox.limits import Limits
from edgetts.sandbox.process import Process
from edgetts.sandbox.scratch import scratch_directory
from edgetts.sandbox.supervision import supervise

_BY_ITSELF: Mapping[str, Outcome] = {
    "finished": "finished",
    "raised": "raised",
    "exited": "exited",
    "memory": "memory",
}
_STOPPED = {
    "timeout": "its time ran out",
    "output": "it printed more than it may",
    "files": "it wrote more than it may",
    "threads": "it had more threads than it may",
    "processes": "it started another process",
}


def run_python(
    program: str,
    *,
    result: str | None = None,
    stdin: str = "",
    limits: Limits = Limits(),  # noqa: B008 - it is frozen
    unconfined: bool = False,
) -> Execution:
    """Run a program in a process of its own, confined, and say how it ended.

    It can import the standard library, and read and write files in an empty directory that is its own. There
    is no network and no other process; nothing outside can be opened, changed or signalled. It can see
    whether a file of a known path exists, and its size. Usable from several threads at once.

    result: an expression evaluated after the program, whose value comes back if it is plain data: numbers,
        texts, bytes, None, and lists, tuples, dicts and sets of them. It is the program's own word.
    stdin: what the program reads as its standard input.
    unconfined: run it even where this machine cannot keep it from the network or from files; what can be
        kept is kept, and `Execution.enforced` says what was.

    Raises Unsupported where confinement cannot be had, InvalidInput for a program that is no text,
    RuntimeFailure where no process can be started. What the program does wrong is an outcome.
    """
    checked_text(program, "The program")
    available = required(unconfined)
    with scratch_directory() as directory:
        request = {"task": "run", "program": program, "expression": result or ""}
        process = Process(request, limits, directory, available, stdin=stdin)
        supervise([process], limits, directory)
    return execution_of(process)


def checked_text(text: str, what: str) -> None:
    """Raise InvalidInput unless a text can be given to a compiler."""
    if not isinstance(text, str):
        raise InvalidInput(f"{what} is a {type(text).__name__}, but it must be text.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidInput(f"{what} holds characters that no file can: half of a surrogate pair.") from None


def execution_of(process: Process) -> Execution:
    """Return how a process that has ended went. Raises RuntimeFailure if it never came to run its program."""
    if process.refused:
        raise RuntimeFailure(
            f"A program was not run, as its process could not be confined: {process.refused}."
        )
    if process.kept is None and process.stopped is None:
        said = process.stderr.strip().splitlines()
        reason = said[-1] if said else f"it ended with code {process.exit_code}"
        raise RuntimeFailure(f"A program was not run, as its process could not start: {reason}.")
    outcome, error, value = _ending(process)
    return Execution(
        outcome=outcome,
        value=value,
        error=error,
        stdout=process.stdout,
        stderr=process.stderr,
        exit_code=process.exit_code,
        seconds=process.ended_at - process.started_at,
        enforced=enforced_by(process.kept or ()),
    )


def _ending(process: Process) -> tuple[Outcome, str, Any]:
    code = process.exit_code
    if process.stopped is not None:
        return process.stopped, _STOPPED[process.stopped], None
    if code == -signal.SIGXCPU:
        return "timeout", "its CPU time ran out", None
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return "killed", f"{name} ended it", None
    said = process.reports[-1] if process.reports else {}
    outcome = _BY_ITSELF.get(str(said.get("outcome")), "exited")
    error = str(said.get("error", "")) or (
        "" if outcome == "finished" else f"it ended itself with code {code}"
    )
    value = said.get("value")
    try:
        return (
            outcome,
            error[:1000],
            plain.loads(value.encode()) if isinstance(value, str) and value else None,
        )
    except (plain.DamagedError, UnicodeEncodeError):
        return outcome, "its value is no plain data", None
