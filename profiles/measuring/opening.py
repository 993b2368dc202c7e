"""Open a model with the number of threads that runs it fastest."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass

from edgetts.decoding.session import Session
from edgetts.profiles.measuring.threads import Pace, best_threads, pace_of
from edgetts.profiles.measuring.timing import Deadline, SteadyClock


@dataclass(frozen=True, slots=True)
class Opened:
    """A session. threads: that it was opened with; 0 is the runtime's own choice. seconds: that opening it took.

    paces: by number of threads, those tried; pace: of this session's. grown: bytes by which the process grew when the model was first loaded.
    """

    session: Session
    threads: int
    seconds: float
    paces: dict[int, Pace]
    pace: Pace
    grown: int


def open_fastest(
    opened: Callable[[int | None], Session],
    others: tuple[int, ...],
    usual: int,
    clock: SteadyClock,
    deadline: Deadline,
    resident: Callable[[], int],
    first: Callable[[Pace], None],
    tick: Callable[[], None],
    *,
    choose: bool = True,
) -> Opened:
    """Open the model with other numbers of threads as long as there is time, then as usual; keep the best open.

    others: the most telling first. first: told how fast the first of them was. choose: whether another
    number than the usual may be kept. One session is open at a time.
    """
    paces: dict[int, Pace] = {}
    grown: int | None = None
    seconds = 0.0
    session: Session | None = None
    for i, number in enumerate((*others, None)):
        # Opening as usual comes last in any case, and perhaps once more where it loses.
        if number is not None and i and seconds * 2.5 > deadline.left:
            continue
        if session is not None:
            _close(session)
        before = resident()
        began = clock()
        session = opened(number)
        seconds = clock() - began
        try:
            trying = len(others) + 1 - i
            part = deadline.within(max(0.0, deadline.left / trying - seconds) / 2)
            pace = pace_of(session, clock, part, tick)
        except BaseException:
            session.close()
            raise
        grown = resident() - before if grown is None else grown
        if not paces:
            first(pace)
        paces[number or usual] = pace
        if deadline.cancelled():
            break
    assert session is not None and grown is not None  # noqa: S101, PT018 - the usual one was opened
    best = best_threads(paces, usual) if choose and not deadline.cancelled() else 0
    if best:
        _close(session)
        began = clock()
        session = opened(best)
        seconds = clock() - began
    return Opened(session, best, seconds, paces, paces[best] if best else pace, max(0, grown))


def _close(session: Session) -> None:
    """Close a session, and have its memory back before the next is opened."""
    session.close()
    gc.collect()
