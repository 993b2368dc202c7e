"""What a run of an evaluation leaves behind; knows no files, and nothing of how it was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

FORMAT = 1
"""Of the lines that `Recorder` writes."""


@dataclass(frozen=True, slots=True)
class SampleRecord:
    """One drawn text. Log-probs are natural ones at temperature 1, seconds run from the question to its end.

    `right` is None where nobody graded it, `seconds` where nobody looked at the clock. `stated` says that the text
    gives `answer` as its answer, so that it is no guess.
    """

    index: int
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str
    finished: bool
    greedy: bool = False
    finish_reason: str = ""
    answer: str | None = None
    stated: bool = True
    right: bool | None = None
    score: float | None = None
    passed: bool | None = None
    seconds: float | None = None

    @property
    def cut(self) -> bool:
        """Whether something else than its length limit or the model ended it, such as a vote that was decided."""
        return self.finish_reason in ("deadline", "budget", "pruned", "cancelled")


@dataclass(frozen=True, slots=True)
class ProblemRecord:
    """What was asked, answered and spent. `answer` is what the run answered, `reference` what is right.

    `right` is None where nobody graded it. `tokens` counts all that were generated, `joules` is None where
    nobody measured. `error` says why there is no answer. `chosen` is the index of the sample whose text it was.
    """

    id: str
    index: int
    question: str
    reference: str | None
    prompt_tokens: int = 0
    answer: str | None = None
    chosen: int | None = None
    right: bool | None = None
    score: float | None = None
    abstained: bool = False
    confidence: float | None = None
    confidence_source: str = ""
    stop_reason: str = ""
    seconds: float | None = None
    tokens: int = 0
    joules: float | None = None
    usage: Mapping[str, Any] = field(default_factory=dict)
    samples: tuple[SampleRecord, ...] = ()
    answer_format: str = "auto"
    error: str | None = None

    @property
    def graded(self) -> bool:
        return self.right is not None


@dataclass(frozen=True, slots=True)
class Run:
    """A header, and what was done with each problem. `source` is where it was read from."""

    header: Mapping[str, Any]
    problems: Sequence[ProblemRecord]
    source: str = ""

    @property
    def task(self) -> str:
        return str(self.header.get("task", ""))

    @property
    def task_seed(self) -> int | None:
        seed = self.header.get("task_seed")
        return seed if isinstance(seed, int) else None

    @property
    def model(self) -> str:
        return str(self.header.get("model", ""))
