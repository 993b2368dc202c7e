"""What uses say of a speed profile: step times as they really are, and how often guesses are right.

Load and heat only ever make passes longer, and say nothing of the idle device. So the rule is lopsided:
1. Answers of one day are taken together. Those much slower than the day's faster quarter ran beside something else, and
   are left out; the day's figure is the median of the rest. Answers on a device that was throttled, in the background
   or low on battery are left out from the start.
2. The estimate is the median over days, a day counting for as many answers as it has, up to a limit, and for less the longer ago
   it is.
3. A curve becomes faster as soon as that shows. It becomes slower only where each of the last three days with
   answers was slower, and then by no more than the least slow of them: a day of heat or of load changes nothing.
4. Few answers move the curve little: the logarithm of the ratio is drawn towards 0 by as much as sixteen answers
   weigh, and a width of its own towards what all widths say.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

from edgetts.profiles.curves import StepTimes
from edgetts.use.record import Use, curve_mark

PERSISTENT_DAYS = 3
HALF_LIFE = 14.0
"""Days with answers after which a day counts half: a clock that jumps ahead makes no day older."""
PRIOR_ANSWERS = 16.0
_LOADED = 1.3
"""Times the day's faster quarter: slower answers ran beside something else."""
_MOST_A_DAY = 50
_LEFT_OUT = ("throttled", "background", "low")
_WILD = 20.0
"""A ratio beyond this, or below its inverse, is a clock that jumped or a machine that slept."""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """How often a drafter's guesses are right. guesses: that were verified, the older counting less."""

    drafter: str
    right: float
    guesses: float


def learned(times: StepTimes, uses: Sequence[Use]) -> StepTimes:
    """Return the curve as real use shows it, with source "learned"; `times` itself where it shows nothing.

    times: as measured; uses of another curve are left out. Seconds never fall where the width rises.
    """
    curve = curve_mark(times)
    # Beyond the widths that were measured the curve is a guess, and what it is off by says nothing of the device.
    known = [
        (use.day, within)
        for use in uses
        if use.curve == curve and use.power not in _LEFT_OUT
        if (within := _sound(use.ratios, times.widths[0], times.widths[-1]))
    ]
    if not known:
        return times
    overall = _shrunk([(day, middle(within)) for day, within in known], 0.0)
    seconds = []
    for place in range(len(times.widths)):
        nearest = [
            (day, ratio)
            for day, within in known
            for at, ratio, _ in within
            if _place(times.widths, at) == place
        ]
        of_width = _shrunk(nearest, overall) if nearest else overall
        seconds.append(times.seconds[place] * math.exp(of_width))
    for i in range(1, len(seconds)):
        seconds[i] = max(seconds[i], seconds[i - 1])
    if all(abs(new / old - 1) < 1e-9 for new, old in zip(seconds, times.seconds, strict=True)):
        return times
    day = date(1970, 1, 1) + timedelta(days=max(day for day, _ in known))
    return replace(
        times,
        seconds=tuple(seconds),
        growth=times.growth * math.exp(overall),
        source="learned",
        date=day.isoformat(),
    )


def acceptance(uses: Sequence[Use], prior: Sequence[Acceptance] = ()) -> tuple[Acceptance, ...]:
    """Return how often each drafter's guesses are right, from what a profile says (`prior`) and real use.

    Answers count by the guesses that were verified in them, at most 200 each, so that a text that repeats itself
    does not outweigh the others; what a profile says counts as 100 guesses.
    """
    seen: dict[str, tuple[float, float]] = {one.drafter: (100.0 * one.right, 100.0) for one in prior}
    ages = _ages({use.day for use in uses if use.accepted})
    for use in uses:
        for drafter, verified, right in use.accepted:
            if verified:
                weight = min(verified, 200) * ages[use.day]
                before = seen.get(drafter, (0.0, 0.0))
                seen[drafter] = (before[0] + weight * right / verified, before[1] + weight)
    return tuple(
        Acceptance(drafter, right / guesses, guesses)
        for drafter, (right, guesses) in sorted(seen.items())
        if guesses > 0
    )


def _shrunk(ratios: Sequence[tuple[int, float]], towards: float) -> float:
    """Return the log of a ratio by the rule above, from (day, ratio) of answers, drawn towards another log."""
    days: dict[int, list[float]] = {}
    for day, ratio in ratios:
        days.setdefault(day, []).append(ratio)
    figures = {day: idle(of) for day, of in days.items()}
    ages = _ages(days)
    weights = {day: min(len(of), _MOST_A_DAY) * ages[day] for day, of in days.items()}
    found = math.log(_median(sorted((figures[day], weights[day]) for day in days)))
    if found > 0:
        last = sorted(days)[-PERSISTENT_DAYS:]
        least = math.log(min(figures[day] for day in last)) if len(last) == PERSISTENT_DAYS else 0.0
        found = min(found, max(0.0, least))
    answers = float(len(ratios))
    return (answers * found + PRIOR_ANSWERS * towards) / (answers + PRIOR_ANSWERS)


def idle(ratios: Sequence[float]) -> float:
    """Return a day's figure: the median of the answers that ran beside nothing else."""
    ordered = sorted(ratios)
    faster = ordered[len(ordered) // 4]
    return statistics.median([ratio for ratio in ordered if ratio <= faster * _LOADED])


def middle(ratios: Sequence[tuple[int, float, int]]) -> float:
    """Return the median over passes of (width, ratio, passes)."""
    return _median(sorted((ratio, float(passes)) for _, ratio, passes in ratios))


def _sound(ratios: Sequence[tuple[int, float, int]], least: int, most: int) -> list[tuple[int, float, int]]:
    return [one for one in ratios if least <= one[0] <= most and 1 / _WILD <= one[1] <= _WILD]


def _median(weighed: Sequence[tuple[float, float]]) -> float:
    """Return the median of (value, weight), the smaller first."""
    half, below = sum(weight for _, weight in weighed) / 2, 0.0
    for value, weight in weighed:
        below += weight
        if below >= half:
            return value
    return weighed[-1][0]


def _ages(days: Iterable[int]) -> dict[int, float]:
    """Return how much each day counts: 1 the last, the others less."""
    return {day: float(0.5 ** (after / HALF_LIFE)) for after, day in enumerate(sorted(days, reverse=True))}


def _place(widths: Sequence[int], width: int) -> int:
    """Return the place of the measured width that is nearest in ratio."""
    return min(range(len(widths)), key=lambda at: abs(math.log(widths[at] / width)))
