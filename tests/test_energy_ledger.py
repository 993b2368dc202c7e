"""What a counter counts is charged to the answers under way: nothing twice, nothing lost, bounds around all of it."""

from __future__ import annotations

import gc
import math
import threading
from typing import Any

import pytest
from fakes_energy import FakeCounter, energy
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetts.energy.counter import Count
from edgetts.energy.ledger import AnswerMeter, Ledger, UnderWay
from edgetts.energy.meter import Energy, EnergyMeter


class House:
    """A counter, a second to stand in for it, and the answers under way."""

    def __init__(self) -> None:
        self.counter, self.spare = FakeCounter(), FakeCounter()
        self.spare.name, self.spare.source, self.spare.provenance = "spare", "a guess", "modelled"
        self.ledgers: list[Ledger] = [Ledger(self.counter), Ledger(self.spare)]  # type: ignore[arg-type]
        self.under_way = UnderWay()

    def begin(self) -> AnswerMeter:
        meter = AnswerMeter(self.ledgers, self.under_way)
        meter.start()
        return meter


def test_it_keeps_the_contract() -> None:
    assert isinstance(House().begin(), EnergyMeter)


def test_one_answer_is_charged_what_was_counted_since_its_start() -> None:
    house = House()
    house.counter.add(5.0)
    meter = house.begin()
    assert energy(meter) == Energy(0.0, 0.0, 0.0, "a test", "measured")
    house.counter.add(3.0, low=2.0, high=4.0)
    assert energy(meter) == Energy(3.0, 2.0, 4.0, "a test", "measured")
    assert energy(meter).stated == "measured: a test"


def test_answers_at_the_same_time_share_and_nothing_is_charged_twice() -> None:
    house = House()
    first = house.begin()
    house.counter.add(10.0)
    second = house.begin()
    house.counter.add(8.0)
    assert energy(first).joules == pytest.approx(14.0)
    assert energy(second).joules == pytest.approx(4.0)
    del first
    gc.collect()
    house.counter.add(6.0)
    assert energy(second).joules == pytest.approx(10.0)


def test_what_is_counted_between_answers_is_nobodys() -> None:
    house = House()
    first = house.begin()
    house.counter.add(1.0)
    assert energy(first).joules == 1.0
    del first
    gc.collect()
    house.counter.add(100.0)
    assert energy(house.begin()).joules == 0.0


def test_a_meter_started_again_counts_from_then() -> None:
    house = House()
    meter = house.begin()
    house.counter.add(3.0)
    assert energy(meter).joules == 3.0
    meter.start()
    house.counter.add(1.0)
    assert energy(meter).joules == 1.0


def test_a_meter_never_started_knows_nothing() -> None:
    house = House()
    assert AnswerMeter(house.ledgers, house.under_way).read() is None


def test_a_counter_that_cannot_tell_leaves_the_whole_answer_to_the_next() -> None:
    house = House()
    meter = house.begin()
    house.counter.add(2.0)
    house.spare.add(2.5)
    assert energy(meter).joules == 2.0
    house.counter.trouble = "a charger was plugged in"
    house.spare.add(0.5)
    found = energy(meter)
    assert (found.joules, found.provenance) == (3.0, "modelled")
    assert found.source == "a guess (not by fake: a charger was plugged in)"
    house.counter.trouble = None
    house.counter.add(1.0)
    house.spare.add(1.0)
    assert energy(meter).joules == 4.0  # what was missed is not found again
    # The next answer has the counter again.
    later = house.begin()
    house.counter.add(1.0)
    assert energy(later).joules == pytest.approx(0.5)
    assert energy(later).provenance == "measured"


def test_without_another_counter_nobody_knows() -> None:
    house = House()
    house.ledgers.pop()
    meter = house.begin()
    house.counter.trouble = "gone"
    assert meter.read() is None


def test_a_counter_that_cannot_tell_at_the_start_is_not_used_for_that_answer() -> None:
    house = House()
    house.counter.trouble = "on mains"
    meter = house.begin()
    house.counter.trouble = None
    house.spare.add(1.0)
    assert energy(meter).provenance == "modelled"
    assert "on mains" in energy(meter).source


@pytest.mark.parametrize(
    "bad",
    [
        Count(math.nan, 0.0, 0.0),
        Count(9.0, 9.0, math.inf),
        Count(4.0, 5.0, 5.0),
        Count(5.0, 4.0, 5.0),
        Count(5.0, 5.0, 4.0),
        Count(6.0, 6.0, 6.0, math.nan),
    ],
)
def test_counts_that_fall_or_are_no_numbers_are_not_charged(bad: Count) -> None:
    house = House()
    house.counter.count = Count(5.0, 5.0, 5.0)
    meter = house.begin()
    house.counter.count = bad
    house.spare.add(1.0)
    assert energy(meter).provenance == "modelled"
    assert energy(meter).joules == 1.0


def test_a_file_that_vanishes_is_trouble_and_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House()
    meter = house.begin()

    def gone() -> Count:
        raise OSError(19, "No such device")

    monkeypatch.setattr(house.counter, "read", gone)
    house.spare.add(1.0)
    assert "No such device" in energy(meter).source


def test_steps_at_both_ends_widen_the_bounds_once_however_often_it_is_read() -> None:
    house = House()
    house.counter.add(0.0, edge=36.0)
    meter = house.begin()
    for _ in range(100):
        house.counter.add(1.0, edge=36.0)
        found = energy(meter)
    assert (found.joules, found.low, found.high) == (100.0, 28.0, 172.0)


AMOUNT = st.floats(0, 1e6)
EVENT = st.tuples(
    st.sampled_from(["spend", "begin", "end", "read"]), st.integers(0, 4), AMOUNT, AMOUNT, AMOUNT, AMOUNT
)


@settings(deadline=None)
@given(st.lists(EVENT, max_size=40))
def test_laws_of_charging(events: list[tuple[str, int, float, float, float, float]]) -> None:
    """low <= joules <= high, none negative, none falls; all answers together are charged what was counted meanwhile."""
    house = House()
    meters: dict[int, AnswerMeter] = {}
    before: dict[int, Energy] = {}
    ended, counted = 0.0, 0.0
    for kind, who, joules, less, more, edge in events:
        if kind == "spend":
            house.counter.add(joules, low=max(joules - less, 0.0), high=joules + more, edge=edge)
            counted += joules if meters else 0.0
        elif kind == "begin" and who not in meters:
            meters[who] = house.begin()
        elif kind == "end" and who in meters:
            ended += energy(meters[who]).joules
            before.pop(who, None)
            del meters[who]
            gc.collect(0)
        for one, meter in meters.items():
            found = energy(meter)
            assert 0 <= found.low <= found.joules <= found.high < math.inf
            if one in before:
                then = before[one]
                assert (found.low, found.joules, found.high) >= (then.low, then.joules, then.high)
                assert found.low >= then.low
                assert found.high >= then.high
            before[one] = found
    total = ended + sum(energy(meter).joules for meter in meters.values())
    assert total == pytest.approx(counted, rel=1e-9, abs=1e-6)


def test_answers_of_many_threads_are_charged_for_all_there_was() -> None:
    house = House()
    start = threading.Barrier(4)
    found: list[float] = []

    def answer() -> None:
        meter: Any = house.begin()
        start.wait()
        for _ in range(50):
            with house.under_way._lock:
                house.counter.add(1.0)
            meter.read()
        start.wait()
        found.append(energy(meter).joules)
        start.wait()

    threads = [threading.Thread(target=answer) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(found) == pytest.approx(200.0)
