"""Keep running processes within limits that the kernel does not keep: time, output, files and threads."""

from __future__ import annotations

import selectors
import time
from collections.abc import Sequence
from pathlib import Path

from edgetts.sandbox.limits import Limits
from edgetts.sandbox.process import Process
from edgetts.sandbox.scratch import usage

_WATCH_SECONDS = 0.05
_POLL_SECONDS = 0.01


def supervise(processes: Sequence[Process], limits: Limits, directory: Path, *, grace: float = 0.5) -> None:
    """Listen to processes until the last has ended, within the limits; all are ended whatever happens.

    Once the last of several has ended by itself, the others have `grace` seconds left.
    """
    try:
        with selectors.DefaultSelector() as selector:
            for process in processes:
                process.register(selector)
            now = time.perf_counter()
            deadline, watch_at = now + limits.seconds, now + _WATCH_SECONDS
            while any(process.running for process in processes):
                pause = max(0.0, min(deadline, watch_at) - now)
                if not all(process.tells_its_end for process in processes):
                    pause = min(pause, _POLL_SECONDS)
                for key, _ in selector.select(pause):
                    key.data()
                now = time.perf_counter()
                for process in processes:
                    process.check()
                if now >= deadline:
                    for process in processes:
                        process.stop("timeout")
                elif now >= watch_at:
                    watch_at = now + _WATCH_SECONDS
                    for process in processes:
                        process.watch()
                    entries, size = usage(directory, limits.files)
                    if entries > limits.files or size > limits.file_bytes:
                        for process in processes:
                            process.stop("files")
                cause = next((process.stopped for process in processes if process.stopped), None)
                if cause:
                    for process in processes:
                        process.stop(cause)
                elif len(processes) > 1 and not processes[-1].running:
                    deadline = min(deadline, processes[-1].ended_at + grace)
    finally:
        for process in processes:
            process.close()
