"""Fit what samples of a question tell: coverage, how far agreement is to be trusted, difficulty. Knows ballots."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from edgetts.control.success.coverage import CoverageLaw
from edgetts.control.success.difficulty import FEATURES, Difficulty, Seen, weighed
from edgetts.control.success.figures import Check, Knots, Reliability
from edgetts.evaluation.coverage import pass_at_k
from edgetts.evaluation.reordering import Ballot, halves, sizes_to
from edgetts.selection.aggregation import Majority
from edgetts.selection.confidence import auroc, brier, calibration_error
from edgetts.selection.confidence.isotonic import fit_isotonic, interpolate
from edgetts.selection.confidence.logistic import fit_logistic, fit_platt

SPLITS = 40
"""Halvings of the questions, for what is said of questions that were not fitted on."""
_ORDERS = 16
_EARLY_ORDERS = 8
_REDRAWN = 200
_LEAST_RESCUED = 5
_PENALTY = 5.0
Weights = tuple[tuple[str, float], ...]
CANDIDATES = (*((name,) for name in FEATURES), ("agreement", "shortness"))
"""Sets of features that are tried. The pair tells more than either on gsm_symbolic (0.74 against 0.69 and 0.68 after four
samples, on held-out questions); every feature at once tells less than the pair."""


def coverage_law(counts: Sequence[tuple[int, int]]) -> CoverageLaw | None:
    """Fit the law to (samples, right ones) of each question; None where there is one sample only.

    A line through log(-log c) of the unbiased pass@k at k = 1, 2, 4, ..., and how it moves where questions are drawn anew.
    """
    most = min(n for n, _ in counts)
    if most < 2:
        return None
    sizes = sizes_to(most)
    table = [[pass_at_k(n, right, k) for k in sizes] for n, right in counts]
    xs = [math.log(k) for k in sizes]
    centre = math.fsum(xs) / len(xs)

    def heights(rows: Sequence[int]) -> list[float]:
        # No number of questions shows that nothing is ever right, or ever wrong.
        least = 0.5 / (len(rows) + 1)
        shares = (math.fsum(table[row][at] for row in rows) / len(rows) for at in range(len(sizes)))
        return [math.log(-math.log(min(max(share, least), 1 - least))) for share in shares]

    ys = heights(range(len(counts)))
    height, slope = _line(xs, ys, centre)
    rng = random.Random(0)  # noqa: S311  # not for secrets
    lines = [
        _line(xs, heights([int(rng.random() * len(counts)) for _ in counts]), centre) for _ in range(_REDRAWN)
    ]
    middle = (len(xs) + 1) // 2
    bend = 0.0
    if len(xs) >= 4:
        bend = abs(
            _line(xs[:middle], ys[:middle], centre)[1] - _line(xs[middle - 1 :], ys[middle - 1 :], centre)[1]
        )
    return CoverageLaw(height, slope, centre, _variance(lines), bend, most)


def reliability_of(
    ballots: Sequence[Ballot], samples: int
) -> tuple[tuple[Reliability, ...], tuple[Check, ...]]:
    """Fit P(right) of a majority by the winner's share, for each number of samples from 2 on, and check it.

    What is returned is fitted on every question; the checks are of fits on half of them, on the other half.
    """
    found, checks = [], []
    for n in sizes_to(samples)[1:]:
        rows = [_rows(ballot, n) for ballot in ballots]
        tied: dict[float, list[float]] = {}
        for of in rows:
            for share, right in of:
                count = tied.setdefault(share, [0.0, 0.0])
                count[0] += right / len(of)
                count[1] += 1 / len(of)
        counts = tuple((share, right, every) for share, (right, every) in sorted(tied.items()))
        found.append(Reliability(n, _fit(rows), counts))
        checks.append(_check(ballots, rows, n))
    return tuple(found), tuple(checks)


def difficulty_of(ballots: Sequence[Ballot], samples: int) -> Difficulty | None:
    """Fit to a question's first samples what best tells whether the vote of all will be right.

    Features are chosen and weighed on half of the questions and scored on the other, many times over. None where there are too few
    samples, or every question comes out alike.
    """
    after = 4 if samples >= 8 else 2
    if samples < 2 * after:
        return None
    early = [_early(ballot, after, samples) for ballot in ballots]
    rows = range(len(early))
    ids = [ballot.id for ballot in ballots]
    held: list[float] = []
    rescued: list[float] = []
    for seed in range(SPLITS):
        fitted, other = halves(ids, seed)
        found = _best(early, fitted)
        if found is not None and (told := _told(early, other, found)) is not None:
            held.append(told)
            if (of_wrong := _told(early, other, found, wrong_now=True)) is not None:
                rescued.append(of_wrong)
    weights = _best(early, rows)
    if weights is None or not held:
        return None
    scored = [(weighed(weights, one.seen), one) for of in early for one in of]
    return Difficulty(
        weights=weights,
        after=after,
        most=samples,
        now=fit_platt([value for value, _ in scored], [one.now for _, one in scored]),
        later=fit_platt([value for value, _ in scored], [one.later for _, one in scored]),
        auroc=math.fsum(held) / len(held),
        rescued=math.fsum(rescued) / len(rescued) if rescued else None,
    )


@dataclass(frozen=True, slots=True)
class _Early:
    """One order of a question's first samples, and whether the vote is right now and of all samples."""

    seen: Seen
    now: bool
    later: bool


