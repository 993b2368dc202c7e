"""What can be seen of this machine without measuring: enough to tell which described device it is most like."""

from __future__ import annotations

import os
import platform
import re
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path

_FLAGSHIP = re.compile(r"(?i)\bsm8[4-9]\d\d\b|snapdragon.{0,12}\b8\b")
"""Part numbers and names of Qualcomm's 8 series from 8 Gen 1 on."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """system and machine: as `platform` says them. board: what the device tree calls it. chip: of a phone.

    memory_bytes: 0 where it is unknown. day: ISO day of the look.
    """

    system: str
    machine: str
    cores: int
    memory_bytes: int
    battery: bool
    board: str = ""
    chip: str = ""
    android: bool = False
    day: str = ""


def look(root: Path = Path("/")) -> Sighting:
    """Look at this machine; `root` is where its /proc and /sys are."""
    import psutil

    from edgetts.runtimes.hardware import physical_cores

    try:
        battery = psutil.sensors_battery() is not None
    except (AttributeError, OSError, RuntimeError):  # not everywhere, and some containers refuse
        battery = False
    return Sighting(
        system=platform.system(),
        machine=platform.machine(),
        cores=physical_cores(),
        memory_bytes=int(psutil.virtual_memory().total),
        battery=battery,
        board=_text(root / "proc/device-tree/model"),
        chip=" ".join(
            filter(
                None, (_text(root / "sys/devices/soc0" / name) for name in ("family", "machine", "soc_id"))
            )
        ),
        android=sys.platform == "android" or "ANDROID_ROOT" in os.environ,
        day=date.today().isoformat(),
    )


def most_like(seen: Sighting) -> str:
    """Return the name of the shipped device that a machine is most like."""
    arm = seen.machine.lower() in ("arm64", "aarch64")
    if seen.system == "Darwin" and arm:
        return "apple-laptop"
    if seen.board.startswith("Raspberry Pi 5") or "Compute Module 5" in seen.board:
        return "raspberry-pi-5"
    if seen.android:
        return "snapdragon-phone" if _FLAGSHIP.search(seen.chip) else "mid-range-phone"
    if seen.battery and seen.machine.lower() in ("x86_64", "amd64"):
        return "laptop-x86"
    return "generic"


def _text(path: Path) -> str:
    """Read a line of the kernel's; empty where there is none."""
    try:
        with path.open("rb") as file:
            return file.read(200).decode("utf-8", "replace").strip("\x00\n ")
    except OSError:
        return ""
