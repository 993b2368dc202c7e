"""Plans keep every limit before anything is spent, whatever the device and the budget."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetts.budget import Budget
from edgetts.control.cost.lengths import Lengths
from edgetts.control.cost.model import CostModel
from edgetts.control.planning.candidates import MAX_WIDTH
from edgetts.control.planning.memory import cache_tokens, longest_cap
from edgetts.control.planning.objective import Objective, priced
from edgetts.control.planning.planner import make_plan
from edgetts.control.planning.request import DEFAULT_MAX_TOKENS, MAX_SAMPLES, Asked, Request, Typical, Way
from edgetts.control.planning.widths import cheap_widths, rounds_for, widths_for
from edgetts.control.success.mixing import CalibrationMatrix
from edgetts.control.success.model import Attempt
from edgetts.errors import InvalidInput, OutOfMemory
from edgetts.interval import Interval
from edgetts.profiles.curves import StepTimes
from edgetts.profiles.device import PowerDraw
from edgetts.profiles.figure import Figure
from edgetts.types import Plan

FLAT = StepTimes((1, 8), (0.01, 0.01), 1000.0, "measured", "2026-01-01")
LINEAR = StepTimes((1, 8), (0.01, 0.08), 1000.0, "measured", "2026-01-01")
WATTS = PowerDraw(Figure(2.0, "modelled"), Figure(22.0, "modelled"))


@dataclass(frozen=True)
class Known:
    """A success model: what one sample is right, plus so much for every doubling; caps shorter than `whole` cost."""

    one: float = 0.3
    doubling: float = 0.05
    whole: int = 400
    temperatures: tuple[tuple[float, float], ...] = ((0.7, 0.0),)
    task: str = "sums"
    provenance: str = "measured on 100 questions of sums"

    def predict(self, attempt: Attempt) -> Interval | None:
        if attempt.approach == "direct":
            value = 0.1
        else:
            value = self.one + self.doubling * math.log2(attempt.samples)
            if attempt.samples > 1:
                value += dict(self.temperatures).get(attempt.temperature, 0.0)
        value = min(max(value, 0.0), 1.0) * min(1.0, attempt.cap / self.whole)
        return Interval(value, max(0.0, value - 0.1), min(1.0, value + 0.1), 0.9)


def request(**changes: Any) -> Request:
    prompt = changes.pop("prompt", 20)
    lengths = changes.pop("lengths", None) or Typical(changes.pop("expected", 200))
    values: dict[str, Any] = {
        "room": 4000,
        "max_tokens": None,
        "bytes_per_token": 1000,
        "memory_free": 1 << 40,
        "parallel": True,
        "runtime": "fake",
        "approaches": (Asked("reason", prompt, lengths),),
    }
    return Request(**values | changes)


def plan(budget: Budget, times: StepTimes = FLAT, **changes: Any) -> Plan:
    return make_plan(budget, request(seconds=budget.seconds, **changes), CostModel(times, power=WATTS))


curves = st.lists(st.floats(1e-4, 1.0), min_size=1, max_size=4).map(
    lambda seconds: StepTimes(
        (1, 2, 4, 8)[: len(seconds)], tuple(sorted(seconds)), 100.0, "measured", "2026-01-01"
    )
)
successes = st.builds(
    Known, one=st.floats(0.0, 1.0), doubling=st.floats(-0.1, 0.2), whole=st.sampled_from([1, 100, 400, 3000])
)
lengths = st.integers(1, 1000).map(Typical) | st.floats(20.0, 500.0).map(lambda t: Lengths(typical=t))
maybe = st.none()


@settings(deadline=None)
@given(
    times=curves,
    seconds=maybe | st.floats(1e-6, 1.7e308),
    tokens=maybe | st.integers(1, 10**6),
    joules=maybe | st.floats(1e-6, 1.7e308),
    samples=maybe | st.integers(1, 40),
    memory=maybe | st.integers(1, 10**9),
    max_tokens=maybe | st.integers(1, 5000),
    law=lengths,
    room=st.integers(1, 4000),
    prompt=st.integers(1, 4000),
    parallel=st.booleans(),
    success=maybe | successes,
)
def test_no_plan_goes_beyond_a_limit(
    times: StepTimes,
    seconds: float | None,
    tokens: int | None,
    joules: float | None,
    samples: int | None,
    memory: int | None,
    max_tokens: int | None,
    law: Any,
    room: int,
    prompt: int,
    parallel: bool,
    success: Known | None,
) -> None:
    budget = Budget(seconds=seconds, tokens=tokens, samples=samples, memory_bytes=memory, joules=joules)
    asked = request(
        prompt=prompt,
        room=room,
        lengths=law,
        max_tokens=max_tokens,
        parallel=parallel,
        seconds=seconds,
        success=success,
    )
    try:
        made = make_plan(budget, asked, CostModel(times, power=WATTS))
    except OutOfMemory:
        assert memory is not None
        assert memory < (prompt + 1000) * 1000
        return
    assert 1 <= made.samples <= (samples or MAX_SAMPLES)
    assert 1 <= made.width <= min(made.samples, MAX_WIDTH)
    assert parallel or made.width == 1
    assert made.rounds >= 1
    assert 1 <= made.max_tokens <= min(room, max_tokens or DEFAULT_MAX_TOKENS)
    if tokens is not None:
        # The first tokens of all branches are drawn before anybody looks again.
        assert made.width <= tokens
        assert made.max_tokens <= tokens
    if memory is not None:
        assert made.memory_bytes is not None
        branches = made.width * (prompt + made.max_tokens)
        waiting = prompt if made.samples > made.width else 0
        assert (branches + waiting) * asked.bytes_per_token <= made.memory_bytes <= memory
    for predicted, limit in ((made.seconds, seconds), (made.joules, joules), (made.tokens, tokens)):
        assert predicted is not None
        assert 0 <= predicted.low <= predicted.value <= predicted.high
        assert math.isfinite(predicted.value)
        assert predicted.high <= (math.inf if limit is None else limit)
    # Only where nothing keeps every limit is something taken that does not, and then that is said.
    [first, *others] = made.candidates
    if any(other.fits for other in others):
        assert first.fits
    assert first.reason == ""
    assert all(other.reason for other in others)
    if success is not None:
        assert made.success is not None
        assert 0 <= made.success.value <= 1


@settings(deadline=None)
@given(
    times=curves,
    limit=st.sampled_from(["seconds", "tokens", "joules"]),
    small=st.floats(0.5, 2000.0),
    more=st.floats(1.0, 10.0),
    success=successes,
    law=lengths,
)
def test_a_larger_budget_never_lowers_what_is_expected_of_the_answer(
    times: StepTimes, limit: str, small: float, more: float, success: Known, law: Any
) -> None:
    objective = Objective(risk=0.2, per_second=0.0 if limit == "seconds" else 1e-3, per_joule=1e-4)
    found = []
    for size in (small, small * more):
        value: Any = max(1, int(size)) if limit == "tokens" else size
        made = plan(Budget(**{limit: value}), times, success=success, lengths=law, objective=objective)
        found.append(made)
    less, greater = found
    # Where nothing keeps the limit, the plan is cut by it, and has no claim to be compared.
    if less.candidates[0].fits:
        assert greater.candidates[0].fits
        assert greater.candidates[0].utility >= less.candidates[0].utility - 1e-9  # type: ignore[operator]


@settings(deadline=None)
@given(
    times=curves,
    goal=st.sampled_from(["budget", "target", "pass"]),
    success=successes,
    target=st.floats(0.05, 1.0),
    risk=st.floats(0.0, 3.0),
    abstains=st.booleans(),
    per_second=st.sampled_from([0.0, 1e-3, 0.1]),
    per_joule=st.sampled_from([0.0, 1e-3]),
)
def test_nothing_that_is_no_better_and_costs_more_is_ever_chosen(
    times: StepTimes,
    goal: Any,
    success: Known,
    target: float,
    risk: float,
    abstains: bool,
    per_second: float,
    per_joule: float,
) -> None:
    objective = Objective(goal, target, risk, abstains, per_joule, per_second)
    made = plan(Budget(seconds=1e6), times, success=success, objective=objective, keep=10_000)
    [chosen, *others] = made.candidates

    def figures(one: Any) -> tuple[float, float, float]:
        return one.success.value, -one.seconds.value, -one.joules.value

    mine = figures(chosen)
    for other in others:
        theirs = figures(other)
        assert not (all(a >= b for a, b in zip(theirs, mine, strict=True)) and theirs != mine), other.what


@pytest.mark.parametrize("samples", [1, 2, 7, 16, 40])
def test_what_is_asked_for_is_planned_when_nothing_limits(samples: int) -> None:
    made = plan(Budget(samples=samples))
    assert (made.samples, made.width) == (samples, min(samples, MAX_WIDTH))
    assert made.rounds * made.width >= samples
    assert f"{samples} samples were asked for" in made.reason


def test_without_a_budget_there_is_one_sample() -> None:
    for success in (None, Known()):
        made = plan(Budget(), success=success)
        assert (made.samples, made.strategy, made.max_tokens) == (1, "single", DEFAULT_MAX_TOKENS)
        assert made.reason == "no budget was given, so one sample"


def test_more_time_never_means_fewer_samples() -> None:
    for times in (FLAT, LINEAR):
        for success in (None, Known(whole=200)):
            made = [plan(Budget(seconds=s), times, success=success) for s in (0.5, 1, 2, 4, 8, 16, 32, 64)]
            counts = [one.samples for one in made]
            assert counts == sorted(counts)
            assert counts[0] == 1
            assert counts[-1] == MAX_SAMPLES


def test_a_pass_whose_width_costs_nothing_is_made_wide() -> None:
    seconds = 4.0
    assert plan(Budget(seconds=seconds), FLAT).width > plan(Budget(seconds=seconds), LINEAR).width


def test_a_deadline_that_has_passed_still_has_a_plan() -> None:
    made = make_plan(Budget(seconds=0.1), request(seconds=-3.0), CostModel(LINEAR))
    assert (made.samples, made.width, made.max_tokens) == (1, 1, 1)
    assert "as far as" in made.reason


def test_few_tokens_make_few_answers() -> None:
    assert plan(Budget(tokens=1000)).samples == 5
    assert plan(Budget(tokens=10)).samples == 1
    # Eight answers of one token each are worth less than one that ends.
    assert plan(Budget(tokens=300, samples=8)).width == 1


def test_little_memory_makes_narrow_passes_and_then_one_short_sample() -> None:
    wide = plan(Budget(samples=8, memory_bytes=20_000_000))
    narrow = plan(Budget(samples=8, memory_bytes=4_000_000))
    alone = plan(Budget(samples=8, memory_bytes=700_000))
    assert 8 >= wide.width > narrow.width >= 1
    assert (wide.samples, narrow.samples) == (8, 8)
    assert (alone.samples, alone.width) == (1, 1)
    assert "memory" in alone.reason
    assert 1 <= alone.max_tokens < DEFAULT_MAX_TOKENS


def test_what_slows_the_device_for_now_cuts_no_sample_short() -> None:
    asked = request(seconds=3.0)
    slowed = CostModel(FLAT, power=WATTS)
    for _ in range(200):
        slowed.observe(1, 3 * FLAT.at(1))
    assert slowed.ratio > 2
    now = make_plan(Budget(seconds=3.0), asked, slowed)
    before = make_plan(Budget(seconds=3.0), asked, CostModel(FLAT, power=WATTS))
    assert now.samples <= before.samples
    assert now.max_tokens >= before.max_tokens, "the clock ends it if it stays slow"


def test_no_memory_is_an_error_that_names_both_numbers() -> None:
    with pytest.raises(OutOfMemory, match=r"needs 0\.3 MB, but only 0\.1 MB"):
        plan(Budget(memory_bytes=100_000))
    with pytest.raises(OutOfMemory):
        plan(Budget(), memory_free=100_000)


@given(
    prompt=st.integers(1, 5000),
    samples=st.integers(1, 40),
    branches=st.integers(1, 16),
    tokens=st.integers(1, 200_000),
)
def test_the_longest_cap_fits_the_memory_and_one_token_more_does_not(
    prompt: int, samples: int, branches: int, tokens: int
) -> None:
    cap = longest_cap(tokens, prompt, samples, branches)
    assert cache_tokens(prompt, samples, branches, cap) <= tokens
    assert cache_tokens(prompt, samples, branches, cap + 1) > tokens


def test_joules_are_refused_where_the_power_is_not_known_and_kept_where_it_is() -> None:
    with pytest.raises(InvalidInput, match="joules"):
        make_plan(Budget(joules=5.0), request(), CostModel(FLAT))
    counts = [plan(Budget(joules=joules), LINEAR).samples for joules in (1.0, 60.0, 200.0, 1e4)]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (1, MAX_SAMPLES)


def test_a_plan_says_where_its_times_come_from() -> None:
    assert "measured" in plan(Budget()).source


# What is chosen


def test_more_samples_must_earn_what_they_cost() -> None:
    free = Budget(tokens=100_000)
    worth = plan(free, LINEAR, success=Known(doubling=0.05))
    useless = plan(free, LINEAR, success=Known(doubling=0.0))
    harmful = plan(free, LINEAR, success=Known(doubling=-0.05))
    dear = plan(free, LINEAR, success=Known(doubling=0.05), objective=Objective(per_second=0.1))
    assert worth.samples == MAX_SAMPLES
    assert (useless.samples, harmful.samples, dear.samples) == (1, 1, 1)


def test_a_target_is_reached_by_the_cheapest_that_does_and_else_as_nearly_as_can_be() -> None:
    def aimed(target: float) -> Plan:
        objective = Objective("target", target)
        return plan(Budget(), LINEAR, success=Known(), objective=objective, free=True, keep=100)

    assert aimed(0.25).samples == 1
    reached = aimed(0.4)
    assert reached.samples == 4
    assert reached.success is not None
    assert reached.success.value >= 0.4
    never = aimed(0.99)
    assert never.samples == MAX_SAMPLES
    assert any("0.4" in one.reason for one in reached.candidates[1:])


def test_the_cost_of_a_right_answer_is_lowest_alone_unless_samples_are_free_and_help() -> None:
    objective = Objective("pass")
    alone = plan(Budget(), LINEAR, success=Known(), objective=objective, free=True)
    together = plan(
        Budget(), FLAT, success=Known(one=0.1, doubling=0.1), objective=objective, free=True, expected=100
    )
    assert alone.samples == 1
    assert together.samples > 1


def test_the_best_temperature_that_was_measured_is_taken_and_one_that_is_asked_for_is_kept() -> None:
    known = Known(temperatures=((0.3, 0.0), (0.8, 0.1), (1.2, -0.2)))
    asked = (Asked("reason", 20, Typical(200), (0.3, 0.8, 1.2)),)
    chosen = plan(Budget(samples=4), success=known, approaches=asked)
    assert chosen.temperature == 0.8
    kept = plan(Budget(samples=4), success=known, approaches=asked, temperature=1.2)
    assert kept.temperature is None
    assert kept.success is not None
    assert chosen.success is not None
    assert kept.success.value < chosen.success.value
    assert plan(Budget(), success=known, approaches=asked).temperature is None


def test_where_one_right_sample_is_enough_a_matrix_chooses_the_temperature() -> None:
    # Each is right as often; only the warmer one is right where greedy is wrong.
    matrix = CalibrationMatrix((0.4, 1.0), (1.0, 0.0), ((0.8, 0.0), (0.0, 0.8)))
    asked = (Asked("reason", 20, Typical(200), (0.4, 1.0), matrix=matrix),)
    known = Known(temperatures=((0.4, 0.1), (1.0, 0.0)))

    def heat(way: Way) -> float | None:
        return plan(Budget(samples=4), success=known, approaches=asked, ways=(way,)).temperature

    assert heat(Way("best_of_n", verified="exact", exact=True)) == 1.0
    assert heat(Way()) == 0.4


def test_a_shorter_cap_is_taken_where_it_is_known_to_cost_nothing() -> None:
    def of(whole: int) -> Plan:
        asked = (Asked("reason", 20, Lengths(), caps=(256, 512)),)
        return plan(
            Budget(tokens=20_000),
            LINEAR,
            success=Known(whole=whole),
            approaches=asked,
            objective=Objective(per_second=1e-3),
        )

    assert (of(200).max_tokens, of(500).max_tokens, of(1000).max_tokens) == (256, 512, DEFAULT_MAX_TOKENS)


def test_answers_are_asked_for_directly_where_that_is_measured_to_pay() -> None:
    both = (Asked("reason", 20, Typical(400)), Asked("direct", 35, Typical(8)))
    hurried = plan(Budget(seconds=0.3), success=Known(), approaches=both)
    patient = plan(Budget(seconds=30.0), success=Known(), approaches=both)
    assert (hurried.approach, patient.approach) == ("direct", "reason")


def test_drafts_make_one_at_a_time_worth_it_where_a_pass_of_two_costs_double() -> None:
    plain = plan(Budget(samples=2), LINEAR, lengths=Lengths())
    drafted = plan(Budget(samples=2), LINEAR, lengths=Lengths(), gain=2.0, decoding="speculative")
    assert drafted.width == 1
    assert drafted.seconds is not None
    assert plain.seconds is not None
    assert drafted.seconds.value < plain.seconds.value


def test_a_way_that_looks_at_the_votes_gets_rounds_and_a_price() -> None:
    way = Way("adaptive", rounds=True)
    made = plan(
        Budget(samples=16),
        ways=(way,),
        named=True,
        success=Known(),
        objective=Objective(per_second=0.1, per_joule=0.01),
    )
    assert made.rounds_at[-1] == 16
    assert list(made.rounds_at) == sorted(set(made.rounds_at))
    assert made.rounds == len(made.rounds_at)
    assert made.price > 0.1 * 0.01 / 16
    assert plan(Budget(samples=16)).rounds_at == ()


def test_a_strategy_that_stops_early_is_taken_for_what_it_is_expected_to_save() -> None:
    ways = (Way(), Way("adaptive", rounds=True, expected=0.4))
    made = plan(Budget(tokens=50_000), LINEAR, success=Known(), ways=ways)
    assert made.strategy == "adaptive"
    waiting = (Way(), Way("adaptive", rounds=True, expected=1.0))
    assert (
        plan(Budget(tokens=50_000), FLAT, success=Known(), ways=waiting, lengths=Lengths()).strategy
        != "adaptive"
    )


@pytest.mark.parametrize(
    ("seconds", "cheap"),
    [
        # Of llama.cpp Q4_0 and of ONNX Runtime, from measurements.
        (
            StepTimes(
                (1, 2, 3, 4, 5, 6, 8, 16), (1, 1.94, 2.49, 2.65, 3.76, 4.49, 4.38, 6.53), 1, "measured"
            ),
            (4, 16),
        ),
        (
            StepTimes((1, 2, 3, 4, 5, 6, 8, 16), (1, 1.09, 1.47, 1.53, 1.81, 2.0, 2.49, 4.47), 1, "measured"),
            (16,),
        ),
        (StepTimes((1, 2, 4, 8, 16), (1, 2, 4, 8, 16), 1, "measured"), (1,)),
        (StepTimes((1, 2, 4, 8, 16), (1, 1, 1, 8, 16), 1, "measured"), (4,)),
    ],
)
def test_cheap_widths_are_minima_of_a_tokens_cost(seconds: StepTimes, cheap: tuple[int, ...]) -> None:
    assert cheap_widths(seconds.at, MAX_WIDTH) == cheap


@given(
    samples=st.integers(1, 64),
    width=st.integers(1, 16),
    cheap=st.sets(st.integers(1, 16)).map(lambda found: tuple(sorted(found))),
)
def test_rounds_rise_to_the_samples_and_none_is_wider_than_a_pass(
    samples: int, width: int, cheap: tuple[int, ...]
) -> None:
    rounds = rounds_for(samples, width, cheap)
    assert rounds[-1] == samples
    sizes = [b - a for a, b in zip((0, *rounds), rounds, strict=False)]
    assert all(1 <= size <= width for size in sizes)


@given(times=curves, samples=st.integers(1, 40), most=st.integers(1, 16), gain=st.floats(1.0, 9.0))
def test_widths_worth_considering_hold_the_widest_and_whatever_is_cheaper(
    times: StepTimes, samples: int, most: int, gain: float
) -> None:
    cheap = cheap_widths(times.at, most)
    widths = widths_for(samples, times.at, cheap, most, gain=gain)
    assert widths[0] == min(samples, most)
    assert list(widths) == sorted(set(widths), reverse=True)
    lone = times.at(1) / gain
    assert (1 in widths) or lone > times.at(widths[0]) / widths[0]


def test_rounds_follow_cheap_widths() -> None:
    assert rounds_for(16, 16, (16,)) == (1, 2, 4, 8, 16)
    assert rounds_for(16, 16, (4, 16)) == (1, 2, 6, 10, 14, 16)


# What it costs and says


def test_all_candidates_take_milliseconds() -> None:
    asked = request(
        approaches=(
            Asked("reason", 60, Lengths(), (0.3, 0.7, 1.0)),
            Asked("direct", 70, Lengths(typical=10.0), (0.3, 0.7, 1.0)),
        ),
        success=Known(),
        seconds=20.0,
    )
    cost = CostModel(LINEAR, power=WATTS)
    began = time.process_time()
    for _ in range(5):
        make_plan(Budget(seconds=20.0), asked, cost)
    # 30 ms are the aim on a quiet machine (see the report of benchmarks); this only catches what explodes.
    assert (time.process_time() - began) / 5 < 1.0


def test_the_same_request_gives_the_same_plan() -> None:
    budget = Budget(seconds=5.0, joules=100.0)
    assert plan(budget, LINEAR, success=Known()) == plan(budget, LINEAR, success=Known())


def test_every_limit_that_drops_a_candidate_is_named_with_its_figures() -> None:
    made = plan(
        Budget(seconds=9.0, joules=100.0, tokens=1000, memory_bytes=9_000_000),
        LINEAR,
        success=Known(),
        keep=200,
    )
    reasons = " ".join(one.reason for one in made.candidates if not one.fits)
    assert all(words in reasons for words in ("s there are", "1000 tokens")), reasons
    hungry = plan(Budget(joules=100.0), LINEAR, success=Known(), keep=200)
    assert any("J are more than 100 J" in one.reason for one in hungry.candidates)
    small = plan(Budget(tokens=10_000, memory_bytes=800_000), LINEAR, success=Known(), keep=200)
    assert small.samples == 1
    assert any("0.8 MB" in one.reason for one in small.candidates)
    assert len(plan(Budget(seconds=4.0), LINEAR, success=Known(), keep=5).candidates) == 5


def test_prices_follow_what_the_user_asks_for_and_what_the_device_is_in() -> None:
    def of(mode: Any, state: Any, seconds: bool = False, joules: bool = False) -> Objective:
        return priced(Objective(), mode, state, seconds_limited=seconds, joules_limited=joules)

    assert of("balanced", "mains").per_joule == 0
    assert of("saver", "battery").per_joule > of("balanced", "battery").per_joule > 0
    assert of("balanced", "low").per_joule == of("saver", "battery").per_joule
    assert of("performance", "battery").per_second == of("performance", "battery").per_joule == 0
    assert of("balanced", "mains", seconds=True).per_second == 0
    assert of("saver", "battery", joules=True).per_joule == 0


@given(
    risk=st.floats(0.0, 10.0),
    success=st.floats(0.0, 1.0),
    seconds=st.floats(0.0, 100.0),
    abstains=st.booleans(),
)
def test_worth_is_one_for_right_minus_the_risk_for_wrong_and_nothing_for_none(
    risk: float, success: float, seconds: float, abstains: bool
) -> None:
    objective = Objective(risk=risk, abstains=abstains, per_second=1e-3)
    plain = success - risk * (1 - success)
    worth = max(plain, 0.0) if abstains else plain
    found = objective.utility(Interval(success, 0.0, 1.0, 0.9), seconds, None)
    assert found == pytest.approx(worth - seconds * 1e-3)
    assert objective.utility(None, seconds, None) == -math.inf


@pytest.mark.parametrize("budget", [Budget(seconds=60.0), Budget(joules=2000.0)])
@pytest.mark.parametrize("goal", ["pass", "target"])
def test_the_cheapest_that_is_asked_for_has_nothing_to_spare(goal: Any, budget: Budget) -> None:
    objective = Objective(goal=goal, target=0.25 if goal == "target" else None)
    made = plan(budget, LINEAR, success=Known(), objective=objective)
    assert made.samples == 1


def test_joules_that_are_paid_for_are_not_spent_because_time_is_left() -> None:
    made = plan(Budget(seconds=60.0), LINEAR, success=Known(), objective=Objective(per_joule=1e-3))
    assert made.utility is not None
    assert made.utility >= max(one.utility for one in made.candidates if one.utility is not None) - 1e-9


def test_more_samples_than_can_be_planned_are_refused() -> None:
    with pytest.raises(InvalidInput, match="too many"):
        plan(Budget(samples=1 << 60))


def test_a_learned_curve_caps_samples_as_a_measured_one_does() -> None:
    learned = replace(FLAT, source="learned")
    assert plan(Budget(seconds=3.0), learned).max_tokens == plan(Budget(seconds=3.0)).max_tokens < 1024
