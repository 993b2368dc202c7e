"""Find and end every process that came of one, where the kernel does not forbid it to start others.

They are known by a token in the environment they inherited, so one that detached itself is found too. One
that took care to lose that token is not; the filter of system calls is what truly holds.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time

TOKEN = "EDGETTS_SANDBOX"  # noqa: S105 - the name of a variable
_ROUNDS = 100


def family(token: str, group: int) -> list[int]:
    """Return the living processes with this token or in this process group."""
    import psutil

    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            if os.getpgid(process.pid) == group or process.environ().get(TOKEN) == token:
                found.append(process.pid)
    return found


def end_family(token: str, group: int) -> None:
    """End them all; those started meanwhile too."""
    for attempt in range(_ROUNDS):
        with contextlib.suppress(OSError):
            os.killpg(group, signal.SIGKILL)
        alive = family(token, group)
        if not alive:
            return
        # Stopped first, none of them can start another while the rest is ended.
        for code in (signal.SIGSTOP, signal.SIGKILL):
            for number in alive:
                with contextlib.suppress(OSError):
                    os.kill(number, code)
        time.sleep(0.001 * min(attempt, 20))
