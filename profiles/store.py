"""Profiles of this machine on disk. Knows files and fingerprints; measures nothing, and never raises for a disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from edgetts.errors import BundleVersionError, CorruptFile, EdgettsError
from edgetts.profiles.device import DeviceProfile
from edgetts.profiles.device_figures import measured_of
from edgetts.profiles.durable import write_durably
from edgetts.profiles.fingerprint import machine_facts
from edgetts.profiles.reading import is_mark, read_device, read_speed
from edgetts.profiles.speed import SpeedProfile
from edgetts.profiles.table import MAX_BYTES
from edgetts.profiles.writing import PARTS, write_device, write_speed

_PATIENCE = 10.0
"""Seconds to wait for another process that writes a few kilobytes."""


class ProfileStore:
    """Keep speed profiles in `root`/speeds, by fingerprint, and what was measured of the device in `root`/device.toml.

    notify: gets a sentence where a file is there that cannot be used.
    """

    def __init__(self, root: Path, notify: Callable[[str], None] = lambda sentence: None) -> None:
        self.root = root
        self._notify = notify

    @property
    def imported(self) -> Path:
        """Where profiles of other machines lie."""
        return self.root / "imported"

    def get(self, mark: str, facts: Mapping[str, str] | None = None) -> SpeedProfile | None:
        """Return what was measured for a fingerprint; None where there is nothing that holds here.

        facts: what the fingerprint is of; where those in the file differ, it was moved or edited, and is not used.
        """
        path = self._speed_path(mark)
        if path is None:
            return None
        profile = self._readable(path)
        if profile is not None and (other := differing(profile.facts, machine_facts() | dict(facts or {}))):
            self._ignored(path, f"It is of another {' and '.join(other)}.")
            return None
        return profile

    def put(self, profile: SpeedProfile) -> str | None:
        """Keep a profile; return None, or a sentence that says why it could not be kept.

        A calibration is never replaced by a measurement of first use, and hands on what the next does not measure.
        """
        path = self._speed_path(profile.mark)
        if path is None:
            return f"The speeds could not be kept: {profile.mark!r} is not a fingerprint."
        if profile.times.source == "emulated":
            return "The speeds could not be kept: an emulator's are no device's."
        try:
            with self._locked("speeds"):
                old = self._old(path, profile.mark)
                if profile.made.scope == "first-use" and old is not None:
                    if isinstance(old, BundleVersionError):
                        return f"The speeds could not be kept: {old}"
                    if old.made.scope != "first-use":
                        return None
                if isinstance(old, SpeedProfile):
                    profile = _handed_on(old, profile)
                text = write_speed(profile)
                if read_speed(text.encode("utf-8"), "The profile") != profile:
                    return "The speeds could not be kept: they are not the same when they are read again."
                write_durably(path, text)
        except (OSError, EdgettsError) as error:
            return f"The speeds could not be kept in {self.root}: {_why(error)}"
        return None

    def all(self) -> list[SpeedProfile]:
        """Return every speed profile that can be read, in the order of their fingerprints."""
        found = (self._readable(path) for path in self._speed_files())
        return [profile for profile in found if profile is not None]

    def outdated(self, facts: Mapping[str, str]) -> str | None:
        """Say why a calibration of the same model on the same runtime with the same options does not hold; None: there is none."""
        same = ("weights", "runtime", "options", "graphs", "placed")
        for profile in self.all():
            other = differing(profile.facts, facts)
            if profile.made.scope != "first-use" and other and not set(other) & set(same):
                changes = ", ".join(f"{name} {profile.facts[name]} is now {facts[name]}" for name in other)
                return f"What was calibrated on {profile.made.date} does not hold any more: {changes}."
        return None

    def device(self) -> DeviceProfile | None:
        """Return what was measured of this machine; None where nothing was, or it was measured of another."""
        path = self.root / "device.toml"
        try:
            profile, facts = read_device(read_bounded(path), f"The profile {path.name}")
        except FileNotFoundError:
            return None
        except (OSError, EdgettsError) as error:
            self._ignored(path, _why(error))
            return None
        here = machine_facts()
        # Without facts, it could be of any machine.
        if other := [name for name in here if facts.get(name) != here[name]]:
            self._ignored(path, f"It is of another {' and '.join(other)}.")
            return None
        return profile

    def put_device(self, profile: DeviceProfile) -> str | None:
        """Keep what was measured of this machine; return None, or why it could not be kept.

        A figure that was measured before is kept where the new one was not measured.
        """
        try:
            with self._locked("device"):
                old = ProfileStore(self.root).device()
                merged = profile if old is None else measured_of(old, profile)
                text = write_device(merged, machine_facts())
                read_device(text.encode("utf-8"), "The profile")
                write_durably(self.root / "device.toml", text)
        except (OSError, EdgettsError) as error:
            return f"The device's figures could not be kept in {self.root}: {_why(error)}"
        return None

    def _speed_path(self, mark: str) -> Path | None:
        return self.root / "speeds" / f"{mark}.toml" if is_mark(mark) else None

    def _speed_files(self) -> list[Path]:
        try:
            return sorted(
                path
                for path in (self.root / "speeds").iterdir()
                if path.suffix == ".toml" and is_mark(path.stem)
            )
        except OSError:
            return []

    def _readable(self, path: Path) -> SpeedProfile | None:
        """Return what a file holds; None where there is none, or none that can be used, which is said."""
        try:
            return self._read(path, path.stem)
        except FileNotFoundError:
            return None
        except (OSError, EdgettsError) as error:
            self._ignored(path, _why(error))
            return None

    def _read(self, path: Path, mark: str) -> SpeedProfile:
        profile = read_speed(read_bounded(path), f"The profile {path.name}")
        if profile.mark != mark:
            raise CorruptFile("It holds another fingerprint than its name says.")
        return profile

    def _old(self, path: Path, mark: str) -> SpeedProfile | BundleVersionError | None:
        try:
            return self._read(path, mark)
        except BundleVersionError as error:
            return error
        except (OSError, EdgettsError):
            return None

    def _ignored(self, path: Path, why: str) -> None:
        self._notify(
            f"The stored profile {path.name} is not used, and what it holds is measured again: {why}"
        )

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        from filelock import FileLock, Timeout

        self.root.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.root / f"{name}.lock", timeout=_PATIENCE):
                yield
        except Timeout as error:
            raise OSError(f"another process has held {name}.lock for {_PATIENCE:.0f} s") from error
        except NotImplementedError as error:  # a file system without locks
            raise OSError(str(error)) from error


def differing(stored: Mapping[str, str], here: Mapping[str, str]) -> list[str]:
    """Name the facts that both have, and have differently."""
    return [name for name in here if name in stored and stored[name] != here[name]]


def _handed_on(old: SpeedProfile, new: SpeedProfile) -> SpeedProfile:
    """Add the parts that only the old profile of the same fingerprint has, with the day they are of."""
    parts = {name: getattr(old, name) for name in PARTS if getattr(old, name) and not getattr(new, name)}
    if not parts:
        return new
    days = {name: old.made.earlier.get(name, old.made.date) for name in parts}
    made = replace(new.made, earlier={**new.made.earlier, **days})
    return replace(new, made=made, **parts)


def read_bounded(path: Path) -> bytes:
    """Read a file of a profile, and no more of it than shows that it is too large."""
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _why(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.strerror or error}."
    return str(error)
