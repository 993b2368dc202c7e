"""What computing costs: whole plans against a simulation pass by pass, and what observation teaches."""

# ruff: noqa: S311  simulations draw

from __future__ import annotations

import math
import random
import statistics
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetts.control.cost.drift import Drift
from edgetts.control.cost.joules import JouleCount
from edgetts.control.cost.lengths import KnownLengths, Lengths
from edgetts.control.cost.model import CostModel
from edgetts.control.cost.work import Work
from edgetts.profiles.curves import StepTimes
from edgetts.profiles.device import PowerDraw
from edgetts.profiles.figure import Figure

CURVE = StepTimes((1, 2, 4, 8, 16), (0.02, 0.022, 0.03, 0.05, 0.09), 500.0, "measured", past=100, growth=1e-6)
POWER = PowerDraw(Figure(5.0, "measured"), Figure(25.0, "measured"))


def run(work: Work, times: StepTimes, lengths: list[tuple[int, bool]]) -> tuple[float, int]:
    """Compute the samples pass by pass; return seconds and tokens."""
    seconds, tokens = times.prefill(work.prompt), 0
    rounds = list(work.rounds or (work.samples,))
    waiting = list(range(work.samples))
    running: dict[int, int] = {}
    begun = 0
    for upto in rounds:
        while running or begun < upto:
            while begun < upto and len(running) < work.width:
                sample = waiting.pop(0)
                begun += 1
                length, ended = lengths[sample]
                tokens += 1
                running[sample] = 1
                if length == 1 and not ended:
                    del running[sample]
            if not running:
                continue
            past = statistics.fmean(work.prompt + n - 0.5 for n in running.values())
            seconds += times.at(len(running), past) / (work.gain if work.width == 1 else 1)
            for sample in list(running):
                length, ended = lengths[sample]
                if running[sample] >= length:  # this pass drew the end
                    del running[sample]
                    continue
                running[sample] += 1
                tokens += 1
                if running[sample] >= length and not ended:
                    del running[sample]
    return seconds, tokens


@settings(max_examples=60, deadline=None)
@given(
    prompt=st.integers(1, 2000),
    width=st.integers(1, 9),
    lengths=st.lists(st.tuples(st.integers(1, 120), st.booleans()), min_size=1, max_size=12),
    in_rounds=st.booleans(),
)
def test_known_lengths_cost_what_they_take_pass_by_pass(
    prompt: int, width: int, lengths: list[tuple[int, bool]], in_rounds: bool
) -> None:
    samples = len(lengths)
    rounds = tuple(sorted({r for r in (2, 4, 8, samples) if r <= samples})) if in_rounds else ()
    work = Work(prompt, samples, min(width, samples), 10_000, KnownLengths(tuple(lengths)), rounds)
    seconds, tokens = run(work, CURVE, lengths)
    predicted = CostModel(CURVE).predict(work)
    assert predicted.seconds.value == pytest.approx(seconds, rel=0.02)
    assert predicted.seconds.low <= predicted.seconds.value <= predicted.seconds.high
    assert predicted.tokens.value == pytest.approx(tokens, rel=1e-6)


@pytest.mark.parametrize(
    ("samples", "width", "rounds"), [(1, 1, ()), (8, 8, ()), (12, 4, ()), (16, 8, (4, 8, 16))]
)
def test_intervals_cover_runs_whose_lengths_are_drawn_from_the_law(
    samples: int, width: int, rounds: tuple[int, ...]
) -> None:
    draw = random.Random(17 + samples)
    seen = tuple((round(draw.lognormvariate(5, 0.5)), True) for _ in range(60))
    work = Work(60, samples, width, 400, Lengths(seen), rounds)
    predicted = CostModel(CURVE).predict(work)
    quantiles = Lengths(seen).quantiles(64)
    inside, took = 0, []
    for _ in range(60):
        # One question's samples are alike in part, as the law says.
        common = draw.gauss(0, 1) * math.sqrt(Lengths(seen).shared)
        lengths = []
        for _ in range(samples):
            normal = common + draw.gauss(0, 1) * math.sqrt(1 - Lengths(seen).shared)
            at = min(63, int(64 * statistics.NormalDist().cdf(normal)))
            lengths.append((min(400, round(quantiles[at])), quantiles[at] < 400))
        level = math.exp(draw.gauss(0, 0.1))
        seconds = run(work, CURVE, lengths)[0] * level
        inside += predicted.seconds.low <= seconds <= predicted.seconds.high
        took.append(seconds)
    # Of 60 at 90%, fewer than 45 come once in 10,000 times.
    assert inside >= 45
    took.sort()
    assert predicted.seconds.high - predicted.seconds.low < 1.6 * (took[56] - took[3])


