"""Tasks to evaluate on, by name: generated ones, HumanEval, and files."""

from edgetts.evaluation.tasks.registry import DEFAULT_SIZE, make_task
from edgetts.evaluation.tasks.task import Attempt, Problem, Task

__all__ = ["DEFAULT_SIZE", "Attempt", "Problem", "Task", "make_task"]
