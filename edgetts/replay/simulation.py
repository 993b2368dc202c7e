"""A device that is simulated: passes move its clock and its meter by what a profile says. Knows no samples."""

from __future__ import annotations

from dataclasses import dataclass

from edgetts.energy.meter import Energy
from edgetts.profiles.curves import StepTimes
from edgetts.profiles.device import PowerDraw
from edgetts.replay.load import Constant, Load
from edgetts.replay.recorded import Pass


@dataclass(frozen=True, slots=True)
class Device:
    """What is simulated. power: None where no watts are known, so that nobody knows joules."""

    name: str
    times: StepTimes
    power: PowerDraw | None = None

    @property
    def stated(self) -> str:
        """What times and joules are by, in words."""
        watts = "no watts are known"
        if self.power is not None:
            watts = f"{self.power.at(1.0):g} W while it computes ({self.power.provenance})"
        return f"{self.name}: pass times {self.times.provenance}; {watts}"


class SimulatedWorld:
    """One answer's clock, in seconds from its question, and its meter, an `EnergyMeter`.

    prompt: tokens that every sample holds before its own. hurry: take all passes until a sample ends at once, which
    changes nothing where nobody asks for the time between them.
    """

    name = "simulated"
    scoring = 0

    def __init__(self, device: Device, load: Load | None = None, *, prompt: int = 0) -> None:
        self.hurry = False
        self.now = 0.0
        self._times = device.times
        self._load = load or Constant()
        self._steady = isinstance(self._load, Constant)
        self.prompt = prompt
        self._watts = None if device.power is None else device.power.at(1.0)
        self._name = device.name

    def clock(self) -> float:
        return self.now

    def start(self) -> None:
        """Count joules from now; the clock stays, as it is the answer's own."""

    def read(self) -> Energy | None:
        if self._watts is None:
            return None
        joules = self._watts * self.now
        return Energy(joules, joules, joules, f"{self._name}'s watts by simulated seconds", "modelled")

    def joules(self) -> float | None:
        """Return what `read` does, as a number."""
        return None if self._watts is None else self._watts * self.now

    def read_prompt(self) -> None:
        """Read the prompt: one long pass."""
        self.now += self._times.prefill(self.prompt) * self._load.factor(self.now)

    def step(self, width: int, held: int, most: int) -> Pass:
        past = self.prompt + held / width
        if not (self.hurry and self._steady):
            seconds = self._times.at(width, past) * self._load.factor(self.now)
            self.now += seconds
            return Pass(width, seconds, 1)
        # Each pass finds a token more in every sample; the curve is linear in that, but for its floor.
        first, last = self._times.at(width, past), self._times.at(width, past + most - 1)
        factor = self._load.factor(self.now)
        self.now += factor * most * (first + last) / 2
        return Pass(width, factor * first, most)

    def closed(self, index: int) -> None:
        """Closing a sample takes no time."""

    def taken(self) -> None:
        """Nothing takes time but passes."""
