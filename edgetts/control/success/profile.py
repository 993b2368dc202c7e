"""What was measured of one model at one task, as a success model."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from edgetts.control.success.figures import Drawing, VoteCurve
from edgetts.control.success.interpolation import between, widened
from edgetts.control.success.mixing import CalibrationMatrix
from edgetts.control.success.model import Approach, Attempt
from edgetts.interval import Interval

EXACT = "exact"
"""In place of a verifier's name: one that passes what is right and nothing else, so that one right sample is enough."""
LEAST_SHARED = 20
"""Questions that two temperatures must both have been asked, for one to be chosen by them."""
NEAREST = 0.25
"""A temperature farther than this from every one that was measured is unknown."""
_PER_TEMPERATURE = 0.2
# Temperature alone is worth up to 5 points: both bounds move by that where it is off by `NEAREST`.
_LEAST_DOUBLING = 0.02
# What a bound moves at least where samples double beyond what was recorded.


@dataclass(frozen=True, slots=True)
class SuccessProfile:
    """A table of drawings, one for each approach and temperature. answer_format: of the task's questions."""

    model: str
    task: str
    answer_format: str
    drawings: tuple[Drawing, ...]

    @property
    def provenance(self) -> str:
        questions = max(drawing.questions for drawing in self.drawings)
        days = sorted({drawing.date for drawing in self.drawings if drawing.date})
        return f"measured on {questions} questions of {self.task}" + (f", {days[-1]}" if days else "")

    def predict(self, attempt: Attempt) -> Interval | None:
        """Return P(right), interpolated in samples, cap and temperature; None where that was not measured.

        The vote of one is the greedy sample alone, whatever the temperature and the aggregator.
        """
        known: list[tuple[float, Interval]] = []
        for drawing in sorted(self.drawings, key=lambda one: one.temperature):
            if drawing.approach == attempt.approach and (found := _of_drawing(drawing, attempt)) is not None:
                known.append((drawing.temperature, found))
        if not known:
            return None
        if attempt.samples == 1 and any(one.greedy for one in self._drawn(attempt)):
            most = max((one for one in self._drawn(attempt) if one.greedy), key=lambda one: one.questions)
            return next(found for heat, found in known if heat == most.temperature)
        if known[0][0] <= attempt.temperature <= known[-1][0]:
            return between(known, attempt.temperature)
        off, nearest = min((abs(heat - attempt.temperature), found) for heat, found in known)
        return widened(nearest, off * _PER_TEMPERATURE) if off <= NEAREST else None

    def drawing(self, attempt: Attempt) -> Drawing | None:
        """Return the drawing nearest to an attempt, for what it says besides; None where none is near."""
        near = [one for one in self._drawn(attempt) if abs(one.temperature - attempt.temperature) <= NEAREST]
        return min(near, key=lambda one: abs(one.temperature - attempt.temperature), default=None)

    def merged(self, other: SuccessProfile) -> SuccessProfile:
        """Return both tables in one; where both have a drawing, that of `other` stands."""
        table = {(one.approach, one.temperature): one for one in (*self.drawings, *other.drawings)}
        return replace(other, drawings=tuple(table[key] for key in sorted(table)))

    def matrix(self, approach: Approach) -> CalibrationMatrix | None:
        """Return which questions each temperature gets right; None where fewer than `LEAST_SHARED` were asked at all of them.

        A single temperature leaves nothing to choose.
        """
        found = sorted(
            ((one.temperature, one.by_question) for one in self.drawings if one.approach == approach),
            key=lambda pair: pair[0],
        )
        tables = [(heat, table) for heat, table in found if heat > 0 and table is not None]
        if len(tables) < 2:
            return None
        shared = sorted(set.intersection(*(set(table.questions) for _, table in tables)))
        if len(shared) < LEAST_SHARED:
            return None
        drawn = [dict(zip(table.questions, table.drawn, strict=True)) for _, table in tables]
        first = tables[0][1]
        greedy = dict(zip(first.questions, first.greedy, strict=True))
        return CalibrationMatrix(
            tuple(heat for heat, _ in tables),
            tuple(greedy[one] for one in shared),
            tuple(tuple(shares[one] for shares in drawn) for one in shared),
        )

    def _drawn(self, attempt: Attempt) -> list[Drawing]:
        return [one for one in self.drawings if one.approach == attempt.approach]


def _of_drawing(drawing: Drawing, attempt: Attempt) -> Interval | None:
    if attempt.verified == EXACT and attempt.samples > 1:
        return None if drawing.coverage is None else drawing.coverage.at(attempt.samples)
    curves = [curve for curve in drawing.votes if _same_vote(curve, attempt)]
    if not curves:
        return None
    points = [(float(curve.cap), _of_samples(curve, attempt.samples)) for curve in curves]
    none = Interval(0.0, 0.0, min(points[0][1].low, 0.02), points[0][1].level)
    found = between([(0.0, none), *points], attempt.cap)
    longer = math.log2(max(attempt.cap, 1) / drawing.cap)
    if longer > 0 and drawing.lengths.cut > 0:
        # Samples that were cut may end, and vote, with more room; what they would say nobody saw.
        found = widened(found, drawing.lengths.cut * min(longer, 1.0))
    return found


def _same_vote(curve: VoteCurve, attempt: Attempt) -> bool:
    if attempt.samples == 1:
        return not curve.verified and curve.aggregator == "majority"
    if attempt.verified or curve.verified:
        return curve.verified == attempt.verified
    return curve.aggregator == attempt.aggregator


def _of_samples(curve: VoteCurve, samples: int) -> Interval:
    """Read the curve, linear in the log of samples; beyond its end the last value holds, and less and less surely."""
    points = [(math.log2(n), found) for n, found in curve.points]
    found = between(points, math.log2(samples))
    further = math.log2(samples) - points[-1][0]
    if further <= 0:
        return found
    change = abs(points[-1][1].value - points[-2][1].value) if len(points) > 1 else 0.0
    return widened(found, further * max(change, _LEAST_DOUBLING))
