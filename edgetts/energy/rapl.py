"""Read the counters of x86 processors (RAPL) from Linux's powercap files.

zeus reads them too, but follows their wraps from a child process for each counter, started by `spawn`, which runs the
caller's main module again; a wrap is found here by comparing a count with the last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgetts.energy.counter import CannotTell, Count, Total, Unavailable
from edgetts.energy.machine import Machine, number, words
from edgetts.energy.watching import Awake, OwnShare, Rest
from edgetts.profiles.device import PowerDraw

_MOST_WATTS = 1000.0
"""More than any one zone draws: a count that rose faster did not wrap, it was reset."""
_ERROR = 0.05
"""Of a zone's count, an assumption: Hackenberg et al. 2015 found Haswell's and later to follow wall power closely."""
_REFRESH = 0.001
"""Seconds between two updates of a counter (Intel SDM, volume 3, 15.10)."""
_OPEN_IT = "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj lets everybody (until the next start)"


@dataclass(slots=True)
class Zone:
    """A counter of microjoules that begins again at 0 after `span`."""

    name: str
    path: Path
    span: float
    last: float

    def advance(self, seconds: float) -> float:
        """Return the joules since the last look, which was `seconds` ago."""
        now = number(self.path, least=0)
        before, self.last = self.last, self.last if now is None else now
        if now is None:
            raise CannotTell(f"the counter {self.name} holds no number any more")
        most = _MOST_WATTS * max(seconds, _REFRESH) * 1e6
        if most >= self.span:
            raise CannotTell(
                f"the counter {self.name} may have wrapped more than once since it was last read"
            )
        rose = now - before if now >= before else now - before + self.span
        if not 0 <= rose <= most:
            raise CannotTell(f"the counter {self.name} went back, and did not wrap")
        return rose / 1e6


class RaplCounter:
    """Sum all packages with their memory; the whole platform where that is counted (psys) and not less.

    low leaves out the part of processor time that other programs used; high adds what the zones miss of the device.
    """

    name = "rapl"
    provenance: Literal["measured"] = "measured"

    def __init__(self, machine: Machine, power: PowerDraw | None) -> None:
        zones = find_zones(machine.root / "sys/class/powercap")
        self._platform = next((zone for zone in zones if zone.name == "psys"), None)
        self._zones = [zone for zone in zones if zone.name != "psys"]
        self._clock: Callable[[], float] = machine.clock
        self._at = machine.clock()
        self._awake = Awake(machine)
        self._share = OwnShare(machine.cpu_time, machine.busy)
        self._rest = Rest(power)
        self._total = Total()

    @property
    def source(self) -> str:
        names = [zone.name for zone in self._zones] + ["psys"] * (self._platform is not None)
        return f"rapl ({', '.join(names)})"

    def read(self) -> Count:
        now = self._clock()
        seconds, self._at = max(now - self._at, 0.0), now
        # All counters are read, whichever fails, so that the next look begins anew.
        counted, failed = 0.0, None
        platform = 0.0
        for zone in (*self._zones, *([self._platform] if self._platform else [])):
            try:
                rose = zone.advance(seconds)
            except CannotTell as why:
                failed = why
                continue
            except PermissionError:
                failed = CannotTell(f"the counter {zone.name} may not be read any more")
                continue
            if zone is self._platform:
                platform = rose
            else:
                counted += rose
        share = self._share.now()
        self._awake.check()
        if failed is not None:
            raise failed
        # Boards without the sensor leave psys at nothing, or below the package it holds.
        joules = max(counted, platform)
        missed = 0.15 * joules if platform >= counted > 0 else self._rest.at_most(joules, seconds)
        self._total.add(joules * share * (1 - _ERROR), joules, joules * (1 + _ERROR) + missed)
        edge = joules / seconds * _REFRESH if seconds > 0 else 0.0
        return self._total.count(min(edge, _MOST_WATTS * _REFRESH))


def find_zones(folder: Path) -> list[Zone]:
    """Return the zones that add up: packages, their memory, and psys; Unavailable where there is none to read."""
    zones: list[Zone] = []
    try:
        # intel-rapl-mmio holds the packages a second time. AMD's counters are called intel-rapl too.
        folders = sorted(folder.glob("intel-rapl:*"))
        for place in folders:
            name = words(place / "name")
            if name != "psys" and name != "dram" and not name.startswith("package"):
                continue
            now, span = number(place / "energy_uj", least=0), number(place / "max_energy_range_uj", least=1)
            if now is not None and span is not None:
                label = name if name != "dram" else f"dram of {place.name.split(':')[1]}"
                zones.append(Zone(label, place / "energy_uj", span, now))
    except PermissionError:
        raise Unavailable(f"RAPL is there, but only root may read it; {_OPEN_IT}.") from None
    except OSError as error:
        raise Unavailable(f"RAPL cannot be read: {error.strerror}.") from None
    if not any(zone.name.startswith("package") or zone.name == "psys" for zone in zones):
        raise Unavailable("There is no RAPL: no package under /sys/class/powercap.")
    return zones
