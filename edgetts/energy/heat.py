"""Tell whether the device runs slower than it could since it is hot, or short of power."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgetts.energy.command import Command
from edgetts.energy.machine import number, words

_RASPBERRY = 0xF
"""Bits of get_throttled that hold now: under-voltage, frequency capped, throttled, soft temperature limit."""
_ZONES = 32


class Heat:
    """Linux: thermal zones at a trip point, frequencies held below half, a Raspberry Pi's own word. macOS: pmset's.

    What does not change (trip points, frequencies a processor can have) is read once.
    """

    def __init__(self, root: Path, platform: str) -> None:
        self._root = root
        self._linux = platform == "linux"
        self._zones = list(_zones(root / "sys/class/thermal")) if self._linux else []
        self._policies = list(_policies(root / "sys/devices/system/cpu/cpufreq")) if self._linux else []
        self._firmware = root / "sys/devices/platform/soc/soc:firmware/get_throttled"
        self._pi: Command | None = None
        self._mac: Command | None = None
        if self._linux and "raspberry pi" in words(root / "proc/device-tree/model").lower():
            self._pi = Command(("vcgencmd", "get_throttled"))
        elif platform == "darwin":
            self._mac = Command(("/usr/bin/pmset", "-g", "therm"))

    def reason(self) -> str | None:
        """Return why the device counts as throttled, None where it does not or nothing tells."""
        if not self._linux:
            return None if self._mac is None else _mac(self._mac.told() or "")
        return self._raspberry() or self._hot() or self._slow()

    def wait(self, seconds: float) -> None:
        """Wait so long at most for a command that tells."""
        for command in (self._pi, self._mac):
            if command is not None:
                command.wait(seconds)

    def _raspberry(self) -> str | None:
        text = words(self._firmware)
        if not text and self._pi is not None:
            text = (self._pi.told() or "").partition("=")[2].strip()
        try:
            flags = int(text, 16)
        except ValueError:
            return None
        return f"the firmware says so (get_throttled 0x{flags:x})" if flags & _RASPBERRY else None

    def _hot(self) -> str | None:
        for name, place, limit in self._zones:
            heat = number(place, least=-100_000, most=300_000)
            if heat is not None and heat >= limit:
                return f"{name} is at {heat / 1000:.0f} °C, and is slowed down from {limit / 1000:.0f} °C on"
        return None

    def _slow(self) -> str | None:
        if not self._policies:
            return None
        caps, busy = [], _all_busy(self._root, len(self._policies))
        for place, most in self._policies:
            allowed, now = (
                number(place / "scaling_max_freq", least=1),
                number(place / "scaling_cur_freq", least=1),
            )
            frequency = now if busy and now is not None else allowed
            caps.append(1.0 if frequency is None else frequency / most)
        # Small cores may rest: it is the best of them that tells.
        best = max(caps)
        return f"its processor is held at {100 * best:.0f}% of its frequency" if best < 0.5 else None


def _zones(folder: Path) -> Iterator[tuple[str, Path, float]]:
    """Yield the zones that have a trip point which slows the device down: name, file, millidegrees from which on."""
    try:
        places = sorted(folder.glob("thermal_zone*"))[:_ZONES]
    except OSError:
        return
    for place in places:
        limits = []
        for index in range(12):
            kind = words(place / f"trip_point_{index}_type")
            try:
                limit = number(place / f"trip_point_{index}_temp", least=45_000, most=150_000)
            except PermissionError:
                continue
            # A sensor that slows nothing down before it is near switching off says so 5 degrees earlier.
            margin = {"passive": 1000, "hot": 5000, "critical": 5000}.get(kind)
            if limit is not None and margin is not None:
                limits.append(limit - margin)
        if limits:
            yield words(place / "type") or place.name, place / "temp", min(limits)


def _policies(folder: Path) -> Iterator[tuple[Path, float]]:
    try:
        places = sorted(folder.glob("policy*"))
    except OSError:
        return
    for place in places:
        try:
            most = number(place / "cpuinfo_max_freq", least=1)
        except PermissionError:
            continue
        if most is not None:
            yield place, most


def _all_busy(root: Path, cores: int) -> bool:
    """Tell whether Linux has as many threads ready to run as there are frequencies, so that none rests by choice."""
    fields = words(root / "proc/loadavg").split()
    try:
        return int(fields[3].partition("/")[0]) >= cores
    except (IndexError, ValueError):
        return False


def _mac(text: str) -> str | None:
    """Read `pmset -g therm`: limits in percent, 100 where there is none."""
    for line in text.splitlines():
        name, equals, value = (part.strip() for part in line.partition("="))
        if (
            equals
            and name in ("CPU_Speed_Limit", "CPU_Scheduler_Limit")
            and value.isdecimal()
            and int(value) < 100
        ):
            return f"macOS holds its processor at {int(value)}% ({name})"
    return None
