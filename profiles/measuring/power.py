"""Read the power of the device from an energy meter, idle and busy."""

from __future__ import annotations

from collections.abc import Callable

from edgetts.energy.meter import EnergyMeter
from edgetts.profiles.device import PowerDraw
from edgetts.profiles.figure import Figure


class Reading:
    """Mean watts from when it is made until `stop`."""

    def __init__(self, meter: EnergyMeter | None, clock: Callable[[], float], date: str) -> None:
        self._meter, self._clock, self._date = meter, clock, date
        self._began = clock()
        if meter is not None:
            meter.start()

    def stop(self) -> Figure | None:
        """Return the watts; None where nothing was measured: a model of the power is no measurement."""
        energy = None if self._meter is None else self._meter.read()
        self._meter, seconds = None, self._clock() - self._began
        if energy is None or energy.provenance != "measured" or seconds <= 0 or energy.joules <= 0:
            return None
        spread = max(energy.high - energy.joules, energy.joules - energy.low, 0.0) / seconds
        return Figure(energy.joules / seconds, "measured", spread, energy.source, self._date)


def draw(idle: Figure | None, busy: Figure | None) -> PowerDraw | None:
    """Return both figures; None where one is missing, or they contradict each other."""
    if idle is None or busy is None or busy.value < idle.value:
        return None
    return PowerDraw(idle, busy)


def why_not(metered: bool, idle: Figure | None, busy: Figure | None) -> str:
    """Say why there is no power draw. metered: whether there is a meter at all."""
    if not metered:
        return "there is no energy meter that can be read"
    if idle is None or busy is None:
        return "the energy meter gave no measured reading"
    return f"the energy meter read {busy.value:.1f} W busy and {idle.value:.1f} W idle"
