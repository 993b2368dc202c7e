"""Calls of seats that wait for their turn at the session."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgetts.decoding.session import Branch, Cancellation, Features, Logits

if TYPE_CHECKING:
    from edgetts.scheduling.seat import Seat


@dataclass(eq=False, slots=True)
class Work:
    """Something that one seat waits for. logits, features: what came of it, the waiting thread's own."""

    seat: Seat
    logits: Logits | None = None
    features: Features | None = None
    error: BaseException | None = None
    _done: threading.Event = field(default_factory=threading.Event)

    def finish(self, error: BaseException | None = None) -> None:
        self.error = error
        self._done.set()

    @property
    def finished(self) -> bool:
        return self._done.is_set()

    def wait(self) -> None:
        """Wait until it is finished."""
        self._done.wait()


@dataclass(eq=False, slots=True)
class Step(Work):
    """One token for each of some branches: shares a pass with the steps of others."""

    branches: Sequence[Branch] = ()
    tokens: Sequence[int] = ()


@dataclass(eq=False, slots=True)
class Lone(Work):
    """A pass over one branch that no other can share. call: runs it, and returns what the session did."""

    call: Callable[[], Logits] = field(kw_only=True)
    branch: Branch = field(kw_only=True)
    tokens: Sequence[int] = ()


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
    chunks: int = 0
