"""Decide whose branches are in memory at the same time; the others wait in line, or are refused."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from edgetts.decoding.session import Cancellation, Cancelled
from edgetts.errors import Busy, InvalidInput

# What background work may take of the memory, the places and the line: a question in the foreground finds room.
_BACKGROUND_SHARE = 0.75


@dataclass(eq=False, slots=True)
class _Guest:
    nbytes: int
    foreground: bool


class Admission:
    """Room for `most` questions whose branches take no more bytes than there are, and a line of `most_waiting`.

    memory: bytes that branches may take; asked whenever nobody is in. make_room: told to free what is kept for
    later when that many bytes are needed of it. Safe from any thread.
    """

    def __init__(
        self,
        memory: Callable[[], int],
        *,
        most: int,
        most_waiting: int,
        make_room: Callable[[int], None] = lambda nbytes: None,
    ) -> None:
        self._memory = memory
        self._most, self._most_waiting = most, most_waiting
        self._make_room = make_room
        # Entered itself: an interrupt within a condition's own `__enter__` would leave it locked for ever.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._inside: set[_Guest] = set()
        self._waiting: list[_Guest] = []
        self._bytes = 0
        self._closed = False

    @property
    def inside(self) -> int:
        return len(self._inside)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @contextmanager
    def entered(self, nbytes: int, *, foreground: bool, cancel: Cancellation | None) -> Iterator[None]:
        """Wait until there is room for `nbytes` of branches, and keep it meanwhile.

        Raises Busy where the line is full, Cancelled when `cancel` is requested first, InvalidInput after `close`.
        """
        guest = _Guest(nbytes, foreground)
        try:
            self._enter(guest, cancel)
            yield
        finally:
            with self._lock:
                self._inside.discard(guest)
                self._changed.notify_all()

    def close(self) -> None:
        """Send those who wait away."""
        with self._lock:
            self._closed = True
            self._changed.notify_all()

    def _enter(self, guest: _Guest, cancel: Cancellation | None) -> None:
        def wake() -> None:
            with self._lock:
                self._changed.notify_all()

        listening = False
        # Whatever interrupts it, nobody stays in line for whom nobody waits: all others would be behind them.
        try:
            with self._lock:
                share = 1.0 if guest.foreground else _BACKGROUND_SHARE
                places = max(1, int(self._most_waiting * share))
                if not self._fits_next(guest) and len(self._waiting) >= places:
                    raise Busy(
                        f"{len(self._waiting)} questions wait for the model already.", hint="Ask again later."
                    )
                self._waiting.append(guest)
            if cancel is not None:
                listening = True
                cancel.register(wake)
            with self._lock:
                while not (self._next() is guest and self._fits(guest)):
                    if self._closed:
                        raise InvalidInput("The engine is closed.", hint="Load the model again.")
                    if cancel is not None and cancel.requested:
                        raise Cancelled
                    self._changed.wait()
                self._inside.add(guest)
                left = self._bytes - sum(one.nbytes for one in self._inside)
        finally:
            if cancel is not None and listening:
                cancel.unregister(wake)
            with self._lock:
                if guest in self._waiting:
                    self._waiting.remove(guest)
                # Behind one who came in or went away another may fit.
                self._changed.notify_all()
        self._make_room(left)

    def _next(self) -> _Guest:
        """Return who is first in line. While one in the foreground waits for room, nobody else takes any."""
        return next((one for one in self._waiting if one.foreground), self._waiting[0])

    def _fits_next(self, guest: _Guest) -> bool:
        return not self._waiting and self._fits(guest)

    def _fits(self, guest: _Guest) -> bool:
        if not self._inside:
            self._bytes = self._memory()
            # Its plan was made to fit into what there is.
            return True
        share = 1.0 if guest.foreground else _BACKGROUND_SHARE
        taken = sum(one.nbytes for one in self._inside)
        return (
            len(self._inside) + 1 <= max(1, int(self._most * share))
            and taken + guest.nbytes <= self._bytes * share
        )
