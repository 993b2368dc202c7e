"""Read a small JSON file that anybody may have written; knows nothing of what it should say."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from edgetts.errors import CorruptFile, ModelNotFound


@dataclass(frozen=True, slots=True)
class Doubted:
    """A kind of file of which nothing is believed.

    what: the file's kind, as "calibration". again: what to do where it cannot be trusted. missing: what to do where there is
    none. All errors but a missing file's (ModelNotFound) are CorruptFile.
    """

    what: str
    again: str
    missing: str
    most_bytes: int = 1 << 20

    def load(self, path: Path) -> object:
        """Return what the file holds. Errors: ModelNotFound, CorruptFile."""
        try:
            with path.open("rb") as file:
                raw = file.read(self.most_bytes + 1)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ModelNotFound(
                f"There is no {self.what} to read at {path}: {reason}.", hint=self.missing
            ) from error
        if len(raw) > self.most_bytes:
            self.corrupt(f"it is larger than {self.most_bytes >> 20} MB")
        try:
            return json.loads(raw.decode("utf-8"), parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise CorruptFile(f"{path} is no {self.what}: it is not JSON.", hint=self.again) from error

    def corrupt(self, why: str) -> NoReturn:
        raise CorruptFile(f"The {self.what} cannot be trusted: {why}.", hint=self.again)

    def fields(self, value: object, name: str) -> dict[str, Any]:
        """Return an object."""
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            self.corrupt(f"{name} is no object")
        return dict(value)

    def exactly(self, value: Mapping[str, Any], names: set[str], what: str) -> None:
        """Refuse an object with other fields than these."""
        if wrong := sorted(names.symmetric_difference(value)):
            state = "missing" if wrong[0] in names else "unknown"
            self.corrupt(f"{what} has the {state} field {wrong[0][:80]!r}")

    def entries(self, value: object, name: str, most: int) -> list[Any]:
        """Return a list of at most so many entries."""
        if not isinstance(value, list | tuple):
            self.corrupt(f"{name} is no list")
        if len(value) > most:
            self.corrupt(f"{name} has more than {most} entries")
        return list(value)

    def number(self, value: object, name: str) -> float:
        """Return a finite number."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.corrupt(f"{name} has something that is no number")
        try:
            number = float(value)
        except OverflowError:
            self.corrupt(f"{name} has a number too large")
        if not math.isfinite(number):
            self.corrupt(f"{name} has a number that is not finite")
        return number


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
