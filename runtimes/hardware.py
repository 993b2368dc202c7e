"""Ask the machine what it has. Knows no models."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path


def physical_cores() -> int:
    """Count the physical cores this process may use; at least 1."""
    import psutil

    physical = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS or Windows
        return physical
    return max(1, min(physical, allowed))


def cores_busy_elsewhere() -> float:
    """Return how many cores other programs keep busy right now; looks for some tens of milliseconds."""
    looks = []
    for _ in range(7):
        try:
            looks.append(_others_running())
        except (OSError, ValueError, IndexError):
            return _share_busy()
        time.sleep(0.003)
    return float(statistics.median(looks))


def _others_running() -> int:
    """Count what Linux has ready to run, without this process's own threads."""
    ready = int(Path("/proc/loadavg").read_text(encoding="ascii").split()[3].partition("/")[0])
    mine = 0
    for thread in Path("/proc/self/task").iterdir():
        # The state follows the program's name, which is in brackets and may hold anything.
        mine += (thread / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "R"
    return max(0, ready - mine)


def _share_busy() -> float:
    import psutil

    return psutil.cpu_percent(interval=0.1) / 100 * (psutil.cpu_count() or 1)
