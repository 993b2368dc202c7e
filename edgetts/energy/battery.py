"""Tell what was spent from what the battery lost: the whole device, in coarse steps, and on no charger only."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, Protocol

from edgetts.energy.counter import CannotTell, Count, Unavailable
from edgetts.energy.machine import Machine, number, words
from edgetts.energy.watching import Awake

_HOUR = 3600.0
_PAUSE = 1.0
"""Seconds between two looks: firmware answers slowly, and has nothing new before."""
_REFRESH = 30.0
"""Seconds after which firmware tells what changed at the latest, an assumption."""
CHARGING = "a charger is plugged in, so that the battery does not tell"


class Cells(Protocol):
    """A device's batteries, as one."""

    source: str
    step: float
    """Joules of the least change that is told."""

    def charging(self) -> bool: ...

    def left(self) -> float | None:
        """Return the joules left, from a start that means nothing."""
        ...

    def watts(self) -> float | None:
        """Return what is drawn now, None where that is not told."""
        ...


class BatteryCounter:
    """Charge what the batteries lost.

    edge is a step at each end: the largest that was seen, or, where that is more, what was drawn since the last. With
    other programs, screen and radio in it, it says what the device spent, and nothing is left out of low.
    """

    name = "battery"
    provenance: Literal["measured"] = "measured"

    def __init__(self, cells: Cells, machine: Machine) -> None:
        self._cells = cells
        self._clock: Callable[[], float] = machine.clock
        self._awake = Awake(machine)
        self._last = cells.left()
        if self._last is None:
            raise Unavailable("The battery does not tell how much is left in it.")
        self._at = self._changed = machine.clock()
        self.step = cells.step
        self._watts = cells.watts()
        self._most = self._watts or 0.0
        self._spent = 0.0
        self.charging = cells.charging()
        self.source = cells.source

    @property
    def shortest(self) -> float:
        """Seconds that must pass for the steps to be a fifth of what is counted."""
        return 10 * self.step / self._watts if self._watts else 600.0

    def read(self) -> Count:
        self._awake.check()
        now = self._clock()
        if self.charging or now - self._at >= _PAUSE:
            self._look(now)
        waiting = self._most * max(now - self._changed, 0.0)
        return Count(self._spent, self._spent, self._spent, max(self.step, waiting))

    def _look(self, now: float) -> None:
        was_charging, self.charging = self.charging, self._cells.charging()
        left, last, gap = self._cells.left(), self._last, now - self._at
        self._at, self._last, self._watts = now, left, self._cells.watts()
        if self.charging or was_charging:
            self._changed = now
            if self.charging:
                raise CannotTell(CHARGING)
            raise CannotTell("the charger was unplugged meanwhile")
        if left is None or last is None:
            raise CannotTell("the battery does not tell how much is left in it")
        if left > last:
            raise CannotTell("what is left in the battery rose without a charger")
        if left < last:
            self._spent += last - left
            # Between two looks far apart there were several steps.
            longest = math.inf if gap < 5 * _PAUSE else self._most * _REFRESH
            self.step = max(self.step, min(last - left, longest))
            self._changed, self._most = now, 0.0
        self._most = max(self._most, self._watts or 0.0)