def test_a_rule_that_stops_early_costs_less_and_varies_more() -> None:
    cost, law = CostModel(CURVE), Lengths(((150, True),) * 50)
    whole = cost.predict(Work(60, 16, 4, 400, law))
    early = cost.predict(Work(60, 16, 4, 400, law, expected=6.0))
    rounds = cost.predict(Work(60, 16, 4, 400, law, (4, 8, 16), expected=6.0))
    assert early.seconds.value < 0.7 * whole.seconds.value
    assert 3.0 * 150 <= rounds.tokens.low <= 4 * 150
    assert 12.0 * 150 <= rounds.tokens.high <= 17 * 150
    assert cost.predict(Work(60, 16, 4, 400, law, expected=99.0)) == whole


def test_waiting_for_rounds_never_takes_less_time() -> None:
    cost = CostModel(CURVE)
    free = cost.predict(Work(60, 16, 4, 400, Lengths()))
    waiting = cost.predict(Work(60, 16, 4, 400, Lengths(), (4, 8, 16)))
    assert waiting.seconds.value > free.seconds.value
    assert waiting.tokens.value == pytest.approx(free.tokens.value, rel=0.01)


def test_speculation_judging_and_closing_count() -> None:
    law = Lengths(((100, True),) * 50)
    plain = CostModel(CURVE).predict(Work(50, 1, 1, 400, law)).seconds.value
    faster = CostModel(CURVE).predict(Work(50, 1, 1, 400, law, gain=2.0)).seconds.value
    judged = CostModel(CURVE).predict(Work(50, 4, 4, 400, law, judging=50)).seconds.value
    unjudged = CostModel(CURVE).predict(Work(50, 4, 4, 400, law)).seconds.value
    assert faster - CURVE.prefill(50) == pytest.approx((plain - CURVE.prefill(50)) / 2, rel=0.02)
    assert judged - unjudged == pytest.approx(4 * CURVE.prefill(50), rel=0.05)
    drift = Drift()
    for _ in range(8):
        drift.asides.observe_closing(0.5)
        drift.asides.observe_choice(1.0)
    closed = CostModel(CURVE, drift).predict(Work(50, 4, 4, 400, law)).seconds.value
    assert closed - unjudged == pytest.approx(4 * 0.5 + 1.0, rel=0.01)


def test_joules_are_watts_by_seconds_and_none_where_no_power_is_known() -> None:
    work = Work(50, 2, 2, 100, Lengths())
    assert CostModel(CURVE).predict(work).joules is None
    half = CostModel(CURVE, power=POWER, share=0.5)
    assert half.watts == pytest.approx(15.0)
    made = half.predict(work)
    assert made.joules is not None
    assert made.joules.value == pytest.approx(15.0 * made.seconds.value, rel=0.01)
    modelled = PowerDraw(Figure(5.0, "modelled"), Figure(25.0, "modelled"))
    wide = CostModel(CURVE, power=modelled, share=0.5).predict(work).joules
    assert wide is not None
    assert wide.high / wide.low > made.joules.high / made.joules.low


def test_a_meter_corrects_the_watts() -> None:
    cost = CostModel(CURVE, power=POWER)
    for _ in range(12):
        cost.observe_joules(joules=50.0 * 4, seconds=4.0)
    assert cost.watts == pytest.approx(50.0, rel=0.1)


def test_memory_is_that_of_the_widest_moment() -> None:
    one = CostModel(CURVE).predict(Work(100, 1, 1, 50, Lengths(), bytes_per_token=10))
    four = CostModel(CURVE).predict(Work(100, 8, 4, 50, Lengths(), bytes_per_token=10))
    assert one.memory_bytes == (100 + 320 + 50) * 10
    assert four.memory_bytes == (100 + 320 + 4 * (100 + 320 + 50)) * 10


