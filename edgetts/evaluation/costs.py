"""What problems cost, and what a right answer does; knows amounts, not what they are of."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from edgetts.interval import Interval
from edgetts.selection.confidence import bootstrap, quantile

DRAWS = 1_000


@dataclass(frozen=True, slots=True)
class Cost:
    """Amounts over the problems where they were measured. `of_pass` is None where no answer was right.

    of_pass: expected cost of one right answer, the mean cost of an attempt over the share of attempts that are
    right ("Cost-of-Pass: An Economic Framework for Evaluating Language Models"), over the run as a whole; its
    upper bound is infinite where draws without a right answer are too many to leave out.
    """

    measured: int
    total: float
    mean: float
    median: float
    p95: float
    of_pass: Interval | None


def cost(amounts: Sequence[float | None], right: Sequence[bool | None]) -> Cost | None:
    """Sum up what was measured; None where nothing was."""
    known = [amount for amount in amounts if amount is not None]
    if not known:
        return None
    ordered = sorted(known)
    pairs = [(a, r) for a, r in zip(amounts, right, strict=True) if a is not None and r is not None]

    def of_pass(rows: Sequence[int]) -> float | None:
        hits = sum(pairs[row][1] for row in rows)
        return math.fsum(pairs[row][0] for row in rows) / hits if hits else math.inf

    bounds = bootstrap(of_pass, len(pairs), draws=DRAWS) if any(hit for _, hit in pairs) else None
    return Cost(
        measured=len(known),
        total=math.fsum(known),
        mean=math.fsum(known) / len(known),
        median=statistics.median(known),
        p95=quantile(ordered, 0.95),
        of_pass=bounds,
    )
