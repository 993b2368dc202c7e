"""Carry profiles to another machine and take in those of others. What leaves names no person, host or directory."""

from __future__ import annotations

import contextlib
import getpass
import platform
import re
from dataclasses import replace
from pathlib import Path

from edgetts.errors import InvalidInput, StorageError
from edgetts.profiles.device import DeviceProfile
from edgetts.profiles.device_figures import each
from edgetts.profiles.device_reading import is_name
from edgetts.profiles.devices import device_here, imported_names, profiles_of, shipped_names
from edgetts.profiles.durable import write_durably
from edgetts.profiles.reading import Exported, read_exported
from edgetts.profiles.referring import HERE
from edgetts.profiles.speed import SpeedProfile
from edgetts.profiles.store import ProfileStore, read_bounded
from edgetts.profiles.writing import write_export

# A slash between words, as in "tokens/s", is no path.
_DIRECTORY = re.compile(r"(?<![\w.])(?:~|[A-Za-z]:)?[\\/](?:[^\\/\"']*[\\/])*")


def gather(home: Path) -> Exported:
    """Return what is known of this machine, free of what would tell whose it is. EDGETTS_DEVICE does not count."""
    private = _private_words()
    device = device_here(home, environment={})
    speeds = ProfileStore(profiles_of(home)).all()
    return Exported(_scrubbed_device(device, private), tuple(_scrubbed(speed, private) for speed in speeds))


def save_export(exported: Exported, path: Path, *, force: bool = False) -> None:
    """Write it whole. Errors: InvalidInput where a file is there and `force` is not set, StorageError."""
    if path.exists() and not force:
        raise InvalidInput(f"{path} is there already.", hint="Name another file, or add --force.")
    text = write_export(exported.device, exported.speeds)
    read_exported(text.encode("utf-8"), "The export")  # what cannot be read again must not be handed on
    _write(path, text)


def take_in(path: Path, name: str | None, home: Path, *, force: bool = False) -> str:
    """Keep a profile of another machine under a name, which is returned. It never counts as measured here.

    Errors: InvalidInput for a name or file that will not do, CorruptFile, BundleVersionError, StorageError.
    """
    try:
        raw = read_bounded(path)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror or error}.") from error
    brought = read_exported(raw, str(path))
    name = name or brought.device.name
    if not is_name(name):
        raise InvalidInput(
            f"{name!r} cannot be a profile's name.",
            hint="Use a-z, 0-9, dot, underscore and dash, and at most 64 of them.",
        )
    if name == HERE or name in shipped_names():
        raise InvalidInput(f"{name!r} is a name of edgetts' own.", hint="Give another one: --name NAME")
    if name in imported_names(home) and not force:
        raise InvalidInput(
            f"A profile {name!r} was imported before.", hint="Give another --name, or add --force."
        )
    target = ProfileStore(profiles_of(home)).imported / f"{name}.toml"
    _write(target, write_export(brought.device, brought.speeds))
    return name


def _write(path: Path, text: str) -> None:
    try:
        write_durably(path, text)
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written: {error.strerror or error}.",
            hint="Name a place that can be written to.",
        ) from error


def _private_words() -> re.Pattern[str]:
    words = {platform.node(), platform.node().partition(".")[0], Path.home().name}
    with contextlib.suppress(OSError, KeyError):  # containers whose user has no name
        words.add(getpass.getuser())
    # Short ones would be found by chance.
    known = sorted((word for word in words if len(word) > 2), key=len, reverse=True)
    return re.compile("|".join(rf"\b{re.escape(word)}\b" for word in known) or r"(?!)")


def scrub(text: str, private: re.Pattern[str]) -> str:
    """Return a text without directories, and without the words of `private`."""
    return private.sub("-", _DIRECTORY.sub("", text))


def _scrubbed(speed: SpeedProfile, private: re.Pattern[str]) -> SpeedProfile:
    power = speed.power
    if power is not None:
        idle, busy = (
            replace(figure, source=scrub(figure.source, private))
            for figure in (power.idle_watts, power.busy_watts)
        )
        power = replace(power, idle_watts=idle, busy_watts=busy)
    made = replace(
        speed.made, versions={name: scrub(value, private) for name, value in speed.made.versions.items()}
    )
    return replace(
        speed,
        model=scrub(speed.model, private),
        facts={name: scrub(value, private) for name, value in speed.facts.items()},
        guessing=tuple(replace(one, drafter=scrub(one.drafter, private)) for one in speed.guessing),
        made=made,
        power=power,
    )


def _scrubbed_device(device: DeviceProfile, private: re.Pattern[str]) -> DeviceProfile:
    device = each(device, lambda figure: replace(figure, source=scrub(figure.source, private)))
    name = scrub(device.name, private).strip("-._")
    processor = replace(device.processor, name=scrub(device.processor.name, private))
    return replace(
        device,
        name=name if is_name(name) else "device",
        title=scrub(device.title, private),
        processor=processor,
    )
