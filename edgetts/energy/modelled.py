"""Reckon joules from a device's watts and this process's processor time, where nothing can be measured."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

from edgetts.energy.counter import Count, Total, Unavailable
from edgetts.profiles.device import PowerDraw
from edgetts.profiles.figure import Figure

_DOUBT = {"measured": 0.1, "learned": 0.2, "vendor": 0.3, "modelled": 0.4, "default": 0.6}
"""How far a figure that states no spread may be off, as a share of it: guesses."""


def bounds(figure: Figure) -> tuple[float, float]:
    """Return what a figure's spread leaves possible; where it states none, its provenance does."""
    doubt = figure.spread or _DOUBT[figure.provenance] * figure.value
    return max(figure.value - doubt, 0.0), figure.value + doubt


class ModelledCounter:
    """Charge PowerDraw.at(share) for the time that passes, share being that of all cores' time that this process used.

    clock: seconds that stand still while the device sleeps, so that sleep costs nothing. cpu_time: processor seconds of
    all threads of this process. cores: that a model keeps busy when the device draws busy_watts. What other programs
    draw is left out. The upper bound lets the first cores draw more than the last, as they clock higher: share ** 0.5.
    """

    name = "model"
    provenance: Literal["modelled"] = "modelled"

    def __init__(
        self, power: PowerDraw, cores: int, clock: Callable[[], float], cpu_time: Callable[[], float]
    ) -> None:
        figures = (power.idle_watts, power.busy_watts)
        if not all(math.isfinite(f.value) and math.isfinite(f.spread) for f in figures):
            raise Unavailable("The profile's watts are no numbers.")
        if not 0 <= power.idle_watts.value <= power.busy_watts.value:
            raise Unavailable("The profile's watts do not rise from idle to busy.")
        self._power = power
        self._low, self._high = zip(*map(bounds, figures), strict=True)
        self._cores = max(cores, 1)
        self._clock = clock
        self._cpu_time = cpu_time
        self._at = clock()
        self._used = cpu_time()
        self._over = 0.0
        self._total = Total()

    @property
    def source(self) -> str:
        idle, busy = self._power.idle_watts.value, self._power.busy_watts.value
        return f"{idle:.3g} to {busy:.3g} W ({self._power.provenance}) by processor time"

    def read(self) -> Count:
        now, used = self._clock(), self._cpu_time()
        seconds = max(now - self._at, 0.0)
        if seconds == 0.0:
            return self._total.count()
        # Processor time is told in ticks: what does not fit a short stretch belongs to the next.
        spent = max(used - self._used, 0.0) + self._over
        room = seconds * self._cores
        self._over = min(max(spent - room, 0.0), 0.02 * self._cores)
        share = min(spent / room, 1.0)
        self._at, self._used = now, used
        low, high = self._low[0], self._high[0]
        self._total.add(
            (low + max(self._low[1] - low, 0.0) * share) * seconds,
            self._power.at(share) * seconds,
            (high + max(self._high[1] - high, 0.0) * math.sqrt(share)) * seconds,
        )
        return self._total.count()
