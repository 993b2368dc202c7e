"""What an answer's usage says of joules."""

from __future__ import annotations

import dataclasses
import gc
from pathlib import Path

from fakes_energy import LAPTOP, FakeMachine

from edgetts.energy.finding import find_meter
from edgetts.energy.ledger import UnderWay
from edgetts.energy.meter import Energy
from edgetts.meter import Meter
from edgetts.types import Usage


class Counting:
    """An energy meter that counts how often it is asked."""

    name = "counting"

    def __init__(self, known: bool = True) -> None:
        self.starts = self.reads = 0
        self._known = known

    def start(self) -> None:
        self.starts += 1

    def read(self) -> Energy | None:
        self.reads += 1
        return (
            Energy(self.reads, self.reads / 2, self.reads * 2, "a test", "modelled") if self._known else None
        )


def test_usage_gives_joules_with_bounds_and_where_they_come_from() -> None:
    now = [5.0]
    usage = Meter(lambda: now[0], Counting()).usage([], None)
    assert (usage.joules, usage.joules_low, usage.joules_high) == (1, 0.5, 2)
    assert usage.joules_source == "modelled: a test"


def test_without_a_meter_or_where_it_cannot_tell_joules_are_left_out() -> None:
    for energy in (None, Counting(known=False)):
        meter = Meter(lambda: 0.0, energy)
        assert (meter.energy(), meter.joules()) == (None, None)
        usage = meter.usage([], None)
        fields = ("joules", "joules_low", "joules_high", "joules_source")
        assert [getattr(usage, name) for name in fields] == [None] * 4


def test_while_it_runs_the_meter_is_looked_at_every_50_ms_at_most() -> None:
    now, energy = [5.0], Counting()
    meter = Meter(lambda: now[0], energy)
    assert (energy.starts, energy.reads) == (1, 0)
    assert meter.joules() == 1
    for _ in range(100):
        now[0] += 0.01
        meter.joules()
        meter.energy()
    assert 15 <= energy.reads <= 21
    latest = energy.reads
    usage = meter.usage([], None)
    assert usage.joules == latest + 1  # the sum is not an old look


def test_an_answer_that_is_summed_up_is_under_way_no_longer() -> None:
    fake, under_way = FakeMachine(Path("/nonexistent")), UnderWay()
    make = find_meter(LAPTOP, machine=fake.machine, under_way=under_way)
    first, second = (Meter(lambda: fake.now, make()) for _ in range(2))
    fake.passes(10.0)
    assert first.usage([], None).joules == 20.0
    gc.collect()
    fake.passes(10.0)
    assert second.joules() == 60.0
    # Asked again, the first has not spent more.
    assert first.usage([], None).joules == first.joules() == 20.0


def test_old_callers_of_usage_need_not_know() -> None:
    required = {f.name for f in dataclasses.fields(Usage) if f.default is dataclasses.MISSING}
    assert not any(name.startswith("joules") for name in required)


def test_joules_that_were_shared_are_known_as_such_as_they_tell_of_no_watts() -> None:
    fake, under_way = FakeMachine(Path("/nonexistent")), UnderWay()
    make = find_meter(LAPTOP, machine=fake.machine, under_way=under_way)
    alone = Meter(lambda: fake.now, make())
    fake.passes(10.0)
    alone.usage([], None)
    assert not alone.shared
    gc.collect()
    first, second = (Meter(lambda: fake.now, make()) for _ in range(2))
    fake.passes(10.0)
    second.usage([], None)
    gc.collect()
    fake.passes(10.0)
    first.usage([], None)
    assert (first.shared, second.shared) == (True, True)
