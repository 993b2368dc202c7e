"""Start a Python process that confines itself, listen to it within bounds, and end it; knows no checks."""

from __future__ import annotations

import contextlib
import json
import marshal
import os
import secrets
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from edgetts.errors import RuntimeFailure
from edgetts.sandbox import tree
from edgetts.sandbox.confinement import Confinement
from edgetts.sandbox.limits import Limits

Stop = Literal["timeout", "output", "files", "threads", "processes"]

# Only this package's child part is found, and nothing of edgetts is run on the way to it.
_BOOT = """
import sys
sys.path[:] = [entry for entry in sys.path if entry]
for name, path in ("edgetts", []), ("edgetts.sandbox", [sys.argv[1]]):
    sys.modules[name] = type(sys)(name)
    sys.modules[name].__path__ = path
from edgetts.sandbox.child.launcher import main
main()
"""
_HERE = str(Path(__file__).parent)
_CHUNK = 1 << 16
_TAIL = 8 << 10
_REPORTS = 1 << 20


class Process:
    """One interpreter and what it said.

    The process is started by the C code of `subprocess`, so threads of the caller do no harm; it confines
    itself, says so, and only then reads what it is to run.
    """

    def __init__(
        self,
        request: dict[str, Any],
        limits: Limits,
        directory: Path,
        confinement: Confinement,
        *,
        stdin: str = "",
        channels: Sequence[int] = (),
    ) -> None:
        self.limits = limits
        self.stopped: Stop | None = None
        self.reports: list[dict[str, Any]] = []
        self.kept: list[str] | None = None
        self.failed: dict[str, str] = {}
        self.refused = ""
        self.running = True
        self.ended_at = 0.0
        self._watched = "processes" not in confinement.enforced
        self._token = secrets.token_hex(16)
        self._stdout, self._stderr, self._reported = bytearray(), bytearray(), bytearray()
        self._output = 0
        reading, writing = os.pipe()
        try:
            request = {
                **request,
                "reports": writing,
                "parent": os.getpid(),
                "directory": str(directory),
                "mechanisms": confinement.mechanisms,
                "cpu_seconds": float(limits.cpu_seconds),
                "memory_bytes": int(limits.memory_bytes),
                "file_bytes": int(limits.file_bytes),
                "value_bytes": int(limits.value_bytes),
            }
            body = marshal.dumps(request)
            self._feed = memoryview(len(body).to_bytes(4, "big") + body + stdin.encode("utf-8", "replace"))
            self.started_at = time.perf_counter()
            self._popen = subprocess.Popen(
                [sys.executable, "-s", "-S", "-c", _BOOT, _HERE],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                cwd=directory,
                env=_environment(str(directory), self._token),
                pass_fds=(writing, *channels),
                start_new_session=True,
            )
        except BaseException as error:
            os.close(reading)
            if isinstance(error, OSError):
                raise RuntimeFailure(f"Python could not be started to run a program: {error}.") from error
            raise
        finally:
            os.close(writing)
        self._reports = reading
        self._pidfd = _open_pidfd(self._popen.pid)
        self._open: set[int] = set()

    @property
    def stdout(self) -> str:
        return self._stdout.decode("utf-8", "replace")

    @property
    def stderr(self) -> str:
        return self._stderr.decode("utf-8", "replace")

    @property
    def exit_code(self) -> int:
        return int(self._popen.returncode)

    @property
    def tells_its_end(self) -> bool:
        """Whether the selector wakes when it ends; otherwise `check` must be called again and again."""
        return self._pidfd is not None

    def register(self, selector: selectors.BaseSelector) -> None:
        """Have a selector call us when there is something to read or write."""
        pipes = (self._popen.stdin, self._popen.stdout, self._popen.stderr)
        stdin, stdout, stderr = (pipe.fileno() for pipe in pipes if pipe is not None)
        handlers: list[tuple[int, int, Callable[[], None]]] = [
            (stdin, selectors.EVENT_WRITE, self._write),
            (stdout, selectors.EVENT_READ, lambda: self._read(stdout, self._hear_stdout)),
            (stderr, selectors.EVENT_READ, lambda: self._read(stderr, self._hear_stderr)),
            (self._reports, selectors.EVENT_READ, lambda: self._read(self._reports, self._hear_report)),
        ]
        self._selector = selector
        self._readers = {descriptor: handler for descriptor, _, handler in handlers[1:]}
        for descriptor, event, handler in handlers:
            os.set_blocking(descriptor, False)
            selector.register(descriptor, event, handler)
            self._open.add(descriptor)
        if self._pidfd is not None:
            selector.register(self._pidfd, selectors.EVENT_READ, self.check)

    def check(self) -> None:
        """Notice whether it has ended; then read what is left of what it said."""
        if not self.running or self._popen.poll() is None:
            return
        self._ended()
        for descriptor, handler in self._readers.items():
            while descriptor in self._open and self.stopped is None:
                before = self._output + len(self._reported)
                handler()
                if self._output + len(self._reported) == before:
                    break

    def watch(self) -> None:
        """End it when it has more threads or processes than it may."""
        if self.running:
            if _threads(self._popen.pid) > self.limits.threads:
                self.stop("threads")
            elif self._watched and len(tree.family(self._token, self._popen.pid)) > 1:
                self.stop("processes")

    def stop(self, why: Stop) -> None:
        """End it, and remember why."""
        if self.running:
            if self.stopped is None:
                self.stopped = why
            self._popen.kill()

    def close(self) -> None:
        """End it and all that came of it, and let go of everything. May be called twice."""
        if self.running:
            self._popen.kill()
            self._popen.wait()
            self._ended()
        for pipe in (self._popen.stdin, self._popen.stdout, self._popen.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        for descriptor in (self._reports, self._pidfd):
            if descriptor is not None:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        self._reports, self._pidfd = -1, None

    def _ended(self) -> None:
        self.running = False
        self.ended_at = time.perf_counter()
        if self._watched:
            tree.end_family(self._token, self._popen.pid)

    def _forget(self, descriptor: int) -> None:
        self._open.discard(descriptor)
        with contextlib.suppress(KeyError):
            self._selector.unregister(descriptor)

    def _write(self) -> None:
        assert self._popen.stdin is not None  # noqa: S101 - for the type checker
        descriptor = self._popen.stdin.fileno()
        try:
            self._feed = self._feed[os.write(descriptor, self._feed[:_CHUNK]) :]
        except BlockingIOError:
            return
        except OSError:
            self._feed = memoryview(b"")
        if not self._feed:
            self._forget(descriptor)
            self._popen.stdin.close()

    def _read(self, descriptor: int, hear: Callable[[bytes], None]) -> None:
        try:
            data = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            hear(data)
        else:
            self._forget(descriptor)

    def _hear_stdout(self, data: bytes) -> None:
        self._count(data)
        self._stdout += data[: self.limits.output_bytes - len(self._stdout)]

    def _hear_stderr(self, data: bytes) -> None:
        self._count(data)
        self._stderr += data
        del self._stderr[:-_TAIL]

    def _count(self, data: bytes) -> None:
        self._output += len(data)
        if self._output > self.limits.output_bytes:
            self.stop("output")

    def _hear_report(self, data: bytes) -> None:
        self._reported += data
        if len(self._reported) > self.limits.value_bytes + _REPORTS:
            self.stop("output")
            return
        *lines, rest = self._reported.split(b"\n")
        self._reported = bytearray(rest)
        for line in lines:
            with contextlib.suppress(ValueError, RecursionError):
                said = json.loads(line)
                if isinstance(said, dict):
                    self._hear(said)

    def _hear(self, said: dict[str, Any]) -> None:
        if self.kept is not None or self.refused:
            self.reports.append(said)
            return
        # The first line is written before the program is run: it alone is to be believed.
        self.refused = str(said.get("refused", ""))
        self.kept = None if self.refused else list(said["enforced"])
        self.failed = dict(said.get("failed", {}))


def _environment(directory: str, token: str) -> dict[str, str]:
    """Return all that the process is told of ours: where the dynamic loader finds Python's own library."""
    mine = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    # The same program does the same thing each time, whatever order its sets have.
    fixed = {"PYTHONHASHSEED": "0", "PYTHONUTF8": "1", "LANG": "C.UTF-8", "TZ": "UTC"}
    return {**mine, **fixed, "HOME": directory, "TMPDIR": directory, tree.TOKEN: token}


def _open_pidfd(process: int) -> int | None:
    if hasattr(os, "pidfd_open"):
        with contextlib.suppress(OSError):
            return os.pidfd_open(process)
    return None


def _threads(process: int) -> int:
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{process}/status").read_text("ascii", "replace").splitlines():
            if line.startswith("Threads:"):
                return int(line.split()[1])
    return 1
