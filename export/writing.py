"""Write a bundle where nobody looks for it, and move it into place when it is whole; likewise its manifest."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgetts.bundle import MANIFEST, Manifest, write_manifest
from edgetts.errors import InvalidInput, StorageError


@contextmanager
def written_whole(destination: Path) -> Iterator[Path]:
    """Give a new directory beside `destination` to write a bundle into; put it there at the end.

    The bundle appears whole or not at all; an existing one is replaced, and anything else is not. Raises
    InvalidInput, and StorageError for whatever OSError writing raises.
    """
    if destination.exists() and not (destination / MANIFEST).is_file():
        raise InvalidInput(
            f"{destination} exists and is no bundle, so it is not replaced.", hint="Name another place."
        )
    draft = destination.with_name(f".{destination.name}.{os.getpid()}.partial")
    try:
        draft.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        yield draft
        _replace(draft, destination)
    except OSError as error:
        raise storage_error(error, destination) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _replace(draft: Path, destination: Path) -> None:
    """Put the finished bundle in place of an older one; at every moment one of them is whole."""
    if destination.exists():
        old = destination.with_name(f".{destination.name}.{os.getpid()}.old")
        destination.rename(old)
        try:
            draft.rename(destination)
        except OSError:
            old.rename(destination)
            raise
        shutil.rmtree(old, ignore_errors=True)
    else:
        draft.rename(destination)


def replace_manifest(bundle: Path, manifest: Manifest) -> None:
    """Put a manifest in place of a bundle's; at every moment one of them is whole. Raises OSError."""
    scratch = bundle / f".manifest.{os.getpid()}.partial"
    scratch.mkdir()
    try:
        write_manifest(scratch, manifest)
        (scratch / MANIFEST).replace(bundle / MANIFEST)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def storage_error(error: OSError, destination: Path) -> StorageError:
    """Return what an OSError that came while writing means to who asked for it."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(
            f"The disk is full: {destination} could not be written.",
            hint="Free some space; nothing half-written was left behind.",
        )
    reason = error.strerror or type(error).__name__
    return StorageError(
        f"{destination} could not be written: {reason}.", hint="Choose a place you may write to."
    )
