"""Figures of policies, and of each beside the first, with intervals by drawing the problems anew."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgetts.interval import Interval
from edgetts.replay.averages import Average
from edgetts.selection.confidence import bootstrap

DRAWS = 1_000


@dataclass(frozen=True, slots=True)
class Beside:
    """A policy beside the first one, in pairs. accuracy: the difference; the others: the ratio. None where unknown."""

    accuracy: Interval
    tokens: Interval | None
    seconds: Interval | None
    joules: Interval | None


@dataclass(frozen=True, slots=True)
class Figures:
    """What a policy comes to. Tokens, seconds, joules and samples are means of an answer; joules are modelled.

    utility: right less risk times wrong, where a risk is set. late, short, abstained: shares of the answers. beside: None for the first policy.
    settings: what was tuned, by the half that was judged by it.
    """

    name: str
    problems: int
    accuracy: Interval
    tokens: float
    seconds: float
    joules: float | None
    samples: float
    abstained: float
    late: float
    short: float
    stops: dict[str, float]
    utility: float | None = None
    beside: Beside | None = None
    settings: dict[str, str] | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def figures(
    name: str,
    found: Sequence[Average],
    first: Sequence[Average] | None = None,
    *,
    risk: float | None = None,
    settings: dict[str, str] | None = None,
    draws: int = DRAWS,
) -> Figures:
    """Sum a policy up. first: the same problems under the policy it is compared to."""
    n = len(found)
    right = [one.right for one in found]
    stops: Counter[str] = Counter()
    for one in found:
        stops.update(one.stops)
    wrong = [1 - one.right - one.abstained for one in found]
    joules = [one.joules for one in found if one.joules is not None]
    return Figures(
        name=name,
        problems=n,
        accuracy=_mean(right, draws),
        tokens=math.fsum(one.tokens for one in found) / n,
        seconds=math.fsum(one.seconds for one in found) / n,
        joules=math.fsum(joules) / n if len(joules) == n else None,
        samples=math.fsum(one.samples for one in found) / n,
        abstained=math.fsum(one.abstained for one in found) / n,
        late=math.fsum(one.late for one in found) / n,
        short=math.fsum(one.short for one in found) / n,
        stops={reason: share / n for reason, share in stops.most_common()},
        utility=None if risk is None else (math.fsum(right) - risk * math.fsum(wrong)) / n,
        beside=None if first is None else _beside(found, first, draws),
        settings=settings,
    )


def _beside(found: Sequence[Average], first: Sequence[Average], draws: int) -> Beside:
    differences = [one.right - other.right for one, other in zip(found, first, strict=True)]
    return Beside(
        accuracy=_mean(differences, draws),
        tokens=_ratio(found, first, lambda one: one.tokens, draws),
        seconds=_ratio(found, first, lambda one: one.seconds, draws),
        joules=_ratio(found, first, lambda one: one.joules, draws),
    )


def _mean(values: Sequence[float], draws: int) -> Interval:
    found = bootstrap(
        lambda rows: math.fsum(values[row] for row in rows) / len(rows), len(values), draws=draws
    )
    if found is None:
        raise AssertionError("a mean is always there")
    return found


def _ratio(
    found: Sequence[Average],
    first: Sequence[Average],
    amount: Callable[[Average], float | None],
    draws: int,
) -> Interval | None:
    above = [value for one in found if (value := amount(one)) is not None]
    below = [value for one in first if (value := amount(one)) is not None]
    if len(above) < len(found) or len(below) < len(first):
        return None

    def ratio(rows: Sequence[int]) -> float | None:
        base = math.fsum(below[row] for row in rows)
        return math.fsum(above[row] for row in rows) / base if base else None

    return bootstrap(ratio, len(above), draws=draws)
