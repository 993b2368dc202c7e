"""Ask a command of the system without waiting for it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress


class Command:
    """Start the command when asked, and tell what it said when it has ended: the first time, nothing is known yet.

    It is asked again after `keep` seconds, and given up after `patience`.
    """

    def __init__(
        self,
        words: Sequence[str],
        *,
        keep: float = 20.0,
        patience: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._words = list(words)
        self._keep, self._patience, self._clock = keep, patience, clock
        self._running: subprocess.Popen[bytes] | None = None
        self._asked: float | None = None
        self._told: str | None = None

    def told(self) -> str | None:
        """Return what it printed last, None where it never did."""
        now = self._clock()
        if self._running is not None:
            self._collect(self._running, self._asked is not None and now - self._asked >= self._patience)
        elif self._asked is None or now - self._asked >= self._keep:
            self._asked = now
            try:
                self._running = subprocess.Popen(
                    self._words,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                )
            except OSError:
                self._told = None
        return self._told

    def wait(self, seconds: float) -> None:
        """Ask, and wait so long at most for what it says."""
        self.told()
        if self._running is not None:
            with suppress(subprocess.TimeoutExpired):
                self._running.wait(seconds)
            self.told()

    def _collect(self, running: subprocess.Popen[bytes], late: bool) -> None:
        if running.poll() is None:
            if not late:
                return
            running.kill()
        # What these commands print fits a pipe: ended ones have said all.
        told, _ = running.communicate()
        self._told = told.decode("utf-8", "replace") if running.returncode == 0 else None
        self._running = None
