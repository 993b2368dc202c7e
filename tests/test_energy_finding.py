"""Which meter is taken, and what is said of the others."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes_energy import LAPTOP, FakeMachine

from edgetts.energy.finding import METERS, find_meter
from edgetts.energy.ledger import UnderWay
from edgetts.errors import InvalidInput, Unsupported


@pytest.fixture
def fake(tmp_path: Path) -> FakeMachine:
    return FakeMachine(tmp_path)


def test_nothing_known_is_nothing_counted(fake: FakeMachine) -> None:
    meters = find_meter(None, machine=fake.machine)
    assert (meters.name, meters(), meters.stated) == ("none", None, "not counted")
    assert {one.name for one in meters.looked} | {"none"} == set(METERS)
    assert all(one.reason for one in meters.looked)


def test_a_measured_meter_comes_before_the_model_which_stands_in(fake: FakeMachine) -> None:
    assert find_meter(LAPTOP, machine=fake.machine).name == "model"
    fake.zone("0", "package-0", 0)
    meters = find_meter(LAPTOP, machine=fake.machine)
    assert [ledger.counter.name for ledger in meters.ledgers] == ["rapl", "model"]
    assert meters.stated == "measured: rapl (package-0)"
    assert find_meter(None, machine=fake.machine).name == "rapl"


@pytest.mark.parametrize("by", ["option", "variable"])
def test_a_meter_may_be_named(fake: FakeMachine, by: str) -> None:
    fake.zone("0", "package-0", 0)
    for name in ("model", "rapl", "none"):
        if by == "variable":
            fake.environment["EDGETTS_METER"] = name
            assert find_meter(LAPTOP, machine=fake.machine).name == name
        else:
            assert find_meter(LAPTOP, name=name, machine=fake.machine).name == name
    fake.environment["EDGETTS_METER"] = "none"
    assert find_meter(LAPTOP, name="rapl", machine=fake.machine).name == "rapl"
    fake.environment["EDGETTS_METER"] = ""
    assert find_meter(LAPTOP, machine=fake.machine).name == "rapl"


def test_a_name_that_is_none_is_refused_with_the_near_one(fake: FakeMachine) -> None:
    with pytest.raises(InvalidInput, match="There is no meter 'rappl'. Did you mean 'rapl'?"):
        find_meter(LAPTOP, name="rappl", machine=fake.machine)
    fake.environment["EDGETTS_METER"] = "\x00wattmeter"
    with pytest.raises(InvalidInput, match="There are: zeus, rapl, battery, model, none"):
        find_meter(LAPTOP, machine=fake.machine)


@pytest.mark.parametrize(
    ("name", "why"),
    [("rapl", "There is no RAPL"), ("battery", "There is no battery"), ("model", "no profile")],
)
def test_a_meter_that_was_named_and_is_not_there_is_no_silent_change(
    fake: FakeMachine, name: str, why: str
) -> None:
    with pytest.raises(Unsupported, match=why) as error:
        find_meter(None, name=name, machine=fake.machine)
    assert "Leave EDGETTS_METER out" in error.value.hint


def test_a_named_meter_has_the_model_to_stand_in(fake: FakeMachine) -> None:
    counter = fake.zone("0", "package-0", 0)
    meter = find_meter(LAPTOP, name="rapl", machine=fake.machine, under_way=UnderWay())()
    assert meter is not None
    assert meter.name == "rapl"
    meter.start()
    fake.passes(1.0)
    fake.write(counter, "gone")
    found = meter.read()
    assert found is not None
    assert found.provenance == "modelled"


def test_this_machine_can_be_looked_at() -> None:
    meters = find_meter(LAPTOP)
    meter = meters()
    assert meter is not None
    meter.start()
    first, second = meter.read(), meter.read()
    assert first is not None
    assert second is not None
    assert 0 <= first.low <= first.joules <= first.high
    assert second.joules >= first.joules
