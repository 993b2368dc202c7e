"""How often some sample is right; knows counts of right samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgetts.errors import InvalidInput
from edgetts.evaluation.record import ProblemRecord
from edgetts.interval import Interval
from edgetts.selection.confidence import bootstrap

POWERS = tuple(2**n for n in range(17))
DRAWS = 1_000


@dataclass(frozen=True, slots=True)
class Coverage:
    """pass@k by k with intervals over problems. `samples`: drawn alike for every problem at least.

    `without_greedy`: how many problems had a greedy sample, which is left out where others were drawn: it is
    not of their distribution. `cut`: problems with samples that were ended from outside, such as by a decided
    vote; with any, the figures are not unbiased.
    """

    at: dict[int, Interval]
    problems: int
    samples: int
    without_greedy: int
    cut: int


def pass_at_k(n: int, right: int, k: int) -> float:
    """Return the unbiased estimate 1 - C(n - right, k) / C(n, k) that one of k samples is right, of n drawn.

    Source: "Evaluating Large Language Models Trained on Code".
    """
    if not (0 <= right <= n and 1 <= k <= n):
        raise InvalidInput(f"pass@{k} cannot be told from {right} right of {n} samples.")
    return 1.0 - math.comb(n - right, k) / math.comb(n, k)


def coverage(problems: Sequence[ProblemRecord]) -> Coverage | None:
    """Return pass@k for k = 1, 2, 4, ... and the number of samples; None where no samples are graded."""
    counts: list[tuple[int, int]] = []
    greedy = cut = 0
    for problem in problems:
        graded = [sample for sample in problem.samples if sample.right is not None]
        if len(graded) < len(problem.samples) or not graded:
            continue
        drawn = [sample for sample in graded if not sample.greedy] if len(graded) > 1 else graded
        if not drawn:
            drawn = graded[:1]
        greedy += len(drawn) < len(graded)
        cut += any(sample.cut for sample in drawn)
        counts.append((len(drawn), sum(sample.right is True for sample in drawn)))
    if not counts:
        return None
    most = min(n for n, _ in counts)
    sizes = sorted({k for k in (*POWERS, most) if k <= most})
    at: dict[int, Interval] = {}
    for k in sizes:
        shares = [pass_at_k(n, right, k) for n, right in counts]
        found = bootstrap(
            lambda rows, shares=shares: math.fsum(shares[row] for row in rows) / len(rows),  # type: ignore[misc]
            len(shares),
            draws=DRAWS,
        )
        if found is not None:
            at[k] = found
    return Coverage(at, len(counts), most, greedy, cut)
