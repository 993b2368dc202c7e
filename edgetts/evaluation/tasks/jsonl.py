"""Tasks from a file of one question a line. Knows nothing of who wrote it, and so trusts none of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgetts.errors import InvalidInput
from edgetts.evaluation.grading import matches
from edgetts.evaluation.jsonlines import read_objects, refuse
from edgetts.evaluation.tasks.task import Attempt, Problem
from edgetts.selection.answers import AnswerFormat

LONGEST_LINE = 1 << 20
"""Bytes."""
MOST_PROBLEMS = 100_000
LONGEST_ID = 200


class JsonlTask:
    """Lines with `question` and `answer`, and optionally `id`, `format` and `system`."""

    seed = None

    def __init__(self, path: Path, size: int | None = None) -> None:
        """Read the file's first `size` problems, or all. Errors: InvalidInput naming the line, StorageError."""
        self.name = f"file:{path.name}"
        self._problems: list[Problem] = []
        seen: set[str] = set()
        for line in read_objects(path, longest=LONGEST_LINE):
            if len(self._problems) == MOST_PROBLEMS:
                refuse(path, line.number, f"is one more than the {MOST_PROBLEMS:,} problems a task may have")
            problem = _problem(path, line.number, line.value, len(self._problems))
            if problem.id in seen:
                refuse(path, line.number, f"has the id {problem.id!r} of an earlier one")
            seen.add(problem.id)
            self._problems.append(problem)
            if len(self._problems) == size:
                break
        if not self._problems:
            raise InvalidInput(
                f"{path} has no problem.", hint='Write lines like {"question": "...", "answer": "..."}.'
            )

    def problems(self) -> Sequence[Problem]:
        return self._problems

    def grade(self, problem: Problem, attempt: Attempt) -> float:
        return float(matches(attempt.answer, attempt.raw, problem.reference, problem.answer_format))


def _problem(path: Path, number: int, value: dict[str, Any], index: int) -> Problem:
    def text(name: str) -> str | None:
        found = value.get(name)
        if found is None:
            return None
        if isinstance(found, (int, float)) and not isinstance(found, bool) and name in ("answer", "id"):
            return str(found)
        if not isinstance(found, str) or not found.strip():
            refuse(path, number, f"has a {name!r} that is no text")
        if any("\ud800" <= char <= "\udfff" for char in found):
            refuse(path, number, f"has a {name!r} with half a character (a lone surrogate)")
        return found

    question, answer, named = text("question"), text("answer"), text("format")
    if question is None or answer is None:
        refuse(path, number, f"has no {'question' if question is None else 'answer'!r}")
    try:
        kind = AnswerFormat.parse(named or "auto")
    except InvalidInput as error:
        refuse(path, number, f"has a format that cannot be ({error})")
    if kind.name == "none":
        refuse(path, number, "has the format 'none', under which no answer can be right")
    name = text("id") or str(index)
    if len(name) > LONGEST_ID:
        refuse(path, number, f"has an id of {len(name)} characters, more than {LONGEST_ID}")
    return Problem(name, index, question, answer, text("system"), str(kind))
