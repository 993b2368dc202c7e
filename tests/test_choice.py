"""Which of several runtimes answers: the one that promises more, and it is opened only then."""

# ruff: noqa: F401, F811  fixtures are imported, and then named as parameters

from __future__ import annotations

from collections.abc import Sequence

import pytest
from fakes_engine import (
    ENDLESS,
    FakeClock,
    ScriptedSession,
    scripted_engine,
    tiny_engine_bundle,
    tiny_tokenizer,
)
from hypothesis import given
from hypothesis import strategies as st

from edgetts.budget import Budget
from edgetts.control.planning.choice import best_plan, lone_gain
from edgetts.control.planning.objective import Objective
from edgetts.decoding.session import Session
from edgetts.engine import Engine
from edgetts.errors import InvalidInput
from edgetts.host import Host
from edgetts.interval import Interval
from edgetts.profiles.curves import StepTimes
from edgetts.tokenizer import Tokenizer
from edgetts.types import Considered, DecodeParams, LeaveEarly, Plan, SamplingParams

# One is fast alone and pays for every further sample, the other hardly.
NARROW = StepTimes((1, 8), (0.01, 0.08), 1000.0, "measured")
WIDE = StepTimes((1, 8), (0.02, 0.022), 1000.0, "measured")


def two_runtimes(
    tokenizer: Tokenizer, first: StepTimes, second: StepTimes, *, scripts: Sequence[bytes] = (ENDLESS,) * 16
) -> tuple[Engine, list[Session]]:
    """Return an engine whose second runtime notes when it is opened."""
    clock = FakeClock()
    opened: list[Session] = []

    def opener() -> Session:
        opened.append(ScriptedSession(scripts, clock=clock, times=second))
        return opened[-1]

    session = ScriptedSession(scripts, clock=clock, times=first)
    other = Host("other", second, clock, opener=opener)
    return scripted_engine(tokenizer, session, clock=clock, times=first, others=[other]), opened


def test_one_sample_and_many_go_to_whoever_is_faster_at_them(tiny_tokenizer: Tokenizer) -> None:
    engine, opened = two_runtimes(tiny_tokenizer, NARROW, WIDE)
    sampling = SamplingParams(max_tokens=5)
    one = engine.answer("How many?", sampling=sampling)
    assert (one.plan.runtime, opened) == ("fake", [])
    many = engine.answer("How many?", sampling=sampling, budget=Budget(samples=8))
    assert (many.plan.runtime, len(opened)) == ("other", 1)
    assert set(many.plan.considered) == {"fake", "other"}
    assert many.plan.considered["other"] < many.plan.considered["fake"]
    assert len(many.samples) == 8
    again = engine.answer("How many?", sampling=sampling, budget=Budget(samples=8))
    assert (again.plan.runtime, len(opened)) == ("other", 1)
    engine.close()
    with pytest.raises(InvalidInput, match="closed"):
        engine.answer("How many?", budget=Budget(samples=8))


def test_a_deadline_goes_to_whoever_draws_more_samples_in_it(tiny_tokenizer: Tokenizer) -> None:
    engine, _ = two_runtimes(tiny_tokenizer, NARROW, WIDE)
    answer = engine.answer("How many?", budget=Budget(seconds=5.0), sampling=SamplingParams(max_tokens=50))
    assert answer.plan.runtime == "other"
    assert answer.usage.seconds <= 5.0 + WIDE.at(16)


def test_opening_counts(tiny_tokenizer: Tokenizer) -> None:
    slow = StepTimes(WIDE.widths, WIDE.seconds, WIDE.prefill_rate, "measured", opening=60.0)
    engine, opened = two_runtimes(tiny_tokenizer, NARROW, slow)
    answer = engine.answer("How many?", budget=Budget(samples=8), sampling=SamplingParams(max_tokens=5))
    assert (answer.plan.runtime, opened) == ("fake", [])


def test_a_runtime_without_the_guesser_that_is_named_is_not_taken(tiny_tokenizer: Tokenizer) -> None:
    engine, opened = two_runtimes(tiny_tokenizer, NARROW, WIDE)
    with pytest.raises(InvalidInput, match="no exits"):
        engine.answer("How many?", decode=DecodeParams(early_exit=LeaveEarly(agreement=0.9)))
    with pytest.raises(InvalidInput, match="no recurrent guesser"):
        engine.answer("How many?", decode=DecodeParams("auto", drafters=("recurrent",)))
    assert opened == []


@given(
    samples=st.lists(st.integers(1, 16), min_size=1, max_size=4),
    seconds=st.lists(st.floats(0.1, 100.0), min_size=4, max_size=4),
    right=st.none() | st.lists(st.floats(0.0, 1.0), min_size=4, max_size=4),
)
def test_no_other_plan_is_worth_more_or_as_much_sooner(
    samples: list[int], seconds: list[float], right: list[float] | None
) -> None:
    plans = []
    for i, count in enumerate(samples):
        success = None if right is None else Interval(right[i], 0.0, 1.0, 0.9)
        one = Considered(f"plan {i}", success=success)
        plans.append(
            Plan(str(i), "single", count, 1, 1, 10, "", seconds[i], success=success, candidates=(one,))
        )
    best = best_plan(plans, Objective())
    for i, other in enumerate(plans):
        if right is None:  # nothing is known of what samples are worth: as many as there can be
            assert (best.samples, -(best.predicted_seconds or 0)) >= (other.samples, -seconds[i])
        else:
            assert best.success is not None
            assert (best.success.value, -(best.predicted_seconds or 0)) >= (right[i], -seconds[i])
    assert {one.what for one in best.candidates} == {f"plan {i}" for i in range(len(plans))}
    assert [one.reason == "" for one in best.candidates] == [True, *[False] * (len(plans) - 1)]


def test_a_plan_that_keeps_the_limits_goes_before_one_that_does_not() -> None:
    kept = Plan("slow", "single", 1, 1, 1, 10, "", 9.0, candidates=(Considered("slow"),))
    broken = Plan(
        "fast", "vote", 8, 8, 1, 10, "", 1.0, candidates=(Considered("fast", "too much", fits=False),)
    )
    best = best_plan([broken, kept], Objective())
    assert best.runtime == "slow"
    assert best.considered == {"fast": 1.0, "slow": 9.0}


@given(right=st.floats(0.0, 1.0), wider=st.floats(1.0, 8.0))
def test_guessing_promises_no_loss_and_no_more_than_every_guess_right(right: float, wider: float) -> None:
    gain = lone_gain(StepTimes((1, 8), (1.0, wider), 100.0, "measured"), right)
    assert 1.0 <= gain <= 9.0
    assert lone_gain(StepTimes((1, 8), (1.0, 8.0), 100.0, "measured"), right) == pytest.approx(1.0)
