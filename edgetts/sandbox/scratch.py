"""The empty directory a program may write in, gone afterwards whatever it did to it."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def scratch_directory() -> Iterator[Path]:
    """Make an empty directory, and remove it and all it holds in the end."""
    directory = Path(tempfile.mkdtemp(prefix="edgetts-sandbox-")).resolve()
    try:
        yield directory
    finally:
        remove(directory)


def usage(directory: Path, most: int) -> tuple[int, int]:
    """Return how many entries a directory lists, and their bytes; stops counting after `most` entries."""
    entries = size = 0
    with contextlib.suppress(OSError), os.scandir(directory) as found:
        for entry in found:
            entries += 1
            with contextlib.suppress(OSError):
                size += entry.stat(follow_symlinks=False).st_size
            if entries > most:
                break
    return entries, size


def remove(directory: Path) -> None:
    """Remove a directory that may be too deep for a path, or closed to its owner.

    Subdirectories are moved to the top one by one, so that no path grows long and nothing recurses.
    Symbolic links are not followed.
    """
    _clear(directory)
    # What is left, if something still writes there, is no reason to fail.
    shutil.rmtree(directory, ignore_errors=True)


def _clear(top: Path) -> None:
    moved = 0
    pending = [top]
    while pending:
        place = pending.pop()
        with contextlib.suppress(OSError):
            place.chmod(0o700)
            with os.scandir(place) as found:
                entries = list(found)
            for entry in entries:
                path = Path(entry.path)
                if path in pending:
                    continue
                if not entry.is_dir(follow_symlinks=False):
                    path.unlink(missing_ok=True)
                elif place == top:
                    pending.append(path)
                else:
                    path.chmod(0o700)
                    moved += 1
                    pending.append(path.rename(top / f".{moved}.moved"))
            if place != top:
                place.rmdir()
