"""Run one child process under limits of time and memory and hear what it answers. Knows no compiler.

A child gets one JSON object as a line on standard input, which then stays open until the parent ends or is done with
it. It answers with JSON objects, one a line, on standard output; the last says "done" or "refused". What it prints
on standard error is kept for when it fails.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import psutil

# Between looks at the child's memory: one that takes a gigabyte a second is noticed 0.1 GB late.
_LOOK_SECONDS = 0.1
_END_SECONDS = 10.0
_SAID_BYTES = 8192

Answer = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a child may use: seconds of the clock, and bytes of memory resident at once."""

    seconds: float
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a child ended.

    answer: the last, None where there was none. stopped: the limit that it broke. code: as subprocess gives it, -N for
    signal N. said: the last line on standard error. peak_bytes: the most memory that was seen resident.
    """

    answer: Answer | None
    stopped: Literal["", "time", "memory"]
    code: int
    said: str
    peak_bytes: int


def supervise(
    command: Sequence[str],
    request: Answer,
    limits: Limits,
    hear: Callable[[Answer], None],
    *,
    cwd: Path,
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Run a child until it ends or breaks a limit; `hear` gets every answer but the last.

    The child is dead when this returns or raises, Ctrl-C included. Raises OSError where it cannot be started.
    """
    began, peak = clock(), 0
    stopped: Literal["", "time", "memory"] = ""
    # Into a file, which nobody has to empty while the child runs.
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=cwd,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # Ctrl-C comes to the parent alone, which ends the child
        )
        try:
            answers: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()
            threading.Thread(target=_read, args=(child.stdout, answers), daemon=True).start()
            _send(child.stdin, request)
            process = _process(child.pid)
            while not stopped:
                try:
                    answer = answers.get(timeout=_LOOK_SECONDS)
                except queue.Empty:
                    answer = {}
                if answer is None or "done" in answer or "refused" in answer:
                    break
                if answer:
                    hear(answer)
                peak = max(peak, _resident(process))
                if peak > limits.memory_bytes:
                    stopped = "memory"
                elif clock() - began > limits.seconds:
                    stopped = "time"
            if not stopped:
                with suppress(subprocess.TimeoutExpired):
                    child.wait(timeout=_END_SECONDS)
        finally:
            _kill(child)
            child.wait()
            for stream in (child.stdin, child.stdout):
                if stream is not None:
                    with suppress(OSError):
                        stream.close()
        return Outcome(None if stopped else answer, stopped, child.returncode, _last_line(errors), peak)


def _kill(child: subprocess.Popen[str]) -> None:
    """Kill the child, and where it leads a session the children that it may have. Does nothing once it has ended."""
    if child.poll() is None and hasattr(os, "killpg"):
        with suppress(OSError):
            os.killpg(child.pid, signal.SIGKILL)
    child.kill()


def _read(stream: IO[str] | None, answers: queue.SimpleQueue[Answer | None]) -> None:
    """Put answers into the queue as they come, then None."""
    try:
        for line in stream or ():
            # The line that a child was killed in is no JSON.
            with suppress(ValueError):
                answer = json.loads(line)
                if isinstance(answer, dict):
                    answers.put(answer)
    except (OSError, ValueError):  # closed, because the child was stopped
        pass
    finally:
        answers.put(None)


def _send(stream: IO[str] | None, request: Answer) -> None:
    # A child that is gone says why by how it ended.
    if stream is not None:
        with suppress(OSError):
            stream.write(json.dumps(request) + "\n")
            stream.flush()


def _process(pid: int) -> psutil.Process | None:
    with suppress(psutil.Error):
        return psutil.Process(pid)
    return None


def _resident(process: psutil.Process | None) -> int:
    if process is not None:
        with suppress(psutil.Error):
            return int(process.memory_info().rss)
    return 0


def _last_line(errors: IO[bytes]) -> str:
    errors.seek(0, 2)
    errors.seek(max(0, errors.tell() - _SAID_BYTES))
    lines = errors.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1].strip()[:300] if lines else ""