def test_what_is_observed_corrects_predictions_and_leaves_the_curve_alone() -> None:
    cost = CostModel(CURVE)
    assert cost.step(4) == pytest.approx(0.03)
    assert cost.step_bound(4) > cost.step(4)
    for factor in (2.0, 2.0, 2.5):
        cost.observe(4, 0.03 * factor)
    assert cost.ratio == pytest.approx(2.0)
    assert cost.step_bound(4) > cost.step(4)
    for _ in range(100):
        cost.observe(1, 0.02)
    assert cost.ratio == pytest.approx(1.0, rel=0.05)  # load that is gone is forgotten
    assert cost.step_bound(1) < 0.02 * 1.4
    assert CURVE.at(1) == 0.02
    assert cost.prefill(500) == pytest.approx(1.0)


def test_a_width_that_is_slower_than_its_curve_is_known_as_such() -> None:
    drift = Drift(0.05)
    cost = CostModel(CURVE, drift)
    for _ in range(40):
        for width, slower in ((1, 1.0), (4, 1.0), (8, 1.5)):
            for _ in range(3):
                cost.observe(width, CURVE.at(width) * slower)
    assert cost.step(8) / CURVE.at(8) == pytest.approx(1.5 * cost.step(1) / CURVE.at(1), rel=0.12)
    assert cost.step(1) == pytest.approx(CURVE.at(1), rel=0.12)


def test_what_one_answer_observed_counts_for_the_next_and_fades() -> None:
    now = 0.0
    drift = Drift(0.1, lambda: now)
    quiet = CostModel(CURVE, drift)
    for _ in range(200):
        now += 0.02
        quiet.observe(1, 0.02)
    loaded = CostModel(CURVE, drift)
    for _ in range(40):
        now += 0.06
        loaded.observe(1, 0.06)
    assert CostModel(CURVE, drift).ratio == pytest.approx(3.0, rel=0.05)
    now += 60.0
    assert 1.3 < CostModel(CURVE, drift).ratio < 2.5
    now += 3600.0
    assert CostModel(CURVE, drift).ratio < 1.35
    apart = drift.copy()
    for _ in range(20):
        CostModel(CURVE, apart).observe(1, 0.2)
    assert drift.level < 1.35 < apart.level


def test_prompts_about_as_long_tell_most_of_each_other() -> None:
    cost = CostModel(CURVE)
    for _ in range(6):
        cost.observe_prefill(50, 0.1 * 3)
        cost.observe_prefill(1500, 3.0)
    assert cost.prefill(50) == pytest.approx(0.3, rel=0.15)
    assert cost.prefill(1500) == pytest.approx(3.0, rel=0.1)
    assert 0.4 < cost.prefill(250) < 1.6


def test_observations_of_several_threads_are_all_taken() -> None:
    drift = Drift()
    failed: list[BaseException] = []

    def work() -> None:
        try:
            cost = CostModel(CURVE, drift)
            for i in range(300):
                cost.observe(1 + i % 5, 0.03)
                assert math.isfinite(cost.step_bound(3))
        except BaseException as error:  # noqa: BLE001 - told in the main thread
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, math.inf])
def test_a_clock_that_jumps_teaches_nothing(seconds: float) -> None:
    cost = CostModel(CURVE)
    cost.observe(2, seconds)
    assert cost.ratio == 1.0


def test_a_meter_that_stands_still_is_extrapolated_and_one_that_is_missing_replaced_by_watts() -> None:
    now, read = 10.0, None
    count = JouleCount(lambda: read, 20.0, lambda: now, 10.0)
    now = 12.0
    assert count.spent == pytest.approx(40.0)
    read = 100.0
    assert count.spent == pytest.approx(100.0)
    now = 13.0
    assert count.rate == pytest.approx(50.0)  # it draws more than was predicted
    assert count.spent == pytest.approx(150.0)
    read = 130.0
    assert count.spent == pytest.approx(130.0)
    assert JouleCount(None, 20.0, lambda: now, 10.0).spent == pytest.approx(60.0)
    assert JouleCount(None, None, lambda: now, 10.0).spent is None
