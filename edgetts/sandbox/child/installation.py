"""Which files Python itself needs to read; knows nothing of how they are allowed."""

# ruff: noqa: PTH112, PTH120, PTH123, PTH208 - importing pathlib takes longer than most programs run

from __future__ import annotations

import os
import sys

_THIRD_PARTY = frozenset({"site-packages", "dist-packages"})
_ALWAYS = ("/dev/zero", "/dev/urandom", "/dev/random", "/etc/ld.so.cache", "/usr/share/zoneinfo")
DEVICES = ("/dev/null",)


def readable() -> tuple[list[str], list[str]]:
    """Return what may be read, and the directories that may be listed.

    That is the standard library without site-packages, the system's shared libraries, those beside this
    Python, time zones, and a few devices. Nothing of a home directory, unless Python lies in it.
    """
    read, listed = list(_ALWAYS), []
    for entry in sys.path:
        if not os.path.isdir(entry):
            read.append(entry)
            continue
        listed.append(entry)
        read += [f"{entry}/{name}" for name in _names(entry) if name not in _THIRD_PARTY]
    system = _system_libraries()
    read += system
    for directory in _other_libraries(system):
        read += [f"{directory}/{name}" for name in _names(directory) if name[:3] == "lib" and ".so" in name]
    return read, listed


def _system_libraries() -> list[str]:
    # Where each architecture has its own directory, as on Debian, nothing else is there.
    own = getattr(sys.implementation, "_multiarch", "")
    found = [place for place in (f"/lib/{own}", f"/usr/lib/{own}") if own and os.path.isdir(place)]
    return [*(found or ["/lib", "/usr/lib"]), "/lib64", "/usr/lib64"]


def _other_libraries(system: list[str]) -> set[str]:
    beside = {f"{sys.base_prefix}/lib", *os.environ.get("LD_LIBRARY_PATH", "").split(":")} - {""}
    # Where a loaded library lies, those it needs later lie too.
    for line in _mapped():
        path = os.fsdecode(line.split(maxsplit=5)[-1])
        if path.startswith("/") and ".so" in path:
            beside.add(os.path.dirname(path))
    # Extension modules lie in the standard library, which is allowed as a whole.
    inside = (*(f"{place}/" for place in system), *(f"{entry}/" for entry in sys.path if entry))
    return {place for place in beside if not f"{place}/".startswith(inside)}


def _mapped() -> list[bytes]:
    try:
        with open("/proc/self/maps", "rb") as maps:
            return maps.read().splitlines()
    except OSError:
        return []


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []
