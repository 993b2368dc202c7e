"""Tasks from the generators of reasoning-gym (extra `tasks`). Knows its problems and scorers, no model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from edgetts.errors import InvalidInput, MissingExtra
from edgetts.evaluation.tasks.guard import LONGEST_ANSWER, evaluates, harmless
from edgetts.evaluation.tasks.task import Attempt, Problem
from edgetts.near_miss import near_miss
from edgetts.selection.answers.canonical import canonical_number

STEPS = (
    "You are a helpful assistant. Solve the problem step by step, briefly, and end with 'The answer is X'."
)
TAGS = (
    "You are a helpful assistant. Solve the problem step by step, briefly, and write the final answer alone, in "
    "the form that the problem asks for, between <answer> and </answer>."
)
TAGGED = r"regex:(?s)<answer>\s*(.*?)\s*</answer>"


class GymTask:
    """Problems of one generator. The set's size can be part of what its problems are.

    Where references are numbers, the prompt asks for "The answer is X"; where they are anything else, such as a
    board or an expression, for the answer between tags, which is then graded as it is spelled.
    """

    def __init__(self, generator: str, size: int, seed: int) -> None:
        """Errors: MissingExtra without reasoning-gym, InvalidInput for an unknown generator."""
        try:
            from reasoning_gym.factory import DATASETS, create_dataset
        except ImportError as error:
            raise MissingExtra("reasoning-gym", "tasks") from error
        if generator not in DATASETS:
            otherwise = "Name a generator of reasoning-gym, humaneval, or a file ending in .jsonl."
            raise InvalidInput(
                f"There is no task {generator!r}.",
                hint=near_miss(generator, [*DATASETS, "humaneval"], otherwise),
            )
        self.name = generator
        self.seed = seed
        self.size = size
        try:
            self._data: Any = create_dataset(generator, size=size, seed=seed)
        except (AssertionError, TypeError, ValueError) as error:
            raise InvalidInput(
                f"reasoning-gym makes no problems of {generator!r} by size and seed alone: {error}.",
                hint="Choose another generator.",
            ) from error
        self._evaluates = evaluates(type(self._data).score_answer)

    @cached_property
    def _entries(self) -> list[dict[str, Any]]:
        return [self._data[index] for index in range(self.size)]

    def problems(self) -> Sequence[Problem]:
        """Generate them. Errors: InvalidInput where the generator fails."""
        try:
            entries = self._entries
        except Exception as error:
            raise InvalidInput(
                f"The generator {self.name!r} failed: {error or type(error).__name__}.",
                hint="Try another --task-seed or size.",
            ) from error
        answers = [str(entry["answer"]) for entry in entries]
        # Of an equation the right side would be read as the number.
        numeric = all("=" not in answer and canonical_number(answer) is not None for answer in answers)
        return [
            Problem(
                id=str(index),
                index=index,
                question=entry["question"],
                reference=None if entry["answer"] is None else str(entry["answer"]),
                system=STEPS if numeric else TAGS,
                answer_format="auto" if numeric else TAGGED,
            )
            for index, entry in enumerate(entries)
        ]

    def grade(self, problem: Problem, attempt: Attempt) -> float:
        """The better score of the two spellings, canonical and the text's own."""
        spellings = {text.strip() for text in (attempt.answer, attempt.raw) if text}
        return max(
            (self._score(text, self._entries[problem.index]) for text in sorted(spellings)), default=0.0
        )

    def _score(self, answer: str, entry: dict[str, Any]) -> float:
        if len(answer) > LONGEST_ANSWER or (self._evaluates and not harmless(answer)):
            return 0.0
        try:
            score = float(self._data.score_answer(answer=answer, entry=entry))
        except Exception:  # noqa: BLE001 - scorers raise anything at a text they cannot read: it is wrong
            return 0.0
        return min(max(score, 0.0), 1.0) if score == score else 0.0
