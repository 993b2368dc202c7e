"""Keep a line off standard output that Qualcomm's emulator writes there when it starts, once a process.

Whoever reads our output as JSON would read it too. Nothing but that line is dropped.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_GREETING = b" # LIBNATIVE:"
_OUT = 1
_LOCK = threading.Lock()
_DONE = threading.Event()


@contextmanager
def without_greeting(emulated: bool) -> Iterator[None]:
    """Hold back what is written to standard output, and pass it on without the greeting; only the first time."""
    if not emulated or _DONE.is_set():
        yield
        return
    with _LOCK:
        if _DONE.is_set():
            yield
            return
        try:
            kept, held = os.dup(_OUT), tempfile.TemporaryFile()  # noqa: SIM115 - closed below
        except OSError:  # no standard output, so nobody to be disturbed
            yield
            return
        try:
            _flush()
            os.dup2(held.fileno(), _OUT)
            yield
        finally:
            _flush()
            os.dup2(kept, _OUT)
            os.close(kept)
            with held, suppress(OSError):
                held.seek(0)
                for line in held:
                    if line.startswith(_GREETING):
                        _DONE.set()
                    else:
                        os.write(_OUT, line)


def _flush() -> None:
    with suppress(AttributeError, ValueError, OSError):  # none, closed, or broken
        sys.stdout.flush()
