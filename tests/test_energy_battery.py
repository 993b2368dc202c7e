"""What a battery loses, in steps: on Linux from its files, elsewhere from percents."""

from __future__ import annotations

import math
import plistlib
from pathlib import Path

import pytest
from fakes_energy import LAPTOP, FakeMachine, energy
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetts.energy.battery import BatteryCounter, PercentCells, SysfsCells, capacity
from edgetts.energy.counter import Unavailable
from edgetts.energy.finding import find_meter
from edgetts.energy.ledger import AnswerMeter, UnderWay

HOUR = 3600.0


@pytest.fixture
def fake(tmp_path: Path) -> FakeMachine:
    fake = FakeMachine(tmp_path)
    fake.supply("AC", type="Mains", online=0)
    fake.supply(
        "BAT0",
        type="Battery",
        status="Discharging",
        energy_now=40_000_000,
        energy_full=50_000_000,
        power_now=12_000_000,
        voltage_now=11_400_000,
    )
    return fake


def begin(fake: FakeMachine) -> AnswerMeter:
    meter = find_meter(LAPTOP, name="battery", machine=fake.machine, under_way=UnderWay())()
    assert meter is not None
    meter.start()
    return meter


def test_a_long_run_is_charged_what_the_battery_lost(fake: FakeMachine) -> None:
    meter = begin(fake)
    for minute in range(1, 31):
        fake.passes(60.0)
        fake.supply("BAT0", energy_now=40_000_000 - minute * 200_000)
        energy(meter)
    found = energy(meter)
    assert found.joules == pytest.approx(30 * 60 * 12.0)
    assert found.provenance == "measured"
    assert "BAT0" in found.source
    assert found.low < found.joules < found.high


def test_each_end_is_wrong_by_a_step_at_most(fake: FakeMachine) -> None:
    fake.supply("BAT0", power_now="")
    meter = begin(fake)
    fake.passes(60.0)
    fake.supply("BAT0", energy_now=39_000_000)
    found = energy(meter)
    step = 0.1 * HOUR  # all figures are multiples of 100 mWh
    assert (found.low, found.joules, found.high) == pytest.approx((HOUR - 2 * step, HOUR, HOUR + 2 * step))