def _early(ballot: Ballot, after: int, samples: int) -> list[_Early]:
    rule = Majority()
    later = ballot.vote(ballot.orders(samples, 1)[0], rule)[0]
    return [
        _Early(Seen(*ballot.seen(order)), ballot.vote(order, rule)[0], later)
        for order in ballot.orders(after, _EARLY_ORDERS)
    ]


def _best(early: Sequence[Sequence[_Early]], rows: Sequence[int]) -> Weights | None:
    """Return the weights of those sets of features that tell most among some questions; None where all come out alike."""
    cases = [one for row in rows for one in early[row]]
    later = [float(one.later) for one in cases]
    if len(set(later)) < 2:
        return None
    tried: list[tuple[float, Weights]] = []
    for names in CANDIDATES:
        table = [[FEATURES[name](one.seen) for name in names] for one in cases]
        found, _ = fit_logistic(table, later, penalty=_PENALTY * _EARLY_ORDERS)
        # As they will be kept in a file.
        weights = tuple((name, round(weight, 5)) for name, weight in zip(names, found, strict=True))
        tried.append((_told(early, rows, weights) or 0.0, weights))
    return max(tried, key=lambda one: one[0])[1]


def _told(
    early: Sequence[Sequence[_Early]], rows: Sequence[int], weights: Weights, *, wrong_now: bool = False
) -> float | None:
    """Return the AUROC of a sum of features for the vote of all; wrong_now: among those that are wrong so far."""
    cases = [one for row in rows for one in early[row] if not (wrong_now and one.now)]
    right = [one.later for one in cases]
    if not cases or (wrong_now and sum(right) < _LEAST_RESCUED):
        return None
    return auroc([weighed(weights, one.seen) for one in cases], right)


def _rows(ballot: Ballot, samples: int) -> list[tuple[float, bool]]:
    rule = Majority()
    votes = (ballot.vote(order, rule) for order in ballot.orders(samples, _ORDERS))
    return [(share, right) for right, share in votes]


def _fit(rows: Sequence[Sequence[tuple[float, bool]]]) -> Knots:
    """Fit a function that never falls, and keep it as far from 0 and 1 as so many questions tell."""
    every = [row for of in rows for row in of]
    # The shares as they will be kept in a file, where two must not become one.
    knots = fit_isotonic([round(share, 5) for share, _ in every], [right for _, right in every])
    least = 1 / (len(rows) + 2)
    return tuple((share, min(max(chance, least), 1 - least)) for share, chance in knots)


def _check(ballots: Sequence[Ballot], rows: Sequence[Sequence[tuple[float, bool]]], samples: int) -> Check:
    ids = [ballot.id for ballot in ballots]
    sums = [0.0, 0.0, 0.0]
    for seed in range(SPLITS):
        fitted, held = halves(ids, seed)
        knots = _fit([rows[row] for row in fitted])
        cases = [row for at in held for row in rows[at]]
        right = [hit for _, hit in cases]
        chances = [interpolate(knots, round(share, 5)) for share, _ in cases]
        sums[0] += calibration_error(chances, right)
        sums[1] += calibration_error([share for share, _ in cases], right)
        sums[2] += brier(chances, right)
    error, raw, squared = (total / SPLITS for total in sums)
    return Check(samples, error, raw, squared, SPLITS)


def _line(xs: Sequence[float], ys: Sequence[float], centre: float) -> tuple[float, float]:
    """Return the height at `centre` and the slope, at most 0, of the line of least squares."""
    middle_x, middle_y = math.fsum(xs) / len(xs), math.fsum(ys) / len(ys)
    spread = math.fsum((x - middle_x) ** 2 for x in xs)
    along = math.fsum((x - middle_x) * (y - middle_y) for x, y in zip(xs, ys, strict=True))
    slope = min(0.0, along / spread) if spread else 0.0
    return middle_y + slope * (centre - middle_x), slope


def _variance(lines: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    n = len(lines)
    heights, slopes = (math.fsum(line[at] for line in lines) / n for at in (0, 1))
    return (
        math.fsum((h - heights) ** 2 for h, _ in lines) / n,
        math.fsum((h - heights) * (s - slopes) for h, s in lines) / n,
        math.fsum((s - slopes) ** 2 for _, s in lines) / n,
    )
