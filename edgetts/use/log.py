"""The local file of uses: bounded, appended to by several processes at once, and believed line by line only."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from edgetts.errors import InvalidInput
from edgetts.use.record import Use
from edgetts.use.switch import learning

LIMIT = 1 << 20
"""Bytes at which the file is put aside; there are two of them at most."""
_LONGEST = 4096
"""Bytes of a line: as much as every system appends in one piece."""


class UseLog:
    """`use.jsonl` in a directory, and `use.1.jsonl`, which it was before it was full."""

    def __init__(self, directory: Path, *, limit: int = LIMIT) -> None:
        self.path = directory / "use.jsonl"
        self.older = directory / "use.1.jsonl"
        self._limit = limit

    def append(self, use: Use) -> bool:
        """Add a use; return whether it was written. A disk that refuses costs what could have been learned, no more."""
        line = json.dumps(use.to_json(), separators=(",", ":"), allow_nan=False).encode() + b"\n"
        if len(line) > _LONGEST:
            return False
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._rotate(len(line))
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                # One write to the end: lines of several processes do not mix.
                return os.write(descriptor, line) == len(line)
            finally:
                os.close(descriptor)
        except OSError:
            return False

    def read(self, *, mark: str | None = None) -> list[Use]:
        """Return the uses there are, the older first. mark: of that speed profile alone.

        Lines that are not exactly of the schema are left out: torn, edited, or another version's.
        """
        found = []
        for path in (self.older, self.path):
            for line in self._lines(path):
                with suppress(InvalidInput, ValueError, RecursionError):
                    use = Use.from_json(json.loads(line))
                    if mark is None or use.mark == mark:
                        found.append(use)
        return sorted(found, key=lambda use: use.hour)

    def forget(self) -> None:
        """Remove everything that was written. Errors: OSError."""
        for path in (self.path, self.older):
            path.unlink(missing_ok=True)

    def _lines(self, path: Path) -> list[bytes]:
        try:
            with path.open("rb") as file:
                # Somebody may have put anything there; the end is what is new.
                size = os.fstat(file.fileno()).st_size
                file.seek(max(0, size - 2 * self._limit))
                lines = file.read(2 * self._limit).split(b"\n")
        except OSError:
            return []
        return [line for line in lines if 0 < len(line) < _LONGEST]

    def _rotate(self, more: int) -> None:
        """Put a full file aside. Who waits for the lock finds the new file, and leaves it."""
        if self._size() + more <= self._limit:
            return
        from filelock import FileLock, Timeout

        with suppress(Timeout, NotImplementedError), FileLock(self.path.with_suffix(".lock"), timeout=0):
            if self._size() + more > self._limit:
                self.path.replace(self.older)

    def _size(self) -> int:
        try:
            return self.path.stat().st_size
        except OSError:
            return 0


def open_log(home: Path, environ: Mapping[str, str]) -> UseLog | None:
    """Return the log to write uses to; None where nobody switched learning on. Errors: as of `learning`."""
    return UseLog(home / "profiles") if learning(home, environ).on else None
