"""Keep a device busy for a while, and see how it slows down."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from edgetts.decoding.session import Session
from edgetts.profiles.measuring.rows import rows_of
from edgetts.profiles.measuring.timing import Deadline, SteadyClock, sane
from edgetts.profiles.speed import Sustained

LOAD_WIDTH = 8
_LEAST_PASSES = 15
_MOST_PASSES = 100_000
_PARTS = 5
# A start this much slower than the curve began when the device was slow already.
_SLOWER = 1.1


def keep_busy(
    session: Session,
    past: int,
    width: int,
    usual: float,
    clock: SteadyClock,
    deadline: Deadline,
    tick: Callable[[], None] = lambda: None,
) -> Sustained | None:
    """Run passes over `width` branches until `deadline`, and compare the last with the first.

    usual: seconds of such a pass when the device was measured. Where the load begins slower than that, the
    device was hot by then, and the last are compared with it. None where there were too few
    passes to tell.
    """
    times: list[tuple[float, float]] = []
    began = clock()
    with rows_of(session, past, width) as rows:
        rows.step(width, clock)
        while not deadline.over and len(times) < _MOST_PASSES:
            times.append((clock() - began, rows.step(width, clock)))
            tick()
    seconds = clock() - began
    if len(times) < _LEAST_PASSES or seconds <= 0:
        return None
    part = seconds / _PARTS
    first = sane([time for at, time in times if at < part])
    last = sane([time for at, time in times if at >= seconds - part])
    if not first or not last:
        return None
    before = statistics.median(first)
    if usual > 0 and before > usual * _SLOWER:
        before = usual
    return Sustained(seconds, statistics.median(last) / before)
