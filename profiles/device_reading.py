"""Read devices from TOML that anybody may have written: every value is checked before it is a figure."""

from __future__ import annotations

from typing import get_args

from edgetts.profiles.device import (
    DefaultBudget,
    DeviceProfile,
    PowerDraw,
    PowerMode,
    PowerState,
    Processor,
)
from edgetts.profiles.figure import Figure, Provenance
from edgetts.profiles.table import Table
from edgetts.profiles.writing import ANY

_DAY = 86_400.0
_BYTES = 1 << 50
_RATE = 1e18
_WATTS = 1e5
_TOKENS = 1 << 30
_KINDS = ("measured", "modelled")
_NAME_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._-")


def is_name(text: str) -> bool:
    """Tell whether a text may be a device's name, and so a file's name."""
    return 0 < len(text) <= 64 and set(text) <= _NAME_LETTERS and text[0].isalnum()


def device_in(table: Table) -> DeviceProfile:
    """Take a device out of a table; what else the table holds is left in it."""
    name = table.text("name")
    if not is_name(name):
        raise table.wrong("name", "may hold only a-z, 0-9, dot, underscore and dash")
    npu, budgets = table.optional_table("npu"), table.optional_table("budgets")
    return DeviceProfile(
        name=name,
        title=table.text("title"),
        kind="measured" if table.word("kind", _KINDS) == "measured" else "modelled",
        memory_bytes=_figure(table.table("memory_bytes"), 1.0, _BYTES),
        processor=_processor(table.table("processor")),
        power=power_in(table.table("power")),
        npu=None if npu is None else _processor(npu),
        budgets={} if budgets is None else _budgets(budgets),
    )


def _processor(table: Table) -> Processor:
    processor = Processor(
        name=table.text("name"),
        cores=table.whole("cores", 1, 4096),
        bandwidth=_figure(table.table("bandwidth"), 1.0, _RATE),
        operations=_figure(table.table("operations"), 1.0, _RATE),
        provider=table.text("provider", ""),
    )
    table.end()
    return processor


def power_in(table: Table) -> PowerDraw:
    """Take the draw of power that a whole table is of."""
    idle, busy = (_figure(table.table(name), 0.0, _WATTS) for name in ("idle_watts", "busy_watts"))
    table.end()
    if busy.value < idle.value:
        raise table.wrong("busy_watts", "is below idle_watts")
    return PowerDraw(idle, busy)


def _figure(table: Table, low: float, high: float) -> Figure:
    figure = Figure(
        value=table.number("value", low, high),
        provenance=table.word("provenance", get_args(Provenance)),
        spread=table.number("spread", 0.0, high),
        source=table.text("source", ""),
        date=table.day("date", ""),
    )
    table.end()
    if figure.provenance == "measured" and not figure.date:
        raise table.wrong("date", "is missing, as of everything that is measured")
    return figure


def _budgets(table: Table) -> dict[PowerMode, dict[PowerState, DefaultBudget]]:
    found: dict[PowerMode, dict[PowerState, DefaultBudget]] = {}
    for mode in get_args(PowerMode):
        states = table.optional_table(mode)
        if states is None:
            continue
        found[mode] = {
            state: _budget(states.table(state)) for state in get_args(PowerState) if state in states
        }
        states.end()
    table.end()
    return found


def _budget(table: Table) -> DefaultBudget:
    budget = DefaultBudget(
        seconds=table.number("seconds", 1e-3, _DAY) if "seconds" in table else None,
        joules=table.number("joules", 1e-3, 1e9) if "joules" in table else None,
        samples=table.whole_or(ANY, "samples", 1, 1 << 20, 1),
        max_tokens=table.whole("max_tokens", 1, _TOKENS) if "max_tokens" in table else None,
    )
    table.end()
    return budget
