"""Tell what the device runs on and how it fares: mains, battery, little left, throttled, in the background."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from edgetts.energy.command import Command
from edgetts.energy.heat import Heat
from edgetts.energy.machine import battery, words
from edgetts.profiles.device import PowerState

LOW = 20.0
"""Percent of the battery below which little is left."""


@dataclass(frozen=True, slots=True)
class Power:
    """What a device is in. reason: what told, in words; percent: of the battery, None where there is none."""

    state: PowerState
    reason: str
    percent: float | None = None


@dataclass(frozen=True, slots=True)
class Sources:
    """What tells of a device, so that a test may put its own.

    battery: psutil's, or None. saver: whether the system was told to save power, in words, None where not. heat: why
    the device is throttled, None where it is not. nice: how far this process stands back behind others. wait: waits so
    many seconds at most for those that take time to tell.
    """

    battery: Callable[[], Any]
    saver: Callable[[], str | None]
    heat: Callable[[], str | None]
    nice: Callable[[], int]
    wait: Callable[[float], None] = lambda seconds: None


def power_state(
    *, background: bool | None = None, sources: Sources | None = None, patience: float = 0.0
) -> Power:
    """Return what the device is in. Never raises.

    patience: seconds to wait at most for each command that has not told yet (macOS, and Raspberry Pis without the
    firmware's file); without, they tell nothing the first time in a process. background: whether nobody waits for the answer; None asks how far the process stands back (nice above 0). Where
    several hold, the first of these counts: throttled, low, background, battery, mains. The first two limit what the
    device can or should do whoever asks.
    """
    sources = sources or here()
    if patience > 0:
        wait = sources.wait
        _asked(lambda: wait(patience), None)
    found = _asked(sources.battery, None)
    plugged = getattr(found, "power_plugged", None)
    percent = _percent(getattr(found, "percent", None))
    # A battery whose charger nobody knows of is taken for one that empties.
    on_battery = found is not None and plugged is not True
    if heat := _asked(sources.heat, None):
        return Power("throttled", str(heat), percent)
    if saver := _asked(sources.saver, None):
        return Power("low", str(saver), percent)
    if on_battery and percent is not None and percent < LOW:
        return Power("low", f"battery at {percent:.0f}%", percent)
    if background is None:
        nice = _asked(sources.nice, 0)
        if isinstance(nice, int) and nice > 0:
            return Power("background", f"this process stands back behind others (nice {nice})", percent)
    elif background:
        return Power("background", "the caller says so", percent)
    if on_battery:
        return Power(
            "battery",
            "battery" + (f" at {percent:.0f}%" if percent is not None else ", level not known"),
            percent,
        )
    return Power("mains", "no battery" if found is None else "a charger is plugged in", percent)


@cache
def here() -> Sources:
    """Return this machine's sources."""
    root = Path("/")
    saver, heat = Saver(root, sys.platform), Heat(root, sys.platform)

    def wait(seconds: float) -> None:
        saver.wait(seconds)
        heat.wait(seconds)

    return Sources(battery, saver.reason, heat.reason, lambda: niceness(root), wait)


class Saver:
    """Whether the system saves power: Linux's platform profile, macOS' low power mode, Windows' battery saver."""

    def __init__(self, root: Path, platform: str) -> None:
        self._platform = platform
        self._profile = root / "sys/firmware/acpi/platform_profile"
        self._mac = Command(("/usr/bin/pmset", "-g")) if platform == "darwin" else None

    def reason(self) -> str | None:
        if self._mac is not None:
            lines = (self._mac.told() or "").splitlines()
            on = any(line.split()[:2] == ["lowpowermode", "1"] for line in lines)
            return "macOS' low power mode is on" if on else None
        if self._platform == "win32":
            return "Windows' battery saver is on" if _windows_saver() else None
        return "the system's power profile is low-power" if words(self._profile) == "low-power" else None

    def wait(self, seconds: float) -> None:
        """Wait so long at most for the command that tells."""
        if self._mac is not None:
            self._mac.wait(seconds)


def _windows_saver() -> bool:
    """Ask GetSystemPowerStatus, whose fourth byte is 1 while the battery saver is on."""
    import ctypes

    status = (ctypes.c_ubyte * 12)()
    asks = getattr(ctypes, "windll").kernel32.GetSystemPowerStatus  # noqa: B009 - there on Windows only
    return bool(asks(ctypes.byref(status))) and status[3] == 1


def niceness(root: Path) -> int:
    """Return how far this process stands back: its nice value, or its session's on Linux where that is more."""
    if sys.platform == "win32":
        import psutil

        return int(
            psutil.Process().nice() in (psutil.IDLE_PRIORITY_CLASS, psutil.BELOW_NORMAL_PRIORITY_CLASS)
        )
    own = os.getpriority(os.PRIO_PROCESS, 0)
    session = words(root / "proc/self/autogroup").rpartition(" ")[2]
    return max(own, int(session)) if session.lstrip("-").isdecimal() else own


def _asked(source: Callable[[], Any], otherwise: Any) -> Any:
    """Ask a source; whatever it raises, it does not tell."""
    try:
        return source()
    except Exception:  # noqa: BLE001 - drivers and systems fail in ways of their own, and an answer is owed anyway
        return otherwise


def _percent(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) and 0 <= number <= 100 else None
