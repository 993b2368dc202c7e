"""Which device this is: as it was measured, as somebody named it, or as the described one it is most like."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from edgetts.errors import CorruptFile, InvalidInput
from edgetts.near_miss import near_miss
from edgetts.profiles.device import DeviceProfile
from edgetts.profiles.device_figures import as_modelled, scaled
from edgetts.profiles.figure import Figure
from edgetts.profiles.reading import Exported, read_device, read_exported
from edgetts.profiles.sighting import Sighting, look, most_like
from edgetts.profiles.store import ProfileStore, read_bounded

DEVICE_VARIABLE = "EDGETTS_DEVICE"
_SHIPPED = Path(__file__).with_name("shipped")
_BY_CORES = ("laptop-x86", "generic")
"""Described devices that machines with any number of cores are taken for."""


def profiles_of(home: Path) -> Path:
    """Return where the profiles of a home lie."""
    return home / "profiles"


def shipped_names() -> list[str]:
    """Return the names of the devices that edgetts describes."""
    return sorted(path.stem for path in _SHIPPED.glob("*.toml"))


@cache
def shipped(name: str) -> DeviceProfile:
    """Return a device that edgetts describes by published figures."""
    path = _SHIPPED / f"{name}.toml"
    return read_device(path.read_bytes(), f"The shipped profile {path.name}")[0]


def imported_names(home: Path) -> list[str]:
    """Return the names of the profiles that were brought from other machines."""
    try:
        return sorted(path.stem for path in ProfileStore(profiles_of(home)).imported.glob("*.toml"))
    except OSError:
        return []


def imported(name: str, home: Path) -> Exported:
    """Return what was brought from another machine. Errors: InvalidInput, CorruptFile, BundleVersionError."""
    if name not in imported_names(home):
        raise InvalidInput(f"No profile {name!r} was imported.", hint=near_miss(name, imported_names(home)))
    path = ProfileStore(profiles_of(home)).imported / f"{name}.toml"
    try:
        raw = read_bounded(path)
    except OSError as error:
        raise CorruptFile(f"The imported profile {name!r} cannot be read: {error.strerror}.") from error
    return read_exported(raw, f"The imported profile {name!r}")


def find_device(name: str, home: Path) -> DeviceProfile:
    """Return a device by name, as something to reckon with: nothing in it counts as measured here.

    Errors: InvalidInput with near misses; an imported file's own.
    """
    if name in shipped_names():
        return shipped(name)
    names = imported_names(home)
    if name in names:
        return as_modelled(imported(name, home).device, name)
    raise InvalidInput(
        f"There is no device profile {name!r}.", hint=near_miss(name, [*shipped_names(), *names])
    )


def device_here(
    home: Path,
    notify: Callable[[str], None] = lambda sentence: None,
    *,
    seen: Sighting | None = None,
    environment: Mapping[str, str] = os.environ,
) -> DeviceProfile:
    """Return what is known of this machine; its kind says whether any of it was measured here.

    home: the cache. The first of: what EDGETTS_DEVICE names; what was measured of this machine; the shipped device
    that it is most like. Errors, of EDGETTS_DEVICE alone: InvalidInput where it names none, CorruptFile and
    BundleVersionError where it names one that cannot be read.
    """
    if name := environment.get(DEVICE_VARIABLE):
        try:
            return find_device(name, home)
        except InvalidInput as error:
            raise InvalidInput(f"{DEVICE_VARIABLE} is wrong. {error.args[0]}", hint=error.hint) from error
    measured = ProfileStore(profiles_of(home), notify).device()
    return measured if measured is not None else _described(seen or look())


def _described(seen: Sighting) -> DeviceProfile:
    name = most_like(seen)
    device = shipped(name)
    if name in _BY_CORES:
        device = scaled(device, seen.cores, power=name == "generic")
    if name == "generic":
        device = replace(device, title=f"A machine that nobody described, of {seen.cores} cores")
    if seen.memory_bytes > 0:
        memory = Figure(float(seen.memory_bytes), "measured", 0.0, "what the operating system says", seen.day)
        device = replace(device, memory_bytes=memory)
    return device
