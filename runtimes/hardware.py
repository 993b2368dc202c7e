"""Ask the machine what it has. Knows no models."""

from __future__ import annotations

import os


def physical_cores() -> int:
    """Count the physical cores this process may use; at least 1."""
    import psutil

    physical = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS or Windows
        return physical
    return max(1, min(physical, allowed))
