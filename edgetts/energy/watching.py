"""What measured counters look at beside their counter: sleep, and what other programs compute."""

from __future__ import annotations

from collections.abc import Callable

from edgetts.energy.counter import CannotTell
from edgetts.energy.machine import Machine
from edgetts.energy.modelled import bounds
from edgetts.profiles.device import PowerDraw


class Awake:
    """Say when the device slept: counters stop, are reset or go on then, and none of it was the answer's."""

    def __init__(self, machine: Machine) -> None:
        self._asleep = machine.asleep
        # A wall clock is corrected by fractions of a second all the time.
        self._slack = 0.5 if machine.platform == "linux" else 2.0
        self._before = machine.asleep()

    def check(self) -> None:
        """Raise CannotTell where the device slept since the last look."""
        before, self._before = self._before, self._asleep()
        if not abs(self._before - before) <= self._slack:
            raise CannotTell("the device slept meanwhile, or its clock was set")


class OwnShare:
    """Which part of the processor time that all programs use is this process's, over the last fifth of a second."""

    def __init__(self, cpu_time: Callable[[], float], busy: Callable[[], float]) -> None:
        self._cpu_time, self._busy = cpu_time, busy
        self._own, self._all = cpu_time(), busy()
        self._share = 1.0

    def now(self) -> float:
        own, everyone = self._cpu_time(), self._busy()
        # The system counts in ticks of a hundredth of a second: shorter stretches would only show those.
        if everyone - self._all >= 0.2:
            self._share = min(max((own - self._own) / (everyone - self._all), 0.0), 1.0)
            self._own, self._all = own, everyone
        elif not everyone >= self._all:
            self._own, self._all = own, everyone
        return self._share


class Rest:
    """What a counter of the processor misses: memory, screen, disk, converters. An upper bound, in joules.

    Where the device's watts are known: those it draws idle, and a tenth of what is counted for converters. Where they
    are not: as much again as is counted.
    """

    def __init__(self, power: PowerDraw | None) -> None:
        self._watts = None if power is None else bounds(power.idle_watts)[1]

    def at_most(self, counted: float, seconds: float) -> float:
        return counted if self._watts is None else 0.1 * counted + self._watts * seconds
