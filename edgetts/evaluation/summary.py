"""What a run says as a whole: every figure with its interval, and None for what was not measured."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgetts.errors import InvalidInput
from edgetts.evaluation.costs import Cost, cost
from edgetts.evaluation.coverage import Coverage, coverage
from edgetts.evaluation.intervals import wilson
from edgetts.evaluation.overthinking import Overthinking, overthinking
from edgetts.evaluation.record import ProblemRecord, Run
from edgetts.interval import Interval
from edgetts.selection.confidence import Quality, quality
from edgetts.selection.strategies import make_strategy


@dataclass(frozen=True, slots=True)
class Summary:
    """Figures of a run. `accuracy` counts errors and abstentions as wrong; `answered` is right among answered.

    `pass_at_k` is None where samples were not drawn independently, such as by a search over steps.
    `confidence` is None where no answer had one. Problems that nobody graded are in `problems` and the costs only.
    """

    task: str
    model: str
    strategy: str | None
    problems: int
    graded: int
    errors: int
    abstained: int
    accuracy: Interval | None
    answered: Interval | None
    mean_score: float | None
    pass_at_k: Coverage | None
    confidence: Quality | None
    confidence_source: str
    tokens: Cost | None
    seconds: Cost | None
    joules: Cost | None
    overthinking: Overthinking
    samples: float
    stop_reasons: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON; an infinite bound is null."""
        body: dict[str, Any] = _plain(asdict(self))
        return body


def summarize(run: Run) -> Summary:
    """Sum a run up."""
    problems = run.problems
    graded = [problem for problem in problems if problem.right is not None]
    answered = [problem for problem in graded if not problem.abstained and problem.error is None]
    scores = [problem.score for problem in graded if problem.score is not None]
    right = [problem.right for problem in problems]
    sure, hits, source = confidences(problems)
    strategy = run.header.get("strategy")
    return Summary(
        task=run.task,
        model=run.model,
        strategy=strategy if isinstance(strategy, str) else None,
        problems=len(problems),
        graded=len(graded),
        errors=sum(problem.error is not None for problem in problems),
        abstained=sum(problem.abstained for problem in problems),
        accuracy=_share(graded),
        answered=_share(answered),
        mean_score=math.fsum(scores) / len(scores) if scores else None,
        pass_at_k=None if _shares_steps(strategy) else coverage(problems),
        confidence=quality(sure, hits) if sure else None,
        confidence_source=source,
        tokens=cost([float(problem.tokens) for problem in problems], right),
        seconds=cost([problem.seconds for problem in problems], right),
        joules=cost([problem.joules for problem in problems], right),
        overthinking=overthinking(problems),
        samples=sum(len(problem.samples) for problem in problems) / max(1, len(problems)),
        stop_reasons=dict(Counter(problem.stop_reason or "unknown" for problem in problems).most_common()),
    )


def confidences(problems: Sequence[ProblemRecord]) -> tuple[list[float], list[bool], str]:
    """Return the confidences that answers came with, whether they were right, and what they are."""
    known = [p for p in problems if p.confidence is not None and p.right is not None and not p.abstained]
    sources = Counter(problem.confidence_source for problem in known)
    source = sources.most_common(1)[0][0] if sources else ""
    return [float(p.confidence or 0.0) for p in known], [bool(p.right) for p in known], source


def _shares_steps(strategy: object) -> bool:
    """Whether samples of a run share steps, and so are not drawn independently of each other."""
    if not isinstance(strategy, str):
        return False
    try:
        return make_strategy(strategy).splitter is not None
    except InvalidInput:  # another package's, or one that needs a verifier
        return "splitter" in strategy


def _share(problems: Sequence[ProblemRecord]) -> Interval | None:
    return wilson(sum(problem.right is True for problem in problems), len(problems)) if problems else None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
