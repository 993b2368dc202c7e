"""Calls of seats that wait for their turn at the session."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgetts.decoding.session import Branch, Cancellation, Features, Logits

if TYPE_CHECKING:
    from edgetts.scheduling.seat import Seat


def _shut() -> threading.Lock:
    """Return a lock that is held: unlike an event's, it has no lock of its own that an interrupted thread could hold."""
    lock = threading.Lock()
    lock.acquire()
    return lock


@dataclass(eq=False, slots=True)
class Work:
    """Something that one seat waits for. logits, features: what came of it, the waiting thread's own."""

    seat: Seat
    logits: Logits | None = None
    features: Features | None = None
    error: BaseException | None = None
    finished: bool = False
    abandoned: bool = False
    """Whether the thread that waited was interrupted: what is under way ends, and nothing more is done of it."""
    _gate: threading.Lock = field(default_factory=_shut)

    def finish(self, error: BaseException | None = None) -> None:
        """Let who waits go on; what is finished stays as it is."""
        if not self.finished:
            self.error = error
            self.finished = True
            self._gate.release()

    def wait(self) -> None:
        """Wait until it is finished. A signal handler may finish what its own thread waits for."""
        if not self.finished:
            with self._gate:
                pass

    @property
    def running(self) -> list[tuple[Branch, Sequence[int]]]:
        """What is appended to which branch."""
        return []


@dataclass(eq=False, slots=True)
class Step(Work):
    """One token for each of some branches: shares a pass with the steps of others."""

    branches: Sequence[Branch] = ()
    tokens: Sequence[int] = ()

    @property
    def running(self) -> list[tuple[Branch, Sequence[int]]]:
        return [(branch, (token,)) for branch, token in zip(self.branches, self.tokens, strict=False)]


@dataclass(eq=False, slots=True)
class Lone(Work):
    """A pass over one branch that no other can share. call: runs it, and returns what the session did."""

    call: Callable[[], Logits] = field(kw_only=True)
    branch: Branch = field(kw_only=True)
    tokens: Sequence[int] = ()

    @property
    def running(self) -> list[tuple[Branch, Sequence[int]]]:
        return [(self.branch, self.tokens)]


@dataclass(eq=False, slots=True)
class Reading(Work):
    """A prompt, or more of one, read chunk by chunk. branch: None until its first chunk is read.

    read: tokens of it that the branch holds. cached: those of them that another branch had read.
    """

    tokens: Sequence[int] = ()
    cancel: Cancellation | None = None
    branch: Branch | None = None
    owned: bool = False
    """Whether the branch is this reading's own, to be freed where it fails."""
    read: int = 0
    cached: int = 0

    @property
    def running(self) -> list[tuple[Branch, Sequence[int]]]:
        return [] if self.branch is None else [(self.branch, self.tokens[self.read :])]
