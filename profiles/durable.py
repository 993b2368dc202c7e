"""Write a small file so that kill -9 at any moment leaves the old one or the new one, whole. Knows no profile."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from pathlib import Path

_DRAFT = ".draft-"
_ABANDONED = 600.0
"""Seconds after which nobody is writing a draft of a small file any more."""


def write_durably(path: Path, text: str) -> None:
    """Write beside `path` first, bring the bytes to the disk, then rename. Errors: OSError, and no draft is left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path.parent)
    draft = path.with_name(f"{_DRAFT}{secrets.token_hex(8)}")
    try:
        with draft.open("xb") as file:
            file.write(text.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise
    if os.name == "posix":
        # Where a directory cannot be synced, the file is there all the same.
        with contextlib.suppress(OSError):
            directory = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)


def _sweep(directory: Path) -> None:
    """Remove drafts that a dead process left behind."""
    for draft in directory.glob(f"{_DRAFT}*"):
        with contextlib.suppress(OSError):
            # Also where a clock that jumped dates it in the future.
            if abs(time.time() - draft.stat().st_mtime) > _ABANDONED:
                draft.unlink()
