"""Plans keep every limit before anything is spent, whatever the device and the budget."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetts.budget import Budget
from edgetts.control.cost.model import CostModel
from edgetts.control.planning.planner import DEFAULT_MAX_TOKENS, MAX_SAMPLES, MAX_WIDTH, Request, make_plan
from edgetts.errors import InvalidInput, OutOfMemory
from edgetts.profiles.curves import StepTimes

FLAT = StepTimes((1, 8), (0.01, 0.01), 1000.0, "measured", "2026-01-01")
LINEAR = StepTimes((1, 8), (0.01, 0.08), 1000.0, "measured", "2026-01-01")


def request(**changes: Any) -> Request:
    values: dict[str, Any] = {
        "prompt": 20,
        "room": 4000,
        "expected": 200,
        "max_tokens": None,
        "bytes_per_token": 1000,
        "memory_free": 1 << 40,
        "parallel": True,
        "runtime": "fake",
        "seconds": None,
    }
    return Request(**values | changes)


def plan(budget: Budget, times: StepTimes = FLAT, **changes: Any) -> Any:
    return make_plan(budget, request(seconds=budget.seconds, **changes), CostModel(times))


curves = st.lists(st.floats(1e-4, 1.0), min_size=1, max_size=4).map(
    lambda seconds: StepTimes(
        (1, 2, 4, 8)[: len(seconds)], tuple(sorted(seconds)), 100.0, "measured", "2026-01-01"
    )
)
maybe = st.none()


@given(
    times=curves,
    seconds=maybe | st.floats(1e-6, 1.7e308),
    tokens=maybe | st.integers(1, 10**6),
    samples=maybe | st.integers(1, 40),
    memory=maybe | st.integers(1, 10**9),
    max_tokens=maybe | st.integers(1, 5000),
    expected=st.integers(1, 1000),
    room=st.integers(1, 4000),
    prompt=st.integers(1, 4000),
    parallel=st.booleans(),
)
def test_no_plan_goes_beyond_a_limit(
    times: StepTimes,
    seconds: float | None,
    tokens: int | None,
    samples: int | None,
    memory: int | None,
    max_tokens: int | None,
    expected: int,
    room: int,
    prompt: int,
    parallel: bool,
) -> None:
    budget = Budget(seconds=seconds, tokens=tokens, samples=samples, memory_bytes=memory)
    asked = request(
        prompt=prompt,
        room=room,
        expected=expected,
        max_tokens=max_tokens,
        parallel=parallel,
        seconds=seconds,
    )
    try:
        made = make_plan(budget, asked, CostModel(times))
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
        branches = made.width * (prompt + made.max_tokens)
        waiting = prompt if made.samples > made.width else 0
        assert (branches + waiting) * asked.bytes_per_token <= memory
    assert math.isfinite(made.predicted_seconds)
    assert made.predicted_seconds > 0


@pytest.mark.parametrize("samples", [1, 2, 7, 16, 40])
def test_what_is_asked_for_is_planned_when_nothing_limits(samples: int) -> None:
    made = plan(Budget(samples=samples))
    assert (made.samples, made.width) == (samples, min(samples, MAX_WIDTH))
    assert made.rounds * made.width >= samples
    assert f"{samples} samples were asked for" in made.reason


def test_without_a_budget_there_is_one_sample() -> None:
    made = plan(Budget())
    assert (made.samples, made.strategy, made.max_tokens) == (1, "single", DEFAULT_MAX_TOKENS)


def test_more_time_never_means_fewer_samples() -> None:
    for times in (FLAT, LINEAR):
        counts = [plan(Budget(seconds=s), times).samples for s in (0.5, 1, 2, 4, 8, 16, 32, 64)]
        assert counts == sorted(counts)
        assert counts[0] == 1
        assert counts[-1] == MAX_SAMPLES


def test_a_pass_whose_width_costs_nothing_is_made_wide() -> None:
    seconds = 4.0
    assert plan(Budget(seconds=seconds), FLAT).width > plan(Budget(seconds=seconds), LINEAR).width


def test_a_deadline_that_has_passed_still_has_a_plan() -> None:
    made = make_plan(Budget(seconds=0.1), request(seconds=-3.0), CostModel(LINEAR))
    assert (made.samples, made.width, made.max_tokens) == (1, 1, 1)


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


def test_no_memory_is_an_error_that_names_both_numbers() -> None:
    with pytest.raises(OutOfMemory, match=r"needs 0\.3 MB, but only 0\.1 MB"):
        plan(Budget(memory_bytes=100_000))
    with pytest.raises(OutOfMemory):
        plan(Budget(), memory_free=100_000)


def test_joules_are_refused_where_the_power_is_not_known() -> None:
    with pytest.raises(InvalidInput, match="joules"):
        plan(Budget(joules=5.0))


def test_a_plan_says_where_its_times_come_from() -> None:
    assert plan(Budget()).source == "measured 2026-01-01"


def test_passes_are_predicted_by_the_curve_times_what_is_observed() -> None:
    cost = CostModel(LINEAR)
    assert cost.step(4) == pytest.approx(0.04)
    assert cost.step_bound(4) > cost.step(4)  # before anything was seen, be careful
    for factor in (2.0, 2.0, 2.5):
        cost.observe(4, 0.04 * factor)
    assert cost.ratio == pytest.approx(2.0)
    assert cost.step(8) == pytest.approx(0.16)
    assert cost.step_bound(8) == pytest.approx(0.2)
    for _ in range(100):
        cost.observe(1, 0.01)
    assert cost.ratio == pytest.approx(1.0)  # load that is gone is forgotten
    assert cost.step_bound(1) == pytest.approx(0.01)
    assert cost.prefill(500) == pytest.approx(0.5)
