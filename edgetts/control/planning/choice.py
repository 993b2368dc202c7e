"""Choose among runtimes that all have the model, by the plans that what was measured of each allows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from edgetts.control.planning.objective import Objective
from edgetts.profiles.curves import StepTimes
from edgetts.types import LONGEST_DRAFT, Considered, Plan


def best_plan(plans: Sequence[Plan], objective: Objective, keep: int = 8) -> Plan:
    """Return the best plan, which also lists what the others would have been.

    By the objective; where nothing is known of success, the one that draws the most samples in what the budget allows,
    and among equals the fastest. One that keeps every limit goes before one that does not.
    """
    best = max(plans, key=lambda plan: _key(plan, objective))
    if len(plans) == 1:
        return best
    others = [
        _beaten(one, plan, best, first=i == 0)
        for plan in plans
        if plan is not best
        for i, one in enumerate(plan.candidates)
    ]
    fitting = [one for one in (*best.candidates, *others) if one.fits]
    broken = [one for one in (*best.candidates, *others) if not one.fits]
    seconds = {}
    for plan in sorted(plans, key=lambda plan: _key(plan, objective)):
        seconds[plan.runtime] = round(plan.predicted_seconds or 0.0, 3)
    several = len(seconds) > 1
    return replace(
        best, considered=seconds if several else {}, candidates=(*fitting, *broken)[: max(keep, len(plans))]
    )


def _key(plan: Plan, objective: Objective) -> tuple[float, ...]:
    joules = None if plan.joules is None else plan.joules.value
    fits = not plan.candidates or plan.candidates[0].fits
    seconds = math.inf if plan.predicted_seconds is None else plan.predicted_seconds
    return (float(fits), *objective.key(plan.samples, plan.success, seconds, joules))


def _beaten(one: Considered, plan: Plan, best: Plan, *, first: bool) -> Considered:
    if not first:
        return one
    mine, other = plan.predicted_seconds or 0.0, best.predicted_seconds or 0.0
    return replace(one, reason=f"takes {mine - other:.2f} s longer" if mine > other else "promises less")


def lone_gain(times: StepTimes, right: float, longest: int = LONGEST_DRAFT) -> float:
    """Predict how much faster a sample alone gets by drafts of the best length, at least 1.

    right: how often a guess is right where those before it were. longest: guesses that a pass may verify.
    """
    gain, reached, expected = 1.0, 1.0, 1.0
    for guesses in range(1, longest + 1):
        reached *= right
        expected += reached
        gain = max(gain, expected * times.at(1) / times.at(1 + guesses))
    return gain
