"""Find the best meter that this machine has."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgetts.energy.battery import CHARGING, BatteryCounter, Cells, PercentCells, SysfsCells, capacity
from edgetts.energy.counter import Counter, Unavailable
from edgetts.energy.ledger import AnswerMeter, Ledger, UnderWay
from edgetts.energy.machine import HERE, Machine
from edgetts.energy.modelled import ModelledCounter
from edgetts.energy.rapl import RaplCounter
from edgetts.energy.through_zeus import zeus_counter
from edgetts.errors import InvalidInput, MissingExtra, Unsupported
from edgetts.near_miss import near_miss
from edgetts.profiles.device import PowerDraw

VARIABLE = "EDGETTS_METER"
METERS = ("zeus", "rapl", "battery", "model", "none")
"""By name; where none is named, the first that there is, a battery only for runs that are long enough for it."""
_THIS_PROCESS = UnderWay()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A meter that was looked for. reason: why it is not there, or not used; "" where it is."""

    name: str
    counter: Counter | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Meters:
    """Make the meter of each answer (a MeterFactory). looked: every meter there might be, in order of preference."""

    ledgers: tuple[Ledger, ...]
    looked: tuple[Candidate, ...]
    under_way: UnderWay

    @property
    def name(self) -> str:
        """Of the meter that counts; the ones after it stand in where it cannot tell."""
        return self.ledgers[0].counter.name if self.ledgers else "none"

    @property
    def stated(self) -> str:
        """What counts, in words."""
        if not self.ledgers:
            return "not counted"
        first = self.ledgers[0].counter
        return f"{first.provenance}: {first.source}"

    def __call__(self) -> AnswerMeter | None:
        return AnswerMeter(self.ledgers, self.under_way) if self.ledgers else None


def find_meter(
    power: PowerDraw | None,
    *,
    name: str | None = None,
    seconds: float = 10.0,
    machine: Machine = HERE,
    under_way: UnderWay = _THIS_PROCESS,
) -> Meters:
    """Return what makes each answer's meter: the best measured one, with the model to stand in for it.

    power: the device's watts, for the model and for what counters miss. name: one of METERS; None is the variable
    EDGETTS_METER's, or else the best there is. seconds: that an answer is expected to take at least. Raises
    InvalidInput for a name that is none; MissingExtra or Unsupported for a meter that was named and is not there.
    """
    name = name or machine.environment(VARIABLE) or None
    if name is not None and name not in METERS:
        raise InvalidInput(f"There is no meter {name!r}.", hint=near_miss(name, METERS))
    if name == "none":
        return Meters((), (), under_way)
    looked = look(power, name=name, seconds=seconds, machine=machine)
    if name is not None:
        named = next(one for one in looked if one.name == name)
        if named.counter is None:
            raise Unsupported(
                f"The meter {name} cannot be used: {named.reason}",
                hint=f"Leave {VARIABLE} out to take the best there is.",
            )
        chosen = [named, *(one for one in looked if one.name == "model" and one is not named)]
    else:
        chosen = [one for one in looked if not one.reason]
        # One that measures, and the model: two that measure would be read for nothing.
        chosen = [*chosen[:1], *(one for one in chosen[1:] if one.name == "model")]
    ledgers = tuple(Ledger(one.counter) for one in chosen if one.counter is not None)
    return Meters(ledgers, tuple(looked), under_way)


def look(
    power: PowerDraw | None, *, name: str | None = None, seconds: float = 10.0, machine: Machine = HERE
) -> Sequence[Candidate]:
    """Try every meter, the best first; each tells why it is not used. MissingExtra only where zeus is named."""
    rapl = _try("rapl", lambda: RaplCounter(machine, power))
    model = _try("model", lambda: _model(power, machine))
    battery = _try("battery", lambda: BatteryCounter(_cells(machine), machine))
    cpu = rapl.counter or model.counter
    try:
        zeus = _try("zeus", lambda: zeus_counter(machine, power, cpu, asked=name == "zeus"))
    except MissingExtra as error:
        if name == "zeus":
            raise
        zeus = Candidate("zeus", None, str(error))
    if isinstance(battery.counter, BatteryCounter):
        battery = Candidate("battery", battery.counter, _coarse(battery.counter, seconds))
    return [zeus, rapl, battery, model]


def _try(name: str, make: Callable[[], Counter]) -> Candidate:
    try:
        return Candidate(name, make())
    except Unavailable as why:
        return Candidate(name, None, str(why))
    except OSError as error:
        return Candidate(name, None, f"It cannot be read: {error.strerror or error}.")


def _model(power: PowerDraw | None, machine: Machine) -> Counter:
    if power is None:
        raise Unavailable("This device's watts are not known: no profile states them.")
    return ModelledCounter(power, machine.cores(), machine.clock, machine.cpu_time)


def _coarse(battery: BatteryCounter, seconds: float) -> str:
    if battery.charging:
        return f"{CHARGING[0].upper()}{CHARGING[1:]}."
    if battery.shortest > seconds:
        return f"It tells steps of {battery.step:.0f} J: only runs of {battery.shortest:.0f} s and more show in it."
    return ""


def _cells(machine: Machine) -> Cells:
    if machine.platform == "linux":
        return SysfsCells(machine.root)
    return PercentCells(machine, lambda: _capacity(machine))


def _capacity(machine: Machine) -> float | None:
    # Windows tells it to drivers and to a report in HTML only.
    if machine.platform != "darwin":
        return None
    try:
        told = subprocess.run(
            ["/usr/sbin/ioreg", "-rn", "AppleSmartBattery", "-a"], capture_output=True, timeout=2, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return capacity(told.stdout)
