"""Run checks against a program that cannot know, touch or answer for them."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from edgetts.errors import InvalidInput
from edgetts.sandbox.confinement import required
from edgetts.sandbox.execution import Execution
from edgetts.sandbox.limits import Limits
from edgetts.sandbox.process import Process
from edgetts.sandbox.run import checked_text, execution_of
from edgetts.sandbox.scratch import scratch_directory
from edgetts.sandbox.supervision import supervise


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Whether one check passed, and if not, why."""

    passed: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Checked:
    """How a program ended, and what each check found, in the order given."""

    execution: Execution
    results: tuple[CheckResult, ...]

    @property
    def passed(self) -> bool:
        """Whether there were checks, and all passed."""
        return bool(self.results) and all(result.passed for result in self.results)

    @property
    def share(self) -> float:
        """The part of the checks that passed, 0 without checks."""
        return sum(result.passed for result in self.results) / max(1, len(self.results))


def run_checks(
    program: str,
    checks: Sequence[str],
    *,
    names: Collection[str] | None = None,
    limits: Limits = Limits(),  # noqa: B008 - it is frozen
    unconfined: bool = False,
) -> Checked:
    """Run a program, then checks of what it defines, and say which passed.

    A check is a statement or several, which pass by raising nothing, or an expression, which passes by being
    true. Checks share their names and run in order.

    The program runs in one process, its checks in another. There a name the program defined stands for an
    object in the program's process: calling it sends the arguments over a pipe and brings back what it
    returns. Only plain data crosses, as copies; anything else stays behind and is asked from afar. So a
    program can print, exit, patch modules, write to every descriptor, or return objects that equal everything,
    and gets no check passed that right answers would not have passed: what a check computes and compares is
    in a process in which none of its code runs; what it tells that process it can tell, whatever it sends, only
    as the value of a call or an exception from it. It sees the arguments it is called with, never what is expected.

    The two share a directory. What does not cross: `is` between containers; objects of classes the checks define; coroutines; how an
    object of the program compares with plain data (only two objects of the program are compared, by the
    program; `in` looks through what it yields). Arguments that the program changes in place are changed.
    What the program imports from the standard library the checks have too, imported anew.

    What it does not stop: a program that knows the checks' arguments can have memorised answers; checks that
    compare two of the program's objects, or ask it whether it is right, believe it; and checks themselves are
    trusted to mean what they say, so never take them from the same source as the program.
    Unconfined, a program may also reach into the process that checks it: then a pass proves little.

    names: the program's names that checks may use, built-in ones among them; by default all that are no
        built-in function or type, so that a program cannot replace `len` or `sorted` for its checks.
    Raises as run_python does, and InvalidInput without checks.
    """
    checked_text(program, "The program")
    if not checks:
        raise InvalidInput("There are no checks.", hint="Give at least one assert statement or expression.")
    for check in checks:
        checked_text(check, "A check")
    available = required(unconfined)
    started: list[Process] = []
    with scratch_directory() as directory:
        try:
            _start(started, program, list(checks), names, limits, directory, available)
            supervise(started, limits, directory)
        finally:
            for process in started:
                process.close()
    runner, judge = started
    execution = execution_of(runner)
    execution_of(judge)
    return Checked(execution, _results(judge, len(checks)))


def _start(
    started: list[Process],
    program: str,
    checks: list[str],
    names: Collection[str] | None,
    limits: Limits,
    directory: Any,
    available: Any,
) -> None:
    questions = os.pipe()
    answers = os.pipe()
    try:
        serve = {"task": "serve", "program": program, "receiving": questions[0], "sending": answers[1]}
        started.append(Process(serve, limits, directory, available, channels=(questions[0], answers[1])))
        judge = {
            "task": "judge",
            "program": program,
            "checks": checks,
            "names": None if names is None else sorted(names),
            "receiving": answers[0],
            "sending": questions[1],
        }
        started.append(Process(judge, limits, directory, available, channels=(answers[0], questions[1])))
    finally:
        for descriptor in (*questions, *answers):
            os.close(descriptor)


def _results(judge: Process, count: int) -> tuple[CheckResult, ...]:
    results: list[CheckResult] = []
    for said in judge.reports:
        if said.get("check") == len(results) < count:
            results.append(CheckResult(said.get("passed") is True, str(said.get("reason", ""))))
    why = f"it was not reached: {judge.stopped or 'the checks ended early'}"
    return (*results, *[CheckResult(False, why)] * (count - len(results)))