def test_a_battery_that_says_nothing_new_may_have_lost_what_is_drawn_since(fake: FakeMachine) -> None:
    meter = begin(fake)
    fake.passes(120.0)
    found = energy(meter)
    assert (found.joules, found.low) == (0.0, 0.0)
    assert found.high >= 120 * 12.0


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(1.0, 120.0), st.floats(1.0, 30.0)), min_size=1, max_size=25),
    st.sampled_from([1_000, 10_000, 100_000]),
    st.sampled_from([0.0, 8.0, 30.0]),
    st.integers(0, 5),
)
def test_the_bounds_hold_what_was_really_spent(
    tmp_path_factory: pytest.TempPathFactory,
    stretches: list[tuple[float, float]],
    step: int,
    refresh: float,
    before: int,
) -> None:
    """Whatever is drawn, and however coarse and late the battery tells it: what was spent lies within low and high."""
    fake = FakeMachine(tmp_path_factory.mktemp("battery"))
    left, told = 40_003_217.0, -math.inf

    def tell(watts: float) -> None:
        nonlocal told
        if fake.now - told >= refresh:
            fake.supply("BAT0", energy_now=int(left // step) * step)
            told = fake.now
        fake.supply("BAT0", power_now=int(watts * 1e6))

    fake.supply("BAT0", type="Battery", status="Discharging", energy_full=50_000_000)
    tell(10.0)
    make = find_meter(LAPTOP, name="battery", machine=fake.machine, under_way=UnderWay())
    meter, spent = None, 0.0
    for index, (seconds, watts) in enumerate(stretches):
        if index >= before and meter is None:
            meter = make()
            assert meter is not None
            meter.start()
        fake.passes(seconds)
        left -= seconds * watts / HOUR * 1e6
        tell(watts)
        if meter is not None:
            spent += seconds * watts
            found = energy(meter)
            assert found.low <= spent * (1 + 1e-9) + 1e-6
            assert found.high >= spent * (1 - 1e-9) - 1e-6
            assert 0 <= found.low <= found.joules <= found.high


def test_charge_times_voltage_where_there_is_no_energy(tmp_path: Path) -> None:
    fake = FakeMachine(tmp_path)
    fake.supply(
        "BAT1", type="Battery", status="Discharging", charge_now=3_000_000, charge_full=4_000_000, voltage_now=12_000_000
    )  # fmt: skip
    meter = begin(fake)
    fake.passes(600.0)
    fake.supply("BAT1", charge_now=2_800_000, voltage_now=11_000_000)
    assert energy(meter).joules == pytest.approx(0.2 * 11.5 * HOUR)
    fake.passes(600.0)
    fake.supply("BAT1", voltage_now=12_000_000)  # a voltage that recovers is nothing charged
    assert energy(meter).joules == pytest.approx(0.2 * 11.5 * HOUR)


def test_two_batteries_are_one(fake: FakeMachine) -> None:
    fake.supply("BAT1", type="Battery", status="Not charging", energy_now=20_000_000, energy_full=20_000_000)
    meter = begin(fake)
    fake.passes(100.0)
    fake.supply("BAT0", energy_now=39_900_000, status="Not charging")
    fake.supply("BAT1", energy_now=19_900_000, status="Discharging")
    assert energy(meter).joules == pytest.approx(0.2 * HOUR)


def test_a_charger_before_the_start_leaves_it_to_the_model(fake: FakeMachine) -> None:
    fake.supply("AC", online=1)
    fake.supply("BAT0", status="Charging")
    meter = begin(fake)
    fake.passes(5.0)
    found = energy(meter)
    assert (found.joules, found.provenance) == (pytest.approx(20.0), "modelled")
    assert "a charger is plugged in" in found.source


@pytest.mark.parametrize("back", [False, True])
def test_a_charger_meanwhile_leaves_the_whole_answer_to_the_model(fake: FakeMachine, back: bool) -> None:
    meter = begin(fake)
    fake.passes(50.0)
    fake.supply("BAT0", energy_now=39_800_000)
    assert energy(meter).provenance == "measured"
    fake.supply("AC", online=1)
    fake.supply("BAT0", status="Charging", energy_now=39_900_000)
    fake.passes(50.0)
    first = energy(meter)
    if back:
        fake.supply("AC", online=0)
        fake.supply("BAT0", status="Discharging")
        fake.passes(50.0)
    found = energy(meter)
    assert found.provenance == "modelled"
    assert "charger" in found.source
    assert found.joules >= first.joules


def test_unplugging_meanwhile_leaves_it_to_the_model(fake: FakeMachine) -> None:
    fake.supply("AC", online=1)
    meter = begin(fake)
    fake.passes(5.0)
    fake.supply("AC", online=0)
    fake.passes(5.0)
    assert energy(meter).provenance == "modelled"
    later = begin(fake)
    assert energy(later).provenance == "measured"


@pytest.mark.parametrize("value", ["", "nan", "-3", "40000000000000", "x"])
def test_nonsense_from_the_battery_leaves_it_to_the_model(fake: FakeMachine, value: str) -> None:
    meter = begin(fake)
    fake.passes(30.0)
    fake.supply("BAT0", energy_now=value)
    assert energy(meter).provenance == "modelled"


def test_a_battery_that_rises_without_a_charger_is_not_believed(fake: FakeMachine) -> None:
    meter = begin(fake)
    fake.passes(30.0)
    fake.supply("BAT0", energy_now=41_000_000)
    assert "rose without a charger" in energy(meter).source


def test_a_mouse_is_no_battery(tmp_path: Path) -> None:
    fake = FakeMachine(tmp_path)
    fake.supply("hid-mouse", type="Battery", scope="Device", status="Discharging", energy_now=1_000_000)
    with pytest.raises(Unavailable, match="no battery"):
        SysfsCells(fake.root)


def test_a_battery_that_tells_percents_only_is_not_there(tmp_path: Path) -> None:
    fake = FakeMachine(tmp_path)
    fake.supply("BAT0", type="Battery", status="Discharging", capacity=70)
    with pytest.raises(Unavailable, match="does not tell how much"):
        BatteryCounter(SysfsCells(fake.root), fake.machine)


def test_percents_of_a_known_capacity(tmp_path: Path) -> None:
    fake = FakeMachine(tmp_path, platform="darwin", percent=80, plugged=False)
    counter = BatteryCounter(PercentCells(fake.machine, lambda: 50 * HOUR), fake.machine)
    fake.passes(900.0)
    fake.percent = 75
    count = counter.read()
    assert count.joules == pytest.approx(2.5 * HOUR)
    assert count.edge >= 0.5 * HOUR


@pytest.mark.parametrize("percent", [None, math.nan, math.inf, -1, 101, "80", True])
def test_percents_that_are_none(tmp_path: Path, percent: object) -> None:
    fake = FakeMachine(tmp_path, platform="win32", percent=percent, plugged=False)
    with pytest.raises(Unavailable):
        PercentCells(fake.machine, lambda: 50 * HOUR)


def test_percents_of_an_unknown_capacity_are_no_joules(tmp_path: Path) -> None:
    fake = FakeMachine(tmp_path, platform="win32", percent=80, plugged=False)
    looked = {one.name: one for one in find_meter(LAPTOP, machine=fake.machine).looked}
    assert "does not tell the capacity" in looked["battery"].reason


def test_macos_tells_a_capacity() -> None:
    told = plistlib.dumps([{"AppleRawMaxCapacity": 4000, "Voltage": 12_500, "Serial": "x"}])
    assert capacity(told) == pytest.approx(50 * HOUR)
    for broken in (b"", b"<plist>", told[:200], plistlib.dumps([]), plistlib.dumps([{"Voltage": 3}])):
        assert capacity(broken) is None
    assert capacity(plistlib.dumps([{"AppleRawMaxCapacity": "many", "Voltage": 1}])) is None


def test_it_is_taken_unasked_for_runs_that_are_long_enough_only(fake: FakeMachine) -> None:
    fake.supply("BAT0", energy_now=40_010_000)
    assert find_meter(LAPTOP, machine=fake.machine).name == "model"
    looked = {one.name: one for one in find_meter(LAPTOP, machine=fake.machine).looked}
    assert looked["battery"].reason == "It tells steps of 36 J: only runs of 30 s and more show in it."
    assert find_meter(LAPTOP, machine=fake.machine, seconds=60).name == "battery"
    fake.supply("AC", online=1)
    assert find_meter(LAPTOP, machine=fake.machine, seconds=60).name == "model"
