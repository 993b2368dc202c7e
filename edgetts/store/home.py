"""Where the store keeps things on disk. Knows paths and room on the disk; knows no models and no network."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from edgetts.errors import StorageError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EIO}
_FREE_SPACE = "Free some space (see 'edgetts ls' and 'edgetts rm'), or set EDGETTS_HOME to another disk."


@dataclass(frozen=True, slots=True)
class Home:
    """The cache directory. Only `bundles`, `sources` and `vocabularies` hold finished things, each renamed into place."""

    root: Path

    @property
    def bundles(self) -> Path:
        return self.root / "bundles"

    @property
    def sources(self) -> Path:
        return self.root / "sources"

    @property
    def vocabularies(self) -> Path:
        """Tokenizers of GGUF files that are run as they are."""
        return self.root / "vocabularies"

    @property
    def partial(self) -> Path:
        """Downloads that can be resumed."""
        return self.root / "partial"

    @property
    def first_fetches(self) -> Path:
        """Checksums of models that nobody vouches for; they outlive the files."""
        return self.root / "first-fetches"

    @property
    def locks(self) -> Path:
        return self.root / "locks"

    @property
    def scratch(self) -> Path:
        """Work in progress; whatever is here and has no living owner is rubbish."""
        return self.root / "tmp"


def find_home(root: Path | None = None) -> Home:
    """Return the cache: `root`, or EDGETTS_HOME, or the platform's cache directory. Creates nothing."""
    if root is not None:
        return Home(root.absolute())
    if chosen := os.environ.get("EDGETTS_HOME"):
        return Home(Path(chosen).expanduser().absolute())
    from platformdirs import user_cache_path

    return Home(user_cache_path("edgetts", appauthor=False))


def key_for(name: str) -> str:
    """Turn a model's name into one safe path component; different names never share one.

    Registry names and keys are components already; anything else is cut to plain words and told
    apart by a hash.
    """
    if re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,79}(~[0-9a-f]{12})?", name):
        return name
    return unique_key(name, name)


def unique_key(words: str, whole: str) -> str:
    """Build a key that reads like `words` and differs whenever `whole` does."""
    readable = re.sub(r"[^a-z0-9._-]+", "-", words.lower()).strip("-._")[:60] or "model"
    return f"{readable}~{hashlib.sha256(whole.encode(errors='surrogateescape')).hexdigest()[:12]}"


def make_directory(path: Path) -> Path:
    with storage_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn what a disk refuses the store's own files (full, read-only, no permission) into a StorageError."""
    with full_disk(path):
        try:
            yield
        except OSError as error:
            if error.errno not in _REFUSED:
                raise
            raise StorageError(
                f"The cache {path} cannot be used: {error.strerror}.",
                hint="Set EDGETTS_HOME to a directory that can be written.",
            ) from error


@contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """Turn a full disk, met by whoever writes below `path`, into a StorageError; other errors pass."""
    try:
        yield
    except OSError as error:
        # NumPy's tofile tells of a short write without an errno.
        if error.errno not in _FULL and (error.errno is not None or shutil.disk_usage(path).free > 1_000_000):
            raise
        raise StorageError(f"The disk is full: {path} could not be written.", hint=_FREE_SPACE) from error


def check_room(home: Home, needed: int, what: str) -> None:
    """Refuse before work starts when `needed` bytes do not fit the cache's disk."""
    free = shutil.disk_usage(make_directory(home.root)).free
    if free < needed:
        raise StorageError(
            f"{what} needs {in_megabytes(needed)}, but only {in_megabytes(free)} are free in {home.root}.",
            hint=_FREE_SPACE,
        )


def in_megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"


def size_on_disk(path: Path) -> int:
    """Sum the bytes of a file, or of the regular files under a directory, links not followed."""
    files = (
        [path]
        if path.is_file()
        else [Path(place) / name for place, _, names in os.walk(path) for name in names]
    )
    total = 0
    for file in files:
        with suppress(FileNotFoundError):  # another process may remove or finish it meanwhile
            total += file.lstat().st_size
    return total


def publish(finished: Path, destination: Path) -> None:
    """Move a finished directory to where it is looked up, in one step, after its bytes are on the disk."""
    for directory, _, files in os.walk(finished):
        for file in files:
            _flush(Path(directory) / file)
    make_directory(destination.parent)
    finished.replace(destination)
    if os.name == "posix":
        _flush(destination.parent)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() or os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
