"""Measure the memory that a loaded model, a token, and a branch take."""

from __future__ import annotations

from collections.abc import Callable

from edgetts.decoding.session import Session
from edgetts.errors import OutOfMemory
from edgetts.profiles.curves import StepTimes
from edgetts.profiles.measuring.rows import made_up
from edgetts.profiles.measuring.timing import Deadline
from edgetts.profiles.speed import MemoryUse

_BRANCHES = 8
_LENGTHS = (32, 96)
# A session states what it allocates; only where the process grows by clearly more is that what a token takes.
_MORE = 1.25


def measure_memory(
    session: Session,
    resident: Callable[[], int],
    loaded: int,
    room: int,
    times: StepTimes,
    deadline: Deadline,
) -> MemoryUse:
    """Fork branches of two lengths and look how the process grows.

    resident: bytes of the process now; loaded: bytes by which loading it made it grow; room: bytes branches may
    take. Where there is no time to fork any, a token takes what the session states.
    """
    stated = session.info.bytes_per_token
    if session.info.whole_cache:
        return MemoryUse(max(0, loaded), 0, stated * session.info.context)
    affordable = sum(times.prefill(length) + times.at(_BRANCHES) for length in _LENGTHS) < deadline.left
    grown = _growth(session, resident, room) if session.capabilities.fork and affordable else None
    token, branch = stated, 0
    if grown is not None:
        (short, little), (long, much) = grown
        found = (much - little) / (long - short)
        if found > stated * _MORE or not stated:
            token = max(0, round(found))
        branch = max(0, round(little - short * token))
    return MemoryUse(max(0, loaded), token, branch)


def _growth(
    session: Session, resident: Callable[[], int], room: int
) -> tuple[tuple[int, float], tuple[int, float]] | None:
    """Return the bytes that a branch took at each of two lengths; None where they do not fit."""
    lengths = [min(length, session.info.context - 1) for length in _LENGTHS]
    if lengths[0] == lengths[1] or (lengths[1] + 1) * session.info.bytes_per_token * _BRANCHES > room:
        return None
    found = []
    for length in lengths:
        try:
            prompt, _ = session.prefill(made_up(session, length))
        except OutOfMemory:
            return None
        try:
            before = resident()
            branches = session.fork(prompt, _BRANCHES)
            try:
                session.step(branches, [1] * _BRANCHES)
                found.append((length + 1, (resident() - before) / _BRANCHES))
            finally:
                for branch in branches:
                    session.free(branch)
        except OutOfMemory:
            return None
        finally:
            session.free(prompt)
    return found[0], found[1]
