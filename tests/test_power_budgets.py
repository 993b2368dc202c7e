"""What an answer may take by default, by what the user asks for and what the device is in."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
from fakes_energy import LAPTOP
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetts.energy.budgets import default_budget
from edgetts.profiles.device import DefaultBudget, DeviceProfile, PowerMode, PowerState, Processor
from edgetts.profiles.figure import Figure

DEVICE = DeviceProfile(
    name="test",
    title="A test",
    kind="modelled",
    memory_bytes=Figure(8e9, "vendor"),
    processor=Processor("a processor", 4, Figure(2e10, "vendor"), Figure(1e11, "vendor")),
    power=LAPTOP,
)
MODES: tuple[PowerMode, ...] = get_args(PowerMode)
STATES: tuple[PowerState, ...] = get_args(PowerState)
MAINS, BATTERY, LOW = (DefaultBudget(samples=count) for count in (16, 8, 2))


def test_a_profile_without_tables_allows_one_sample() -> None:
    for mode in MODES:
        for state in STATES:
            assert default_budget(DEVICE, mode, state) == DefaultBudget() == DefaultBudget(samples=1)


@pytest.mark.parametrize(
    ("state", "budget"),
    [("mains", MAINS), ("battery", BATTERY), ("low", LOW), ("throttled", LOW), ("background", BATTERY)],
)
def test_a_state_without_a_row_has_the_nearest(state: PowerState, budget: DefaultBudget) -> None:
    device = replace(DEVICE, budgets={"balanced": {"mains": MAINS, "battery": BATTERY, "low": LOW}})
    assert default_budget(device, "balanced", state) == budget
    # So does a mode without a table.
    assert default_budget(device, "saver", state) == budget


def test_mains_never_has_the_row_of_a_battery() -> None:
    device = replace(DEVICE, budgets={"saver": {"battery": LOW}, "balanced": {"mains": MAINS}})
    assert default_budget(device, "saver", "mains") == MAINS
    assert default_budget(device, "saver", "battery") == LOW
    assert default_budget(device, "performance", "mains") == MAINS


ROWS = st.dictionaries(
    st.sampled_from(MODES), st.dictionaries(st.sampled_from(STATES), st.builds(DefaultBudget, samples=st.integers(1, 64)))
)  # fmt: skip


@settings(deadline=None)
@given(ROWS, st.sampled_from(MODES), st.sampled_from(STATES))
def test_a_row_that_is_there_is_taken_and_nothing_else_is_made_up(
    rows: dict[PowerMode, dict[PowerState, DefaultBudget]], mode: PowerMode, state: PowerState
) -> None:
    found = default_budget(replace(DEVICE, budgets=rows), mode, state)
    if state in rows.get(mode, {}):
        assert found == rows[mode][state]
    else:
        assert found == DefaultBudget() or any(found in table.values() for table in rows.values())
