"""One worker per model, and scratch space that dies with its owner. Knows names and processes, not models.

Both rest on locks the operating system holds for a process, so that nothing is stale after kill -9.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgetts.errors import StorageError
from edgetts.store.home import Home, make_directory, storage_errors


@contextmanager
def working_on(home: Home, key: str, notify: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of one model; says so when another process has it, and waits."""
    from filelock import FileLock, Timeout

    path = make_directory(home.locks) / f"{key}.lock"
    lock = FileLock(path)
    with storage_errors(path):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            notify(f"Another process is preparing {key}; waiting for it.")
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def unless_busy(home: Home, key: str) -> Iterator[None]:
    """Hold the lock of one model, or raise StorageError at once where another process has it."""
    from filelock import FileLock, Timeout

    path = make_directory(home.locks) / f"{key}.lock"
    lock = FileLock(path)
    with storage_errors(path):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise StorageError(
                f"{key} is being pulled or converted by another process.", hint="Wait until that is done."
            ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def scratch_space(home: Home) -> Iterator[Path]:
    """Make a directory for work in progress, on the cache's own disk; gone at the end, however that comes."""
    from filelock import FileLock

    name = secrets.token_hex(8)
    space = make_directory(home.scratch) / name
    lock = FileLock(home.scratch / f"{name}.lock")
    with storage_errors(home.scratch):
        lock.acquire()
    try:
        with storage_errors(home.scratch):
            space.mkdir()
        yield space
    finally:
        shutil.rmtree(space, ignore_errors=True)
        # Unlinked while held: nobody waits for a scratch lock, so no one can be left with a lost inode.
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def clean_abandoned(home: Home) -> None:
    """Remove scratch space whose owner is dead. Never an error: a read-only cache is still a cache."""
    try:
        left = sorted(home.scratch.glob("*.lock"))
    except OSError:
        return
    if not left:
        return
    from filelock import FileLock, Timeout

    for path in left:
        with suppress(Timeout, OSError), FileLock(path, timeout=0):
            shutil.rmtree(path.with_suffix(""), ignore_errors=True)
            path.unlink(missing_ok=True)
