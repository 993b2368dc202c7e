"""Find profiles by what a person calls them: a device's name, the start of a fingerprint, or NAME/FINGERPRINT."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgetts.errors import InvalidInput
from edgetts.near_miss import near_miss
from edgetts.profiles.comparing import speed_figures
from edgetts.profiles.device import DeviceProfile
from edgetts.profiles.device_figures import figures_of
from edgetts.profiles.devices import (
    device_here,
    imported,
    imported_names,
    profiles_of,
    shipped,
    shipped_names,
)
from edgetts.profiles.figure import Figure
from edgetts.profiles.reading import is_mark
from edgetts.profiles.speed import SpeedProfile
from edgetts.profiles.store import ProfileStore

HERE = "here"
"""What this machine is called."""


@dataclass(frozen=True, slots=True)
class Referred:
    """What a reference names: a device and the speeds that are known of it, or one of these speeds alone.

    elsewhere: whether all of it was brought from another machine.
    """

    name: str
    device: DeviceProfile | None
    speeds: tuple[SpeedProfile, ...]
    elsewhere: bool = False


def refer(reference: str, home: Path, notify: Callable[[str], None]) -> Referred:
    """Return what is called `reference`. Errors: InvalidInput, with near misses; an imported file's own."""
    if reference == HERE:
        store = ProfileStore(profiles_of(home), notify)
        return Referred(HERE, device_here(home, notify), tuple(store.all()))
    if reference in shipped_names():
        return Referred(reference, shipped(reference), ())
    names = imported_names(home)
    name, slash, start = reference.partition("/")
    if slash and name in names:
        return _one(reference, start, imported(name, home).speeds, elsewhere=True)
    if reference in names:
        brought = imported(reference, home)
        return Referred(reference, brought.device, brought.speeds, elsewhere=True)
    stored = ProfileStore(profiles_of(home), notify).all()
    if is_mark(reference) and any(profile.mark.startswith(reference) for profile in stored):
        return _one(reference, reference, stored)
    known = [HERE, *shipped_names(), *names, *(profile.mark for profile in stored)]
    raise InvalidInput(f"There is no profile {reference!r}.", hint=near_miss(reference, known))


def _one(reference: str, start: str, speeds: Sequence[SpeedProfile], *, elsewhere: bool = False) -> Referred:
    found = [profile for profile in speeds if profile.mark.startswith(start)]
    if len(found) != 1:
        what = "names no profile" if not found else f"begins {len(found)} fingerprints"
        hint = "There are: " + ", ".join(profile.mark for profile in found or speeds) + "."
        raise InvalidInput(f"{reference!r} {what}.", hint=hint)
    return Referred(reference, None, (found[0],), elsewhere)


def comparable(one: Referred, other: Referred) -> tuple[dict[str, Figure], dict[str, Figure]]:
    """Return the figures of both by names that agree: of the devices, and of speeds by their model and runtime."""
    if one.device is None and other.device is None:
        return speed_figures(one.speeds[0]), speed_figures(other.speeds[0])
    first, second = (_all_figures(referred) for referred in (one, other))
    return first, second


def _all_figures(referred: Referred) -> dict[str, Figure]:
    found = {} if referred.device is None else dict(figures_of(referred.device))
    for profile in referred.speeds:
        for name, figure in speed_figures(profile).items():
            found.setdefault(f"{profile.model} on {profile.runtime}: {name}", figure)
    return found
