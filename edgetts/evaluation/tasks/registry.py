"""Find a task by its name. Loads the package of a task only when that task is asked for."""

from __future__ import annotations

from pathlib import Path

from edgetts.errors import InvalidInput
from edgetts.evaluation.tasks.task import Task

DEFAULT_SIZE = 100
"""Problems of a generated task where nobody says how many."""
GENERATED = "reasoning-gym:"


def make_task(name: str, *, size: int | None = None, seed: int = 0, unconfined: bool = False) -> Task:
    """Make a task: "reasoning-gym:GENERATOR" or its generator alone, "humaneval", or a path to a JSONL file.

    size: how many problems; None is DEFAULT_SIZE of a generated task and all of another. seed: of generated
    problems. unconfined: let programs that a model wrote run where the platform cannot confine them.
    Errors: InvalidInput, MissingExtra, StorageError.
    """
    if size is not None and size < 1:
        raise InvalidInput(f"The size is {size}, but a task has at least one problem.")
    if seed < 0:
        raise InvalidInput(f"The task's seed is {seed}, but it must be zero or greater.")
    if name.casefold() in ("humaneval", "human-eval", "human_eval"):
        from edgetts.evaluation.tasks.humaneval import HumanEval

        return HumanEval(size, unconfined=unconfined)
    if name.casefold().endswith((".jsonl", ".ndjson")) or "/" in name or "\\" in name:
        from edgetts.evaluation.tasks.jsonl import JsonlTask

        return JsonlTask(Path(name), size)
    from edgetts.evaluation.tasks.gym import GymTask

    return GymTask(name.removeprefix(GENERATED), DEFAULT_SIZE if size is None else size, seed)
