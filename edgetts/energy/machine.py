"""Where a machine tells what its meters need: clocks, processor time, its batteries and its files."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


def awake() -> float:
    """Return seconds from a start that means nothing, on a clock that stands still while the device sleeps."""
    if sys.platform == "win32":
        return _unbiased()
    # CLOCK_MONOTONIC of Linux and mach_absolute_time of macOS both do.
    return time.monotonic()


def asleep() -> float:
    """Return the seconds the device slept since it was started, from a start that means nothing.

    Linux and Windows tell exactly. On macOS it is the wall clock's lead over one that stands still meanwhile, so that a
    clock that was set looks like sleep.
    """
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
    if sys.platform == "win32":
        return time.monotonic() - _unbiased()
    return time.time() - time.monotonic()


def _unbiased() -> float:
    """Ask Windows for its clock without sleep: QueryUnbiasedInterruptTime, in units of 100 ns."""
    import ctypes

    ticks = ctypes.c_ulonglong()
    kernel = getattr(ctypes, "windll").kernel32  # noqa: B009 - there on Windows only
    if not kernel.QueryUnbiasedInterruptTime(ctypes.byref(ticks)):
        return time.monotonic()
    return ticks.value / 1e7


def busy_seconds() -> float:
    """Return the processor seconds that all programs used since the device was started."""
    import psutil

    times = psutil.cpu_times()
    # Linux counts a guest's time as its host's user time already.
    return float(times.user + times.system + getattr(times, "nice", 0.0) + getattr(times, "irq", 0.0))


def battery() -> Any:
    """Return psutil's (percent, secsleft, power_plugged), or None; whatever is broken there is None too."""
    import psutil

    try:
        return psutil.sensors_battery()
    except (AttributeError, OSError, ValueError, TypeError, ArithmeticError, RuntimeError):
        return None


def cores() -> int:
    from edgetts.runtimes.hardware import physical_cores

    return physical_cores()


@dataclass(frozen=True, slots=True)
class Machine:
    """Everything that is read, so that a test may put its own. root: of the files of the system."""

    root: Path = Path("/")
    platform: str = sys.platform
    clock: Callable[[], float] = awake
    asleep: Callable[[], float] = asleep
    cpu_time: Callable[[], float] = time.process_time
    busy: Callable[[], float] = busy_seconds
    cores: Callable[[], int] = cores
    battery: Callable[[], Any] = battery
    environment: Callable[[str], str | None] = os.environ.get


HERE = Machine()


def number(path: Path, least: float = -1e18, most: float = 1e18) -> float | None:
    """Return the whole number that a file of the system holds; None where it holds none, or one out of bounds.

    Raises PermissionError where it may not be read.
    """
    try:
        with path.open("rb") as file:
            text = file.read(64)
        value = int(text)
    except PermissionError:
        raise
    except (OSError, ValueError):
        return None
    return float(value) if least <= value <= most else None


def words(path: Path) -> str:
    """Return the first line of a file of the system; "" where there is none."""
    try:
        with path.open("rb") as file:
            return file.read(256).decode("utf-8", "replace").partition("\n")[0].strip()
    except OSError:
        return ""
