"""Whether uses are written down: only where the user said so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgetts.errors import CorruptFile, InvalidInput, StorageError
from edgetts.profiles.durable import write_durably
from edgetts.profiles.table import MAX_BYTES, parse_toml

VARIABLE = "EDGETTS_LEARN"
_ON, _OFF = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")


@dataclass(frozen=True, slots=True)
class Learning:
    """on: whether uses are written down. why: what says so, in words."""

    on: bool
    why: str


def learning(home: Path, environ: Mapping[str, str]) -> Learning:
    """Say whether uses are written down: EDGETTS_LEARN, or else what was switched in `home`, or else no.

    Whatever cannot be read is no. Errors: InvalidInput for a value of EDGETTS_LEARN that says neither.
    """
    value = environ.get(VARIABLE)
    if value is not None:
        if value.casefold() not in (*_ON, *_OFF):
            raise InvalidInput(
                f"{VARIABLE} is {value[:40]!r}, which says neither yes nor no.", hint="Set it to 1 or 0."
            )
        return Learning(value.casefold() in _ON, f"{VARIABLE} is {value!r}")
    path = _path(home)
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return Learning(False, "nobody switched it on")
    except OSError as error:
        return Learning(False, f"{path} cannot be read: {error.strerror or error}")
    try:
        table = parse_toml(raw, str(path))
        table.whole("format", 1, 1)
        on = table.flag("learn")
        table.end()
    except CorruptFile as error:
        return Learning(False, str(error))
    return Learning(on, f"{path} says so")


def set_learning(home: Path, on: bool) -> None:
    """Switch it for this user. Errors: StorageError."""
    try:
        write_durably(_path(home), f"format = 1\nlearn = {'true' if on else 'false'}\n")
    except OSError as error:
        raise StorageError(
            f"{_path(home)} cannot be written: {error.strerror or error}.",
            hint=f"Set {VARIABLE} to {'1' if on else '0'} instead.",
        ) from error


def _path(home: Path) -> Path:
    return home / "profiles" / "learning.toml"
