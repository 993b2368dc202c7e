"""Compare two runs on the problems that both have; knows records alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgetts.errors import InvalidInput
from edgetts.evaluation.intervals import mcnemar, wilson
from edgetts.evaluation.record import ProblemRecord, Run
from edgetts.interval import Interval
from edgetts.selection.confidence import bootstrap


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs, first and second, on the `shared` problems that both graded.

    `difference`: accuracy of the second less that of the first, resampled in pairs. `p_value`: McNemar's exact test,
    of the problems that one run alone has right. `tokens` and `seconds`: the second's over the first's, in pairs;
    None where they are not known for all.
    """

    shared: int
    first_alone: int
    second_alone: int
    first: Interval
    second: Interval
    only_first_right: int
    only_second_right: int
    difference: Interval
    p_value: float
    tokens: Interval | None
    seconds: Interval | None
    joules: Interval | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def compare(first: Run, second: Run) -> Comparison:
    """Test two runs against each other. Errors: InvalidInput for runs of different tasks or nothing shared.

    Problems are the same where id and question are; answers may come from different models and settings.
    """
    seeds = {first.task_seed, second.task_seed} - {None}  # old records do not tell theirs
    if first.task != second.task or len(seeds) > 1:
        raise InvalidInput(
            f"The runs are of different tasks: {_task(first)} and {_task(second)}.",
            hint="Only runs on the same problems can be compared.",
        )
    theirs = {problem.id: problem for problem in second.problems}
    pairs = [(one, theirs[one.id]) for one in first.problems if one.id in theirs]
    if other := next((one for one, two in pairs if one.question != two.question), None):
        raise InvalidInput(
            f"The runs have different questions as problem {other.id[:80]!r}.",
            hint="Only runs on the same problems can be compared.",
        )
    pairs = [(one, two) for one, two in pairs if one.graded and two.graded]
    if not pairs:
        raise InvalidInput(
            "The runs share no problem that both graded.",
            hint="Compare runs on the same problems; grade records with: edgetts runs grade",
        )
    n = len(pairs)
    hits = [(bool(one.right), bool(two.right)) for one, two in pairs]
    difference = bootstrap(lambda rows: sum(hits[row][1] - hits[row][0] for row in rows) / len(rows), n)
    if difference is None:  # there is at least one pair
        raise AssertionError("a difference of shares is always there")
    only_first = sum(one and not two for one, two in hits)
    only_second = sum(two and not one for one, two in hits)
    return Comparison(
        shared=n,
        first_alone=len(first.problems) - n,
        second_alone=len(second.problems) - n,
        first=wilson(sum(one for one, _ in hits), n),
        second=wilson(sum(two for _, two in hits), n),
        only_first_right=only_first,
        only_second_right=only_second,
        difference=difference,
        p_value=mcnemar(only_first, only_second),
        tokens=_ratio(pairs, lambda problem: float(problem.tokens)),
        seconds=_ratio(pairs, lambda problem: problem.seconds),
        joules=_ratio(pairs, lambda problem: problem.joules),
    )


def _ratio(
    pairs: Sequence[tuple[ProblemRecord, ProblemRecord]], amount: Callable[[ProblemRecord], float | None]
) -> Interval | None:
    amounts = [(amount(one), amount(two)) for one, two in pairs]
    known = [(one, two) for one, two in amounts if one is not None and two is not None]
    if len(known) < len(pairs):
        return None

    def ratio(rows: Sequence[int]) -> float | None:
        below = math.fsum(known[row][0] for row in rows)
        return math.fsum(known[row][1] for row in rows) / below if below else None

    return bootstrap(ratio, len(known))


def _task(run: Run) -> str:
    return f"{run.task or 'unnamed'}{'' if run.task_seed is None else f' with seed {run.task_seed}'}"
