"""Read graphics processors and systems on a chip through zeus (extra energy): NVML, AMD SMI, Apple Silicon, Jetson.

Nothing of zeus is imported before a device that it can read is seen, since that takes a quarter of a second.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

from edgetts.energy.counter import CannotTell, Count, Counter, Total, Unavailable
from edgetts.energy.machine import Machine
from edgetts.energy.watching import Awake, OwnShare, Rest
from edgetts.errors import MissingExtra
from edgetts.profiles.device import PowerDraw

_GPU_FILES = ("dev/nvidiactl", "dev/kfd", "dev/dxg")
_BOARD_FILES = ("etc/nv_tegra_release", "usr/lib/aarch64-linux-gnu/tegra")
_APPLE_PARTS = ("cpu_total_mj", "gpu_mj", "gpu_sram_mj", "dram_mj", "ane_mj")


def zeus_counter(machine: Machine, power: PowerDraw | None, cpu: Counter | None, *, asked: bool) -> Counter:
    """Return what zeus can count here, added to `cpu`, the counter of the processor where a chip has no own.

    asked: whether the user named zeus. A Jetson's rails are read only then: zeus starts a process for it by `spawn`,
    which fails in a program whose main module does not expect that. Unavailable, or MissingExtra.
    """
    apple = machine.platform == "darwin"
    board = any((machine.root / name).exists() for name in _BOARD_FILES)
    gpu = machine.platform == "win32" or any((machine.root / name).exists() for name in _GPU_FILES)
    if not (asked or apple or gpu or board):
        raise Unavailable("There is neither a graphics processor nor a system on a chip that zeus reads.")
    if board and not asked:
        raise Unavailable("A Jetson's rails are read when they are asked for: EDGETTS_METER=zeus.")
    device = _import_zeus()
    if apple or board:
        return SocCounter(_get(device.get_soc), machine, power)
    graphics = GpuCounter(_get(device.get_gpus), machine)
    if cpu is None:
        raise Unavailable(
            "Graphics processors are counted, but neither RAPL nor a profile tells of the rest."
        )
    return Sum((cpu, graphics))


def _import_zeus() -> Any:
    try:
        import zeus.device
    except ModuleNotFoundError as error:
        if error.name in ("zeus", "zeus.device"):
            raise MissingExtra("zeus", "energy") from None
        raise Unavailable(f"zeus cannot be loaded: {error}.") from None
    except Exception as error:  # noqa: BLE001 - drivers' bindings raise what they like when they are loaded
        raise Unavailable(f"zeus cannot be loaded: {error}.") from None
    return zeus.device


def _get(door: Any) -> Any:
    try:
        return door()
    except Exception as error:  # noqa: BLE001 - as above; no meter is no reason not to answer
        raise Unavailable(f"zeus finds nothing to read: {error}") from None


class _Cumulative:
    """Turn counters of millijoules into stretches; None is one that is not there."""

    def __init__(self) -> None:
        self._last: list[float | None] = []

    def advance(self, counts: Iterable[Any]) -> float:
        last, self._last = self._last, [None if count is None else float(count) for count in counts]
        if not last:
            return 0.0
        rose = [
            now - before
            for now, before in zip(self._last, last, strict=True)
            if now is not None and before is not None
        ]
        if not rose or len(rose) != sum(count is not None for count in last):
            raise CannotTell("a counter that zeus read is not there any more")
        if not all(math.isfinite(one) and one >= 0 for one in rose):
            raise CannotTell("a counter that zeus reads went back")
        return sum(rose) / 1000


class GpuCounter:
    """Sum all graphics processors. low is nothing: who used them is not told, and most runtimes here do not."""

    name = "zeus"
    provenance: Literal["measured"] = "measured"

    def __init__(self, gpus: Any, machine: Machine) -> None:
        self._gpus = list(gpus.gpus)
        counting = [gpu for gpu in self._gpus if _asks(gpu.supports_get_total_energy_consumption)]
        if not self._gpus or len(counting) < len(self._gpus):
            raise Unavailable("A graphics processor here does not count its energy.")
        self.source = "zeus (" + ", ".join(str(_asks(gpu.get_name) or "a GPU") for gpu in self._gpus) + ")"
        self._awake = Awake(machine)
        self._sums = _Cumulative()
        self._total = Total()

    def read(self) -> Count:
        self._awake.check()
        counts = [_asks(gpu.get_total_energy_consumption) for gpu in self._gpus]
        joules = self._sums.advance(counts)
        # NVIDIA's sensors are within 5% (NVML manual), and most count every 20 to 100 ms (Yang et al. 2024).
        self._total.add(0.0, joules, 1.05 * joules)
        return self._total.count()


class SocCounter:
    """A whole chip: Apple's processor, graphics, memory and neural engine; a Jetson's board as its sensor sees it."""

    name = "zeus"
    provenance: Literal["measured"] = "measured"

    def __init__(self, soc: Any, machine: Machine, power: PowerDraw | None) -> None:
        self._soc = soc
        self._clock = machine.clock
        self._at = machine.clock()
        self._awake = Awake(machine)
        self._share = OwnShare(machine.cpu_time, machine.busy)
        self._rest = Rest(power)
        self._sums = _Cumulative()
        self._total = Total()
        self.source = f"zeus ({type(soc).__name__})"
        if all(count is None for count in self._counts()):
            raise Unavailable("zeus reads this chip, but it tells no energy.")

    def _counts(self) -> list[Any]:
        found = _asks(self._soc.get_total_energy_consumption)
        whole = getattr(found, "total_energy_mj", None)
        if whole is not None:
            return [whole]
        if hasattr(found, "cpu_energy_mj"):
            return [found.cpu_energy_mj, found.gpu_energy_mj]
        return [getattr(found, part, None) for part in _APPLE_PARTS]

    def read(self) -> Count:
        now = self._clock()
        seconds, self._at = max(now - self._at, 0.0), now
        share = self._share.now()
        self._awake.check()
        joules = self._sums.advance(self._counts())
        self._total.add(0.95 * joules * share, joules, 1.05 * joules + self._rest.at_most(joules, seconds))
        return self._total.count()


def _asks(door: Any) -> Any:
    """Return what a driver says, None where it fails."""
    try:
        return door()
    except Exception:  # noqa: BLE001 - each driver has errors of its own; a reading that fails is none
        return None


class Sum:
    """Parts of one device, each counted by its own counter; modelled where any part is."""

    def __init__(self, parts: tuple[Counter, ...]) -> None:
        self._parts = parts
        self.name = "+".join(part.name for part in parts)

    @property
    def source(self) -> str:
        return " + ".join(part.source for part in self._parts)

    @property
    def provenance(self) -> Literal["measured", "modelled"]:
        return "measured" if all(part.provenance == "measured" for part in self._parts) else "modelled"

    def read(self) -> Count:
        counts, failed = [], None
        for part in self._parts:
            try:
                counts.append(part.read())
            except CannotTell as why:  # noqa: PERF203 - the others begin anew too
                failed = why
        if failed is not None:
            raise failed
        return Count(
            sum(count.joules for count in counts),
            sum(count.low for count in counts),
            sum(count.high for count in counts),
            sum(count.edge for count in counts),
        )
