"""How a program's execution ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Outcome = Literal[
    "finished", "raised", "exited", "memory", "timeout", "output", "files", "threads", "processes", "killed"
]
"""finished: the program reached its end. raised: an exception left it. exited: it ended itself, by sys.exit,
os._exit or otherwise. memory: MemoryError left it. timeout: its wall clock or CPU time ran out. output, files,
threads, processes: it passed that limit and was ended. killed: a signal ended it, such as a crash."""


@dataclass(frozen=True, slots=True)
class Execution:
    """What is known of a program that ran.

    Everything but `outcome`s that we imposed, `exit_code`, `seconds` and `enforced` is the program's own word:
    code that means to can report "finished" and any `value`. Where that matters, use `run_checks`.

    value: of the expression asked for, None without one or where there is none.
    error: in one line what it raised, or why it was ended.
    stdout: its beginning, as far as the limit allows; stderr: its last 8 KiB.
    exit_code: as subprocess gives it, -N for signal N.
    seconds: wall clock.
    enforced: the limits that were kept: "time", "output", "environment" always; "cpu", "file size", "memory",
        "processes", "network", "files" where the machine can.
    """

    outcome: Outcome
    value: Any
    error: str
    stdout: str
    stderr: str
    exit_code: int
    seconds: float
    enforced: frozenset[str]

    @property
    def finished(self) -> bool:
        return self.outcome == "finished"
