"""A machine whose clocks, batteries and files a test sets: there is neither RAPL nor a battery where tests run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from edgetts.energy.counter import CannotTell, Count
from edgetts.energy.ledger import AnswerMeter
from edgetts.energy.machine import Machine
from edgetts.energy.meter import Energy
from edgetts.profiles.device import PowerDraw
from edgetts.profiles.figure import Figure

LAPTOP = PowerDraw(Figure(4.0, "vendor", 1.0), Figure(20.0, "modelled", 4.0))


@dataclass
class FakeMachine:
    root: Path
    platform: str = "linux"
    cores: int = 4
    now: float = 100.0
    slept: float = 0.0
    used: float = 7.0
    busy: float = 50.0
    percent: Any = None
    plugged: Any = None
    environment: dict[str, str] = field(default_factory=dict)

    def passes(self, seconds: float, cores: float = 0.0, others: float = 0.0) -> None:
        """Let time pass, with so many cores used by this process and by others."""
        self.now += seconds
        self.used += seconds * cores
        self.busy += seconds * (cores + others)

    def write(self, name: str, value: object) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n", encoding="utf-8")

    def zone(self, index: str, name: str, energy: int, span: int = 262_143_328_850) -> str:
        """Add a zone of RAPL; return the name of its counter's file."""
        place = f"sys/class/powercap/intel-rapl:{index}"
        self.write(f"{place}/name", name)
        self.write(f"{place}/max_energy_range_uj", span)
        self.write(f"{place}/energy_uj", energy)
        return f"{place}/energy_uj"

    def supply(self, name: str, **values: object) -> None:
        for key, value in values.items():
            self.write(f"sys/class/power_supply/{name}/{key}", value)

    @property
    def machine(self) -> Machine:
        return Machine(
            root=self.root,
            platform=self.platform,
            clock=lambda: self.now,
            asleep=lambda: self.slept,
            cpu_time=lambda: self.used,
            busy=lambda: self.busy,
            cores=lambda: self.cores,
            battery=lambda: (
                None
                if self.percent is None
                else SimpleNamespace(percent=self.percent, power_plugged=self.plugged, secsleft=-1)
            ),
            environment=self.environment.get,
        )


class FakeCounter:
    """A counter that stands where a test puts it."""

    name = "fake"
    source = "a test"
    provenance = "measured"

    def __init__(self) -> None:
        self.count = Count(0.0, 0.0, 0.0)
        self.trouble: str | None = None
        self.reads = 0

    def add(
        self, joules: float, low: float | None = None, high: float | None = None, edge: float = 0.0
    ) -> None:
        self.count = Count(
            self.count.joules + joules,
            self.count.low + (joules if low is None else low),
            self.count.high + (joules if high is None else high),
            edge,
        )

    def read(self) -> Count:
        self.reads += 1
        if self.trouble is not None:
            raise CannotTell(self.trouble)
        return self.count


def energy(meter: AnswerMeter) -> Energy:
    """Read a meter that can tell."""
    found = meter.read()
    assert found is not None
    return found
