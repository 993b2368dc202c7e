"""Joules from a profile's watts and processor time."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from fakes_energy import LAPTOP, FakeMachine, energy
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetts.energy.counter import Unavailable
from edgetts.energy.finding import find_meter
from edgetts.energy.ledger import AnswerMeter, UnderWay
from edgetts.energy.modelled import ModelledCounter, bounds
from edgetts.profiles.device import PowerDraw
from edgetts.profiles.figure import Figure

NOWHERE = Path("/nonexistent")


def begin(fake: FakeMachine, under_way: UnderWay | None = None, power: PowerDraw = LAPTOP) -> AnswerMeter:
    meter = find_meter(power, name="model", machine=fake.machine, under_way=under_way or UnderWay())()
    assert meter is not None
    meter.start()
    return meter


def test_an_idle_device_draws_idle_watts_and_a_busy_one_busy_watts() -> None:
    fake = FakeMachine(NOWHERE)
    meter = begin(fake)
    fake.passes(10.0)
    assert energy(meter).joules == pytest.approx(40.0)
    fake.passes(10.0, cores=4)
    assert energy(meter).joules == pytest.approx(240.0)
    fake.passes(10.0, cores=1)
    assert energy(meter).joules == pytest.approx(320.0)
    assert energy(meter).stated == "modelled: 4 to 20 W (modelled) by processor time"


def test_bounds_come_from_the_figures_spreads() -> None:
    fake = FakeMachine(NOWHERE)
    meter = begin(fake)
    fake.passes(1.0, cores=4)
    found = energy(meter)
    assert (found.low, found.joules, found.high) == pytest.approx((16.0, 20.0, 24.0))
    assert bounds(Figure(10.0, "vendor")) == (7.0, 13.0)
    assert bounds(Figure(1.0, "measured", 3.0)) == (0.0, 4.0)


def test_a_single_core_may_draw_more_than_its_share() -> None:
    fake = FakeMachine(NOWHERE)
    meter = begin(fake)
    fake.passes(1.0, cores=1)
    assert energy(meter).high == pytest.approx(5.0 + 19.0 * 0.5)


def test_what_others_compute_is_not_charged() -> None:
    fake = FakeMachine(NOWHERE)
    meter = begin(fake)
    fake.passes(5.0, cores=0, others=4)
    assert energy(meter).joules == pytest.approx(20.0)


def test_two_answers_share_the_process_time() -> None:
    fake, under_way = FakeMachine(NOWHERE), UnderWay()
    model = find_meter(LAPTOP, name="model", machine=fake.machine, under_way=under_way)
    first, second = model(), model()
    assert first is not None
    assert second is not None
    first.start()
    second.start()
    fake.passes(10.0, cores=4)
    assert energy(first).joules == pytest.approx(100.0)
    assert energy(second).joules == pytest.approx(100.0)


def test_engines_of_one_process_share_too() -> None:
    fake, under_way = FakeMachine(NOWHERE), UnderWay()
    first, second = begin(fake, under_way), begin(fake, under_way)
    fake.passes(10.0, cores=4)
    assert energy(first).joules + energy(second).joules == pytest.approx(200.0)


def test_sleep_costs_nothing_since_its_clock_stands_still() -> None:
    fake = FakeMachine(NOWHERE)
    meter = begin(fake)
    fake.slept += 3600
    fake.passes(1.0)
    assert energy(meter).joules == pytest.approx(4.0)


def test_a_clock_that_goes_back_takes_nothing_back() -> None:
    fake = FakeMachine(NOWHERE)
    meter = begin(fake)
    fake.passes(2.0)
    spent = energy(meter).joules
    fake.now -= 50
    fake.used -= 5
    assert energy(meter).joules == spent


@pytest.mark.parametrize(
    "power",
    [
        PowerDraw(Figure(math.nan, "vendor"), Figure(5.0, "vendor")),
        PowerDraw(Figure(1.0, "vendor"), Figure(math.inf, "vendor")),
        PowerDraw(Figure(1.0, "vendor", math.nan), Figure(5.0, "vendor")),
        PowerDraw(Figure(-1.0, "vendor"), Figure(5.0, "vendor")),
        PowerDraw(Figure(6.0, "vendor"), Figure(5.0, "vendor")),
    ],
)
def test_watts_that_cannot_be_are_refused(power: PowerDraw) -> None:
    with pytest.raises(Unavailable):
        ModelledCounter(power, 4, lambda: 0.0, lambda: 0.0)


STRETCH = st.tuples(st.floats(0, 100), st.floats(0, 4), st.booleans())


@settings(deadline=None)
@given(st.lists(STRETCH, min_size=1, max_size=30))
def test_laws_of_the_model(stretches: list[tuple[float, float, bool]]) -> None:
    """Bounded by idle and busy watts over the time; the same however often it is read; consecutive answers add up."""
    fake = FakeMachine(NOWHERE)
    often, seldom = begin(fake), begin(fake)
    parts, part = [], begin(fake)
    passed = used = 0.0
    for seconds, cores, cut in stretches:
        fake.passes(seconds, cores)
        passed, used = passed + seconds, used + seconds * cores
        found = energy(often)
        assert 0 <= found.low <= found.joules <= found.high
        if cut:
            parts.append(energy(part))
            part = begin(fake)
    parts.append(energy(part))
    whole = energy(seldom)
    exact = 4.0 * passed + 16.0 * used / 4
    assert whole.joules == pytest.approx(exact, rel=1e-6, abs=1e-6)
    assert energy(often).joules == pytest.approx(exact, rel=1e-6, abs=1e-6)
    assert sum(one.joules for one in parts) == pytest.approx(exact, rel=1e-6, abs=1e-6)
    assert sum(one.low for one in parts) <= exact * (1 + 1e-6) + 1e-6
    assert sum(one.high for one in parts) >= exact * (1 - 1e-6) - 1e-6


def test_processor_time_told_in_ticks_is_not_lost_between_short_looks() -> None:
    fake = FakeMachine(NOWHERE, cores=1)
    meter = begin(fake)
    for look in range(1000):
        fake.now += 0.001
        if look % 15 == 14:
            fake.used += 0.015
        energy(meter)
    # Every core was busy all the time, and the last tick's rest is yet to come.
    assert energy(meter).joules == pytest.approx(20.0, rel=0.02)
