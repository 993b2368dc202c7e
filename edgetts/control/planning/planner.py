"""Choose how an answer is computed, before anything is spent: enumerate, predict, drop what breaks a limit, compare."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace

from edgetts.budget import Budget
from edgetts.control.cost.model import CostModel
from edgetts.control.cost.work import Prediction
from edgetts.control.planning.candidates import (
    MAX_WIDTH,
    Candidate,
    Judged,
    Limits,
    cap_within,
    counts,
    enumerate_candidates,
    fit_memory,
    predict_success,
)
from edgetts.control.planning.explaining import explain
from edgetts.control.planning.memory import cache_tokens
from edgetts.control.planning.request import Request
from edgetts.errors import InvalidInput, OutOfMemory
from edgetts.interval import Interval
from edgetts.types import Plan

# A sample should have room for this many times the expected length, so that most finish.
_ROOM = 1.3
# More passes than any answer takes: seconds beyond it are as good as no deadline, and no float overflows.
_ENDLESS = 1e9
# What a plan takes to predict grows with the samples that are asked for: a second and a half for so many.
_MOST_SAMPLES = 10_000


def make_plan(budget: Budget, request: Request, cost: CostModel) -> Plan:
    """Return the best plan for a budget on one runtime.

    Where nothing keeps every limit by its prediction, the plan is the least there is, and its limits are kept while it
    runs. Raises InvalidInput for samples that cannot be, and for joules where no power is known; OutOfMemory where not
    even one sample fits the memory.
    """
    _check(budget, request)
    if budget.joules is not None and cost.watts is None:
        raise InvalidInput(
            "The budget names joules, but this device's power is not known, so they cannot be kept.",
            hint="Give the budget in seconds or tokens.",
        )
    limits = Limits.of(budget, request)
    judged = [judge(one, request, limits, cost) for one in enumerate_candidates(budget, request, cost)]
    fitting = [one for one in judged if not one.broken]
    chosen = (
        max(fitting, key=lambda one: _key(one, request)) if fitting else _least(budget, request, limits, cost)
    )
    spacious = fitting and not chosen.candidate.way.steps
    planned = _with_spare(chosen, budget, request, limits, cost) if spacious else chosen
    plan = _plan_of(planned, budget, request, limits, cost)
    said = explain(chosen, judged, request, key=lambda one: _key(one, request))
    reason = _reason(chosen, budget, request, bool(fitting))
    if plan.samples > chosen.candidate.samples:
        reason += f"; {chosen.candidate.samples} are expected, the others begin if time is left"
    plan = replace(plan, reason=reason, candidates=said)
    return plan if cost.timed else without_times(plan)


def judge(candidate: Candidate, request: Request, limits: Limits, cost: CostModel) -> Judged:
    """Predict what a candidate costs and how likely it is right; say which limit it breaks."""
    cap, memory = fit_memory(candidate, request, limits)
    if cap < 1:
        there = limits.memory / 1e6
        return Judged(candidate, None, None, memory, f"its caches do not fit in {there:.1f} MB")
    candidate = replace(candidate, cap=cap)
    if candidate.width > max(1, limits.widest(cap, request.expected)):
        return Judged(
            candidate, None, None, memory, f"{limits.tokens} tokens are too few for so many at once"
        )
    prediction = cost.predict(candidate.work(request))
    if request.opening:
        prediction = replace(prediction, seconds=_later(prediction.seconds, request.opening))
    broken = _broken(prediction, request, limits)
    within = cap_within(candidate, request, limits, cost, prediction.tokens.value)
    success, heat = predict_success(candidate, request, within)
    return Judged(replace(candidate, temperature=heat), prediction, success, memory, broken)


def _with_spare(chosen: Judged, budget: Budget, request: Request, limits: Limits, cost: CostModel) -> Judged:
    """Return the chosen candidate with as many samples as might fit where samples turn out short.

    They begin where others have ended, and only while enough is left: a plan may be ended early, but not be added to.
    """
    here = chosen.candidate
    if limits.seconds is None and limits.joules is None:
        return chosen
    # Who asks for the cheapest, or pays for joules that nothing limits, wants no more than what won.
    objective = request.objective
    if objective.goal != "budget" or (limits.joules is None and objective.per_joule > 0):
        return chosen

    def with_samples(samples: int) -> Judged:
        rounds = (*here.rounds, samples) if here.rounds else ()
        return judge(replace(here, samples=samples, rounds=rounds), request, limits, cost)

    def too_many(samples: int) -> bool:
        one = with_samples(samples)
        if one.prediction is None or one.candidate.cap < here.cap:
            return True
        return bool(_broken(_at_best(one.prediction), request, limits))

    more = [count for count in counts(budget, request, here.way) if count > here.samples]
    # Of more samples always less fits.
    within = more[: bisect_left(more, True, key=too_many)]
    worth = _worth(here, request)
    useful = [count for count in within if _worth(replace(here, samples=count), request) >= worth]
    if not useful:
        return chosen
    return replace(with_samples(useful[-1]), success=chosen.success)


def _at_best(prediction: Prediction) -> Prediction:
    """Return a prediction whose seconds and joules are those of the luckiest; tokens are as expected."""

    def lucky(spent: Interval) -> Interval:
        return replace(spent, value=spent.low)

    joules = None if prediction.joules is None else lucky(prediction.joules)
    return replace(prediction, seconds=lucky(prediction.seconds), joules=joules)


def _worth(candidate: Candidate, request: Request) -> float:
    """Return the expected worth of an answer where every sample may get as long as it likes."""
    success, _ = predict_success(candidate, request, candidate.cap)
    return 0.0 if success is None else request.objective.worth(success.value)


def _broken(prediction: Prediction, request: Request, limits: Limits) -> str:
    """Return which limit a prediction breaks that counts the opening of the runtime, in words; empty for none."""
    if limits.seconds is not None:
        limits = replace(limits, seconds=limits.seconds + request.opening)
    return limits.broken_by(prediction)


def _later(seconds: Interval, by: float) -> Interval:
    return Interval(seconds.value + by, seconds.low + by, seconds.high + by, seconds.level)


def _key(one: Judged, request: Request) -> tuple[float, ...]:
    if one.prediction is None:
        return (-math.inf,)
    joules = one.prediction.joules
    return request.objective.key(
        one.candidate.samples, one.success, one.prediction.seconds.value, joules.value if joules else None
    )


def _check(budget: Budget, request: Request) -> None:
    way = request.ways[0]
    asked, most = budget.samples, way.most
    if asked is not None and asked > _MOST_SAMPLES:
        raise InvalidInput(
            f"{asked} samples of one question are too many to plan: there may be {_MOST_SAMPLES}.",
            hint="Ask for fewer.",
        )
    if asked is not None and most is not None and asked > most:
        raise InvalidInput(
            f"The strategy {way.strategy!r} uses at most {most} of the {asked} samples asked for.",
            hint="Ask for fewer, or take another strategy.",
        )
    wanted = counts(budget, replace(request, deterministic=False), way)[-1]
    if request.deterministic and wanted > 1 and (asked is not None or request.named):
        raise InvalidInput(
            f"At temperature 0 all {wanted} samples would be the same.",
            hint="Leave the temperature out, or ask for one sample.",
        )


def _least(budget: Budget, request: Request, limits: Limits, cost: CostModel) -> Judged:
    """Return the least that can be done where nothing keeps the limits: what was asked for, as narrow as it must be.

    A sample of typical length is still to end in time, and within the tokens.
    """
    every = list(enumerate_candidates(budget, request, cost))
    fewest = min(one.samples for one in every)
    for samples in (fewest, 1):
        same = [one for one in every if one.samples == fewest and one.way is request.ways[0]]
        base = replace(same[0], samples=samples, rounds=())
        if limits.tokens is not None:
            base = replace(base, cap=min(base.cap, limits.tokens))
        for width in range(1 if not request.parallel else min(samples, MAX_WIDTH), 0, -1):
            narrow = replace(base, width=width)
            if base.way.steps:  # all are open at once
                narrow = replace(base, width=width, samples=min(samples, width))
            cap, memory = fit_memory(narrow, request, limits)
            if cap < 1 or (width > 1 and not _ends(narrow, request, limits, cost)):
                continue
            free = replace(limits, seconds=None, tokens=None, joules=None)
            made = judge(replace(narrow, cap=cap), request, free, cost)
            success, _ = predict_success(
                made.candidate, request, cap_within(made.candidate, request, limits, cost)
            )
            return replace(made, success=success, memory=memory, broken="nothing keeps the limits")
    tokens = cache_tokens(request.approaches[0].prompt, 1, 1, 1, request.whole_cache)
    fixed = tokens * request.bytes_per_token
    raise OutOfMemory(
        f"The prompt's cache needs {fixed / 1e6:.1f} MB, but only {limits.memory / 1e6:.1f} MB may be used.",
        hint="Allow more memory, or shorten the prompt.",
    )


def _ends(one: Candidate, request: Request, limits: Limits, cost: CostModel) -> bool:
    """Whether samples of typical length that run side by side would end within the time and the tokens."""
    typical = min(one.cap, request.expected)
    if one.width > limits.widest(one.cap, request.expected):
        return False
    if limits.seconds is None:
        return True
    left = limits.seconds - cost.prefill(one.asked.unread)
    return left / cost.step(one.width) >= typical * _ROOM


def _plan_of(one: Judged, budget: Budget, request: Request, limits: Limits, cost: CostModel) -> Plan:
    candidate, objective = one.candidate, request.objective
    prediction = one.prediction or cost.predict(candidate.work(request))
    seconds = _no_later(prediction.seconds, request.seconds)
    share = _share(seconds, prediction.seconds)
    joules = (
        None if prediction.joules is None else _no_later(_scaled(prediction.joules, share), budget.joules)
    )
    step = cost.step(candidate.width)
    lone = cost.step(1)
    watts = prediction.joules.value / prediction.seconds.value if prediction.joules else 0.0
    utility = objective.utility(one.success, seconds.value, joules.value if joules else None)
    several = candidate.samples > 1
    return Plan(
        runtime=request.runtime,
        strategy=candidate.way.strategy if request.named or several else "single",
        samples=candidate.samples,
        width=candidate.width,
        rounds=len(candidate.rounds) or -(-candidate.samples // candidate.width),
        max_tokens=_cap(candidate, request, limits, cost),
        stop_rule=candidate.way.stops if several else "when the model ends",
        predicted_seconds=seconds.value,
        step_seconds=step,
        source=cost.provenance,
        seconds=seconds,
        joules=joules,
        tokens=_no_later(_scaled(prediction.tokens, share), budget.tokens),
        memory_bytes=one.memory,
        success=one.success,
        success_source="" if one.success is None or request.success is None else request.success.provenance,
        utility=utility if math.isfinite(utility) else None,
        objective=objective.stated,
        power=request.power,
        approach=candidate.asked.approach,
        decoding=request.decoding,
        temperature=candidate.temperature if several and request.temperature is None else None,
        rounds_at=candidate.rounds,
        price=objective.price(lone, lone * watts),
    )


def without_times(plan: Plan) -> Plan:
    """Return a plan that claims nothing of time, where nobody knows how long passes take."""
    candidates = tuple(replace(one, seconds=None, joules=None, utility=None) for one in plan.candidates)
    return replace(
        plan,
        predicted_seconds=None,
        step_seconds=None,
        seconds=None,
        joules=None,
        utility=None,
        candidates=candidates,
    )


def _share(cut: Interval, whole: Interval) -> tuple[float, float, float]:
    """Return how much of it is left of each bound where the controller ends what takes longer."""

    def of(one: float, all_of_it: float) -> float:
        return one / all_of_it if all_of_it > 0 else 1.0

    return of(cut.low, whole.low), of(cut.value, whole.value), of(cut.high, whole.high)


def _scaled(spent: Interval, share: tuple[float, float, float]) -> Interval:
    low, middle, high = spent.low * share[0], spent.value * share[1], spent.high * share[2]
    return Interval(middle, min(low, middle), max(high, middle), spent.level)


def _no_later(spent: Interval, limit: float | None) -> Interval:
    """Return what is spent where the controller ends everything at the limit."""
    if limit is None:
        return spent
    most = max(limit, 0.0)
    return Interval(min(spent.value, most), min(spent.low, most), min(spent.high, most), spent.level)


def _cap(candidate: Candidate, request: Request, limits: Limits, cost: CostModel) -> int:
    """Return the cap of one sample: the clock ends samples in time, and this only says what can be at all."""
    cap = candidate.cap if limits.tokens is None else min(candidate.cap, limits.tokens)
    if limits.seconds is None or not cost.measured:
        return cap
    left = limits.seconds - cost.prefill(candidate.asked.unread)
    # A sample may run alone at last, be drafted for, and what slows the device now may end.
    fastest = cost.step(1) / max(1.0, cost.ratio)
    longest = min(left / fastest, _ENDLESS) * _ROOM * request.tokens_per_pass
    return max(1, min(cap, round(longest)))


def _reason(one: Judged, budget: Budget, request: Request, fits: bool) -> str:
    samples, way = one.candidate.samples, one.candidate.way
    wanted: Sequence[int] = counts(budget, replace(request, deterministic=False), way)
    if request.deterministic and wanted[-1] > 1:
        return "at temperature 0 all samples would be the same, so one"
    if samples not in wanted:
        return "the memory allows one answer" if samples == 1 else f"the budget allows {samples} at once"
    if not fits:
        about = "" if budget.samples is None else f"{samples} samples were asked for, but "
        return (
            f"{about}no answer of about {request.expected} tokens keeps every limit, so as far as they allow"
        )
    if budget.samples is not None:
        return f"{samples} samples were asked for"
    if way.most is not None:
        return f"{way.strategy} draws {way.most}"
    if len(wanted) == 1:
        if request.named:
            return f"{way.strategy} takes {samples} where no budget is given"
        return "no budget was given, so one sample"
    goal = request.objective.stated
    if request.objective.goal == "target" and not request.objective.reaches(one.success):
        return (
            f"nothing is expected to reach {request.objective.target:g} within the limits, so the likeliest"
        )
    if one.success is not None:
        return f"of what keeps the limits, {goal}"
    if samples == wanted[-1]:
        return f"the budget allows {samples} samples"
    answers = "one answer" if samples == 1 else f"{samples} answers"
    if request.seconds is not None:
        return f"{request.seconds:.1f} s allow {answers} of about {request.expected} tokens"
    if budget.tokens is not None:
        return f"{budget.tokens} tokens allow about {answers}"
    return f"{budget.joules:g} J allow {answers}" if budget.joules is not None else goal
