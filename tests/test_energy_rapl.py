"""RAPL's counters, from files like those of Linux."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from fakes_energy import LAPTOP, FakeMachine, energy
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetts.energy.counter import CannotTell, Unavailable
from edgetts.energy.finding import find_meter
from edgetts.energy.ledger import AnswerMeter, UnderWay
from edgetts.energy.rapl import RaplCounter, Zone, find_zones
from edgetts.profiles.device import PowerDraw

SPAN = 262_143_328_850


@pytest.fixture
def fake(tmp_path: Path) -> FakeMachine:
    return FakeMachine(tmp_path)


def begin(fake: FakeMachine, power: PowerDraw | None = LAPTOP) -> AnswerMeter:
    meter = find_meter(power, machine=fake.machine, under_way=UnderWay())()
    assert meter is not None
    meter.start()
    return meter


def test_packages_and_their_memory_add_up(fake: FakeMachine) -> None:
    first, second = fake.zone("0", "package-0", 1_000_000), fake.zone("1", "package-1", 5_000_000)
    memory = fake.zone("0:2", "dram", 0)
    fake.zone("0:0", "core", 900)  # a part of its package
    fake.zone("0:1", "uncore", 0)
    meter = begin(fake)
    fake.passes(2.0, cores=4)
    fake.write(first, 31_000_000)
    fake.write(second, 15_000_000)
    fake.write(memory, 2_000_000)
    fake.write("sys/class/powercap/intel-rapl:0:0/energy_uj", 29_000_900)
    found = energy(meter)
    assert found.joules == pytest.approx(42.0)
    assert found.stated == "measured: rapl (package-0, dram of 0, package-1)"
    # Below: the counters' error and a millisecond at either end. Above: what the device draws beside.
    edges = 2 * 42.0 / 2.0 * 0.001
    assert found.low == pytest.approx(42.0 * 0.95 - edges)
    assert found.high == pytest.approx(42.0 * 1.05 + 4.2 + 5.0 * 2.0 + edges)


def test_a_device_without_known_watts_may_draw_as_much_again(fake: FakeMachine) -> None:
    counter = fake.zone("0", "package-0", 0)
    meter = begin(fake, None)
    fake.passes(10.0)
    fake.write(counter, 50_000_000)
    assert energy(meter).high == pytest.approx(50.0 * 2.05, rel=0.001)


def test_the_platform_counter_is_taken_where_it_holds_more(fake: FakeMachine) -> None:
    package, whole = fake.zone("0", "package-0", 0), fake.zone("1", "psys", 0)
    meter = begin(fake)
    fake.passes(1.0)
    fake.write(package, 10_000_000)
    fake.write(whole, 16_000_000)
    assert energy(meter).joules == pytest.approx(16.0)
    assert "psys" in energy(meter).source
    fake.passes(1.0)
    fake.write(package, 20_000_000)  # and psys stands still: the board has no sensor
    assert energy(meter).joules == pytest.approx(26.0)


def test_what_others_compute_may_be_charged_too_much_and_the_lower_bound_says_so(fake: FakeMachine) -> None:
    counter = fake.zone("0", "package-0", 0)
    meter = begin(fake)
    for second in range(10):
        fake.passes(1.0, cores=1, others=3)
        fake.write(counter, (second + 1) * 20_000_000)
        energy(meter)
    found = energy(meter)
    assert found.joules == pytest.approx(200.0)
    assert found.low == pytest.approx(200.0 / 4 * 0.95, rel=0.02)


@pytest.mark.parametrize("span", [SPAN, 65_532_610_987])
def test_a_counter_that_wraps_goes_on(fake: FakeMachine, span: int) -> None:
    counter = fake.zone("0", "package-0", span - 5_000_000, span)
    meter = begin(fake)
    fake.passes(1.0)
    fake.write(counter, 7_000_000)
    assert energy(meter).joules == pytest.approx(12.0)


def test_a_counter_that_was_reset_does_not_count_as_wrapped(fake: FakeMachine) -> None:
    counter = fake.zone("0", "package-0", SPAN // 2)
    meter = begin(fake)
    fake.passes(1.0)
    fake.write(counter, 0)
    assert energy(meter).provenance == "modelled"
    assert "went back, and did not wrap" in energy(meter).source


def test_too_long_a_pause_may_hide_a_wrap(fake: FakeMachine) -> None:
    counter = fake.zone("0", "package-0", 0)
    meter = begin(fake)
    fake.passes(300.0)
    fake.write(counter, 1_000_000)
    assert "more than once" in energy(meter).source


@pytest.mark.parametrize("text", ["", "nan", "-5", "1e9", "12 34", "9" * 60, "\x00", "é"])
def test_nonsense_in_the_counter_leaves_it_to_the_model(fake: FakeMachine, text: str) -> None:
    counter = fake.zone("0", "package-0", 7)
    meter = begin(fake)
    fake.passes(1.0)
    fake.write(counter, text)
    assert energy(meter).provenance == "modelled"


def test_a_counter_that_vanishes_leaves_it_to_the_model(fake: FakeMachine) -> None:
    counter = fake.zone("0", "package-0", 7)
    meter = begin(fake)
    (fake.root / counter).unlink()
    fake.passes(1.0)
    assert energy(meter).provenance == "modelled"


def test_sleep_leaves_it_to_the_model(fake: FakeMachine) -> None:
    counter = fake.zone("0", "package-0", 0)
    meter = begin(fake)
    fake.passes(1.0)
    fake.slept += 60
    fake.write(counter, 3_000_000)
    found = energy(meter)
    assert (found.provenance, found.joules) == ("modelled", pytest.approx(4.0))
    assert "slept" in found.source
    # The next answer is measured again.
    again = begin(fake)
    fake.passes(1.0)
    fake.write(counter, 5_000_000)
    assert energy(again).joules == pytest.approx(2.0)


def test_no_counter_is_told(fake: FakeMachine) -> None:
    with pytest.raises(Unavailable, match="no RAPL"):
        RaplCounter(fake.machine, None)
    fake.zone("0:0", "core", 1)
    with pytest.raises(Unavailable, match="no RAPL"):
        find_zones(fake.root / "sys/class/powercap")


def test_a_counter_for_root_only_is_told_with_the_way_to_open_it(
    fake: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = fake.root / fake.zone("0", "package-0", 1)
    counter.chmod(0)
    if os.access(counter, os.R_OK):  # tests that run as root may read everything
        opened = Path.open

        def refused(path: Path, *args: object, **more: object) -> object:
            if path.name == "energy_uj" and not stat.S_IMODE(path.stat().st_mode):
                raise PermissionError(13, "Permission denied")
            return opened(path, *args, **more)  # type: ignore[call-overload]

        monkeypatch.setattr(Path, "open", refused)
    looked = {one.name: one for one in find_meter(LAPTOP, machine=fake.machine).looked}
    assert looked["rapl"].counter is None
    assert "only root may read it; sudo chmod a+r" in looked["rapl"].reason
    assert find_meter(LAPTOP, machine=fake.machine).name == "model"


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0.001, 60), st.floats(0, 500)), min_size=1, max_size=30))
def test_a_zone_finds_all_that_was_spent_over_any_number_of_wraps(
    tmp_path_factory: pytest.TempPathFactory, stretches: list[tuple[float, float]]
) -> None:
    path = tmp_path_factory.mktemp("zone") / "energy_uj"
    span, true = 65_532_610_987, 40_000_000_000
    zone = Zone("package-0", path, span, true)
    found, spent = 0.0, 0
    for seconds, watts in stretches:
        spent += int(seconds * watts * 1e6)
        path.write_text(str((true + spent) % span))
        found += zone.advance(seconds)
    assert found == pytest.approx(spent / 1e6, abs=1e-3)


def test_a_zone_refuses_what_no_processor_draws(tmp_path: Path) -> None:
    path = tmp_path / "energy_uj"
    path.write_text("3000000000")
    with pytest.raises(CannotTell):
        Zone("package-0", path, SPAN, 0).advance(1.0)
