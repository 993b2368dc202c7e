"""Say in one sentence why a compilation failed, and what to do. Knows how the child ended, not what it did."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgetts import errors
from edgetts.errors import EdgettsError, OutOfMemory, RuntimeFailure
from edgetts.export.static.compiling.supervising import Limits, Outcome

_SMALLER = "make the graphs smaller: more --cuts, so fewer layers in each, or a shorter --context"
_MORE_MEMORY = f"Allow more with --compile-memory, or {_SMALLER}."
# Also what QNN says of floats on chips that have none, v68 and before.
_NO_ROOM = "QNN_COMMON_ERROR_MEM_ALLOC"
_PROBE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Compilation:
    """What is compiled, by which provider, under which limits, and at which graph it is, counted from 1."""

    soc: str
    provider: str
    files: Sequence[str]
    limits: Limits
    number: int = 0

    def __str__(self) -> str:
        if not self.number:
            return f"Compiling for {self.soc}"
        return f"Compiling {self.files[self.number - 1]} ({self.number} of {len(self.files)}) for {self.soc}"


def failure(compilation: Compilation, outcome: Outcome, scratch: Path) -> EdgettsError:
    """Return the error to raise. Raises OSError where the disk is full, which compilers tell as something else."""
    if outcome.stopped == "time":
        return RuntimeFailure(
            f"{compilation} was stopped after {compilation.limits.seconds:g} seconds.",
            hint=f"Allow more with --compile-time, or {_SMALLER}.",
        )
    if outcome.stopped == "memory":
        return OutOfMemory(
            f"{compilation} took more than the {_gigabytes(compilation.limits.memory_bytes)} of memory allowed.",
            hint=_MORE_MEMORY,
        )
    _probe(scratch)
    if outcome.answer is not None and "refused" in outcome.answer:
        return _refused(compilation, outcome.answer["refused"])
    if outcome.code < 0:
        name = str(-outcome.code)
        with suppress(ValueError):
            name = signal.Signals(-outcome.code).name
        if name == "SIGKILL":
            return OutOfMemory(
                f"{compilation} was killed by the system, probably because memory ran out: it had taken "
                f"{_gigabytes(outcome.peak_bytes)}.",
                hint=f"Free some memory, or {_SMALLER}.",
            )
        return RuntimeFailure(
            f"{compilation} failed: {compilation.provider} crashed ({name}).",
            hint=f"Try to {_SMALLER}; the same graph runs on the CPU.",
        )
    reason = outcome.said.rstrip(".") or f"the compiler ended with code {outcome.code}"
    return RuntimeFailure(f"{compilation} failed: {reason}.")


def _refused(compilation: Compilation, refused: dict[str, Any]) -> EdgettsError:
    """Return the error that was raised in the child."""
    kind: Any = getattr(errors, str(refused["kind"]), None)
    message, hint = str(refused["message"]), str(refused["hint"])
    if _NO_ROOM in message:
        return RuntimeFailure(
            f"{compilation} failed: {compilation.provider} finds no memory for it, which it says of floats too on chips "
            "that have none.",
            hint=f"For chips before v69 export with --target qnn-htp; else {_SMALLER}.",
        )
    if not (isinstance(kind, type) and issubclass(kind, EdgettsError)) or kind is errors.MissingExtra:
        kind = RuntimeFailure
    error: EdgettsError = kind(message, hint=hint)
    return error


def _probe(scratch: Path) -> None:
    """Raise OSError where there is no room on the disk for a megabyte more."""
    with (scratch / "probe").open("wb") as file:
        file.write(bytes(_PROBE_BYTES))
        file.flush()
        os.fsync(file.fileno())


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
