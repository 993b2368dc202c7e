"""How well signals of a recorded run tell right answers from wrong ones, and a calibration of one of them.

Knows records and signals; a vote is taken again over the recorded samples, so that every signal has its votes.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgetts.errors import InvalidInput
from edgetts.evaluation.loading import votes_of
from edgetts.evaluation.record import ProblemRecord, Run
from edgetts.evaluation.summary import confidences
from edgetts.selection.aggregation import Aggregator, Majority
from edgetts.selection.confidence import (
    SIGNALS,
    Calibration,
    Example,
    Quality,
    Signal,
    calibrate,
    quality,
    signal,
)

RECORDED = "recorded"
"""The name for the confidences that answers came with, in place of a signal's."""


@dataclass(frozen=True, slots=True)
class Certainty:
    """Probabilities by problem and whether the answers were right; `values` are the signal as it was measured."""

    name: str
    ids: tuple[str, ...]
    values: tuple[float, ...]
    probabilities: tuple[float, ...]
    right: tuple[bool, ...]

    @property
    def quality(self) -> Quality:
        return quality(self.probabilities, self.right)

    @property
    def examples(self) -> list[Example]:
        return [Example(*row) for row in zip(self.ids, self.values, self.right, strict=True)]


def measure(run: Run, name: str, aggregator: Aggregator | None = None) -> Certainty | None:
    """Measure a signal by its name, or `RECORDED`, over a run's graded answers; None where none has it.

    The answer is the one that `aggregator` (a majority) chooses among the samples. Errors: InvalidInput for a
    signal that is not there.
    """
    if name == RECORDED:
        known = [p for p in run.problems if p.confidence is not None and p.graded and not p.abstained]
        sure, right, source = confidences(known)
        ids = tuple(problem.id for problem in known)
        return Certainty(source or RECORDED, ids, tuple(sure), tuple(sure), tuple(right)) if ids else None
    wanted = signal(name)
    rows = [row for problem in run.problems if (row := _row(problem, wanted, aggregator or Majority()))]
    if not rows:
        return None
    ids, values, hits = zip(*rows, strict=True)
    return Certainty(name, ids, values, tuple(wanted.probability(value) for value in values), hits)


def measure_all(run: Run, aggregator: Aggregator | None = None) -> list[Certainty]:
    """Measure what the run recorded, and every signal that its samples allow."""
    found = (measure(run, name, aggregator) for name in (RECORDED, *SIGNALS))
    return [one for one in found if one is not None]


def fit(
    run: Run,
    name: str,
    *,
    method: Literal["auto", "platt", "isotonic"] = "auto",
    seed: int = 0,
    aggregator: Aggregator | None = None,
) -> Calibration:
    """Calibrate a signal on one half of a run's problems and test it on the other.

    Errors: InvalidInput where fewer than four problems have the signal, or it is `RECORDED`.
    """
    if name == RECORDED:
        raise InvalidInput(
            "A calibration needs a signal that an answer's samples show.",
            hint=f"Choose one of: {', '.join(SIGNALS)}.",
        )
    found = measure(run, name, aggregator)
    if found is None or len(found.ids) < 4:
        raise InvalidInput(
            f"The run has {0 if found is None else len(found.ids)} graded answers with the signal {name}.",
            hint="A calibration takes four at least, and a hundred to be of use.",
        )
    fitted, held_out = split(found.examples, seed)
    seeded = "" if run.task_seed is None else f" seed {run.task_seed}"
    return calibrate(
        fitted,
        held_out,
        signal=name,
        data=f"{run.task or 'a run'}{seeded}, {run.model or 'unnamed model'}"[:200],
        rule=f"half of the problems, shuffled with seed {seed}",
        method=method,
    )


def split(examples: Sequence[Example], seed: int) -> tuple[list[Example], list[Example]]:
    """Part examples in halves, by their ids alone."""
    ordered = sorted(examples, key=lambda one: one.id)
    random.Random(seed).shuffle(ordered)  # noqa: S311  # not for secrets
    half = (len(ordered) + 1) // 2
    return ordered[:half], ordered[half:]


def _row(problem: ProblemRecord, wanted: Signal, aggregator: Aggregator) -> tuple[str, float, bool] | None:
    if not problem.samples:
        return None
    votes = votes_of(problem)
    tally = aggregator(votes)
    shown = next(sample for sample in problem.samples if sample.index == tally.sample)
    value = wanted(votes, tally)
    return None if value is None or shown.right is None else (problem.id, value, shown.right)