class SysfsCells:
    """Linux: /sys/class/power_supply (kernel, Documentation/ABI/testing/sysfs-class-power)."""

    def __init__(self, root: Path) -> None:
        self._folder = root / "sys/class/power_supply"
        self._cells = [
            place
            for place in self._supplies("Battery")
            # A mouse's or a keyboard's battery has the scope Device.
            if words(place / "scope") != "Device"
        ]
        if not self._cells:
            raise Unavailable("There is no battery.")
        self._charges: dict[Path, tuple[float, float]] = {}
        self._lost = 0.0
        counted = [figure for place in self._cells for figure in _steps(place)]
        self.step = sum(counted)
        self.source = f"{', '.join(place.name for place in self._cells)} of /sys/class/power_supply"

    def _supplies(self, *kinds: str) -> Iterator[Path]:
        try:
            places = sorted(self._folder.iterdir())
        except OSError:
            return
        yield from (place for place in places if words(place / "type") in kinds)

    def charging(self) -> bool:
        mains = self._supplies("Mains", "USB", "Wireless")
        if any(number(place / "online", least=1, most=2) for place in mains):
            return True
        return not any(words(place / "status") == "Discharging" for place in self._cells)

    def left(self) -> float | None:
        total = 0.0
        for place in self._cells:
            try:
                energy = _positive(place / "energy_now")
                charge, volts = _positive(place / "charge_now"), _positive(place / "voltage_now")
            except PermissionError:
                return None
            if energy is not None:
                total += energy * 1e-6 * _HOUR
            elif charge is not None and volts is not None:
                # The voltage falls with the charge: each step is worth what it was between the two looks.
                before, pressure = self._charges.get(place, (charge, volts))
                self._charges[place] = charge, volts
                self._lost += (before - charge) * 1e-12 * _HOUR * (volts + pressure) / 2
            else:
                return None
        return total - self._lost

    def watts(self) -> float | None:
        total = 0.0
        for place in self._cells:
            try:
                power, current = _magnitude(place / "power_now"), _magnitude(place / "current_now")
                volts = _positive(place / "voltage_now")
            except PermissionError:
                return None
            if power is not None:
                total += power * 1e-6
            elif current is not None and volts is not None:
                total += current * volts * 1e-12
        return total if 0 < total < 1000 else None


def _steps(place: Path) -> Iterator[float]:
    """Yield the joules of a battery's least step: the power of ten that divides its figures, a milliwatt-hour at least."""
    try:
        volts = (_positive(place / "voltage_now") or 12e6) * 1e-6
        for name, worth in (("energy", 1.0), ("charge", volts)):
            figures = [
                int(f) for f in (_positive(place / f"{name}_now"), _positive(place / f"{name}_full")) if f
            ]
            if figures:
                step = next((s for s in (100_000, 10_000) if all(f % s == 0 for f in figures)), 1000)
                yield step * 1e-6 * _HOUR * worth
                return
    except PermissionError:
        return


def _positive(path: Path) -> float | None:
    return number(path, least=0, most=1e12)


def _magnitude(path: Path) -> float | None:
    # Some drivers tell a discharge as a negative current.
    value = number(path, least=-1e12, most=1e12)
    return None if value is None else abs(value)


class PercentCells:
    """macOS and Windows: psutil's percent of a capacity that is known. capacity: asks for joules of a full battery."""

    def __init__(self, machine: Machine, capacity: Callable[[], float | None]) -> None:
        if _percent(machine) is None:
            raise Unavailable("There is no battery.")
        charge = capacity()
        if charge is None or not 1000 < charge < 1e7:
            raise Unavailable(
                "The system does not tell the capacity of its battery, so that percents are no joules."
            )
        self._machine, self._charge = machine, charge
        self.step = charge / 100
        self.source = f"percents of a battery of {charge / _HOUR:.0f} Wh"

    def charging(self) -> bool:
        return getattr(self._machine.battery(), "power_plugged", None) is not False

    def left(self) -> float | None:
        percent = _percent(self._machine)
        return None if percent is None else percent / 100 * self._charge

    def watts(self) -> float | None:
        return None


def _percent(machine: Machine) -> float | None:
    value = getattr(machine.battery(), "percent", None)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) and 0 <= value <= 100 else None


def capacity(registry: bytes) -> float | None:
    """Return a full battery's joules from what macOS prints for `ioreg -rn AppleSmartBattery -a`."""
    import plistlib
    from xml.parsers.expat import ExpatError

    try:
        [battery, *_] = plistlib.loads(registry)
        return float(battery["AppleRawMaxCapacity"]) * float(battery["Voltage"]) * 1e-6 * _HOUR
    except (ValueError, TypeError, KeyError, OverflowError, ExpatError, plistlib.InvalidFileException):
        return None
