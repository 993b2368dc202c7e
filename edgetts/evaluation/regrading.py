"""Grade the texts of a record by its task, as where they were recorded without grades. Knows no engine."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from edgetts.errors import InvalidInput
from edgetts.evaluation.loading import votes_of
from edgetts.evaluation.record import ProblemRecord, Run, SampleRecord
from edgetts.evaluation.runner import spelled_attempt
from edgetts.evaluation.tasks import Problem, Task
from edgetts.selection.aggregation import Aggregator, Majority
from edgetts.selection.answers import classes, extract


def regrade(
    run: Run,
    task: Task,
    *,
    aggregator: Aggregator | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Run:
    """Find the answers of every sample again, grade them, and choose among them by a vote.

    The vote is a majority, or `aggregator`'s; what the run itself answered, and how sure it was, is replaced.
    Errors: InvalidInput where the task has other problems than the run.
    """
    asked = {problem.id: problem for problem in task.problems()}
    done = []
    for problem in run.problems:
        known = asked.get(problem.id)
        if known is None or known.question != problem.question:
            raise InvalidInput(
                f"The task {task.name} has another problem {problem.id[:80]!r} than the run.",
                hint="Name the task, size and seed that the run was made with.",
            )
        done.append(_regraded(problem, known, task, aggregator or Majority()))
        if progress is not None:
            progress(len(done), len(run.problems))
    header = {**run.header, "task": task.name, "task_seed": task.seed}
    return Run(header, done, run.source)


def _regraded(problem: ProblemRecord, known: Problem, task: Task, aggregator: Aggregator) -> ProblemRecord:
    if problem.error is not None or not problem.samples:
        return replace(problem, right=False, score=0.0)
    form = known.answer_format
    samples: list[SampleRecord] = []
    scores: dict[tuple[str, str | None], float] = {}
    found = [extract(sample.text, form, complete=sample.finished) for sample in problem.samples]
    for sample, one, answer in zip(problem.samples, found, classes(found, form), strict=True):
        key = (sample.text, answer)
        if key not in scores:
            scores[key] = task.grade(
                known, spelled_attempt(sample.text, answer, one, complete=sample.finished)
            )
        samples.append(
            replace(
                sample,
                answer=answer,
                stated=one is not None and one.explicit,
                right=scores[key] >= 1,
            )
        )
    problem = replace(problem, samples=tuple(samples), reference=known.reference, answer_format=form)
    tally = aggregator(votes_of(problem))
    shown = next(sample for sample in samples if sample.index == tally.sample)
    score = scores[shown.text, shown.answer]
    return replace(
        problem,
        answer=tally.answer,
        chosen=tally.sample,
        right=score >= 1,
        score=score if math.isfinite(score) else 0.0,
        abstained=False,
        confidence=tally.confidence,
        confidence_source=tally.confidence_source if tally.confidence is not None else "",
    )
