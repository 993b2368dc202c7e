"""Put a task's problems to an engine, one after the other. Knows no files."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from edgetts.budget import Budget
from edgetts.errors import PromptTooLong, RuntimeFailure, Unsupported
from edgetts.evaluation.record import ProblemRecord, SampleRecord
from edgetts.evaluation.tasks import Attempt, Problem, Task
from edgetts.selection.answers import Extracted, classes, extract
from edgetts.types import Answer, Finished, Sample, SampleDone, SamplingParams

if TYPE_CHECKING:
    from edgetts.decoding.session import Cancellation
    from edgetts.engine import Engine


@dataclass(frozen=True, slots=True)
class Settings:
    """How problems are answered. None of `system` and `answer_format` is what the task recommends.

    The i-th problem's seed is that of `sampling` plus i, so that problems draw independently. `more` goes to
    `Engine.stream` as it is: decode, strategy, verifier and so on.
    """

    budget: Budget = field(default_factory=Budget)
    sampling: SamplingParams = field(default_factory=SamplingParams)
    system: str | None = None
    answer_format: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict)


def evaluate(
    engine: Engine,
    task: Task,
    settings: Settings,
    *,
    skip: Collection[str] = (),
    limit: int | None = None,
    cancel: Cancellation | None = None,
    progress: Callable[[int, int], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[ProblemRecord]:
    """Answer and grade the problems whose id is not in `skip`, at most `limit`, yielding each when it is done.

    When `cancel` is requested, the problem under way is dropped: its answer is not what its budget allows.
    progress: called with samples done and planned of the problem under way. A problem whose prompt is too long, or
    at which the runtime broke, is yielded with its error, as wrong; every other error ends the run.
    """
    todo = [problem for problem in task.problems() if problem.id not in skip]
    for problem in todo[:limit]:
        if cancel is not None and cancel.requested:
            return
        try:
            done = _answer(engine, task, problem, settings, cancel, progress, clock)
        except Unsupported:
            raise
        except (PromptTooLong, RuntimeFailure) as error:
            done = ProblemRecord(
                id=problem.id,
                index=problem.index,
                question=problem.question,
                reference=problem.reference,
                right=False,
                score=0.0,
                stop_reason="error",
                error=f"{type(error).__name__}: {error}",
            )
        if done is None:
            return
        yield done


def _answer(
    engine: Engine,
    task: Task,
    problem: Problem,
    settings: Settings,
    cancel: Cancellation | None,
    progress: Callable[[int, int], None] | None,
    clock: Callable[[], float],
) -> ProblemRecord | None:
    form = settings.answer_format or problem.answer_format
    ended: dict[int, float] = {}
    answer: Answer | None = None
    began = clock()
    for event in engine.stream(
        problem.question,
        budget=settings.budget,
        sampling=_seeded(settings.sampling, problem.index),
        system=settings.system or problem.system,
        answer_format=form,
        cancel=cancel,
        **settings.more,
    ):
        if isinstance(event, SampleDone):
            ended[event.sample.index] = clock() - began
            if progress is not None:
                progress(event.done, event.planned)
        elif isinstance(event, Finished):
            answer = event.answer
    if answer is None:
        raise AssertionError("a stream ends with Finished")
    if answer.stop_reason == "cancelled":
        return None
    return _graded(task, problem, answer, form, ended)


def _graded(
    task: Task, problem: Problem, answer: Answer, form: str, ended: Mapping[int, float]
) -> ProblemRecord:
    scores: dict[tuple[str, str | None], float] = {}

    def grade(made: Attempt) -> float:
        key = (
            made.text,
            made.answer,
        )  # samples repeat, and the answer is one of them: a sandbox need not run twice
        if key not in scores:
            scores[key] = task.grade(problem, made)
        return scores[key]

    # As the vote saw them, under the names of their classes: a vote over the record must be the same vote.
    spelled = [extract(sample.text, form, complete=sample.complete) for sample in answer.samples]
    named = [
        replace(sample, answer=name)
        for sample, name in zip(answer.samples, classes(spelled, form), strict=True)
    ]
    samples = tuple(
        _sample(
            sample,
            one,
            grade(spelled_attempt(sample.text, sample.answer, one, complete=sample.complete)),
            ended.get(sample.index),
        )
        for sample, one in zip(named, spelled, strict=True)
    )
    chosen = next(
        (sample for sample in named if (sample.text, sample.answer) == (answer.text, answer.answer)),
        next((sample for sample in answer.samples if sample.text == answer.text), None),
    )
    score = 0.0
    if not answer.abstained and answer.samples:
        complete = chosen is None or chosen.complete
        score = grade(attempt(answer.text, answer.answer, form, complete=complete))
    usage = asdict(answer.usage)
    return ProblemRecord(
        id=problem.id,
        index=problem.index,
        question=problem.question,
        reference=problem.reference,
        prompt_tokens=answer.usage.prompt_tokens,
        answer=answer.answer,
        chosen=None if chosen is None or answer.abstained else chosen.index,
        right=score >= 1,
        score=score,
        abstained=answer.abstained,
        confidence=answer.confidence,
        confidence_source=answer.confidence_source,
        stop_reason=answer.stop_reason,
        seconds=answer.usage.seconds,
        tokens=answer.usage.generated_tokens,
        joules=answer.usage.joules,
        usage=usage,
        samples=samples,
        answer_format=form,
    )


def attempt(text: str, found: str | None, form: str, *, complete: bool) -> Attempt:
    """Say what is graded of a text in which an answer was found: how the text spells it, too."""
    return spelled_attempt(text, found, extract(text, form, complete=complete), complete=complete)


def spelled_attempt(text: str, found: str | None, spelled: Extracted | None, *, complete: bool) -> Attempt:
    """Do as `attempt`, where it is known what was extracted."""
    # The name of the answer's class need not be the canonical form of this text's answer.
    raw = spelled.raw if spelled is not None and found is not None else None
    return Attempt(found, raw, text, complete)


def _sample(sample: Sample, spelled: Extracted | None, score: float, seconds: float | None) -> SampleRecord:
    return SampleRecord(
        index=sample.index,
        tokens=sample.tokens,
        logprobs=sample.logprobs,
        text=sample.text,
        finished=sample.complete,
        greedy=sample.greedy,
        finish_reason=sample.finish_reason,
        answer=sample.answer,
        stated=spelled is not None and spelled.explicit,
        right=score >= 1,
        score=sample.score,
        passed=sample.passed,
        seconds=seconds,
    )


def _seeded(sampling: SamplingParams, index: int) -> SamplingParams:
    return replace(sampling, seed=sampling.seed + index)
