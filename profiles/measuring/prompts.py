"""Time the reading of prompts by their length."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgetts.decoding.session import Session
from edgetts.errors import OutOfMemory
from edgetts.profiles.measuring.first_use import (
    LONG_PROMPT,
    ReadsPromptsTwoWays,
    prefers_exact_prompts,
    rising,
)
from edgetts.profiles.measuring.rows import made_up
from edgetts.profiles.measuring.timing import Deadline, SteadyClock, typical

# The most telling first: a slow device reads only these.
_LENGTHS = (64, 256, 16, 512, 1024, 128, 2048)
_MOST_ROUNDS = 12
# Of a long prompt in either way, to find the faster.
_READINGS = 2
# Of prompts about this long the rate is stated.
_USUAL = 256


@dataclass(frozen=True, slots=True)
class Prompts:
    """points: (tokens, seconds), the shorter first. exact: whether long ones are to be read by a graph of their own."""

    points: tuple[tuple[int, float], ...]
    exact: bool

    @property
    def rate(self) -> float:
        """Tokens read in a second, of a prompt of usual length; 0 where none was read."""
        if not self.points:
            return 0.0
        tokens, seconds = min(self.points, key=lambda point: abs(point[0] - _USUAL))
        return tokens / seconds


def time_prompts(
    session: Session,
    clock: SteadyClock,
    deadline: Deadline,
    *,
    rate: float,
    room: int,
    longest: int,
    tick: Callable[[], None] = lambda: None,
) -> Prompts:
    """Read prompts of several lengths in turn, in the faster way where there are two.

    rate: tokens a second, a guess; longest: tokens; room: bytes that one may take. The session is left as it was found.
    """
    each = max(1, session.info.bytes_per_token)
    most = min(longest, session.info.context, max(1, room // each))
    lengths = sorted({min(length, most) for length in _LENGTHS}, key=_importance)
    found: dict[int, list[float]] = {}
    # As slow as a wide pass, to begin with; a slow device reads but a short one.
    lengths = [length for length in lengths if length / rate < deadline.left] or [min(lengths)]
    _add(found, lengths[0], _read(session, lengths[0], clock))
    exact = True
    two_ways = isinstance(session, ReadsPromptsTwoWays)
    if (
        two_ways
        and found
        and 2 * _READINGS * _guess(found, LONG_PROMPT) < deadline.left
        and most >= LONG_PROMPT
    ):
        exact = prefers_exact_prompts(session, clock, _READINGS - 1)
    as_it_was = not isinstance(session, ReadsPromptsTwoWays) or session.exact_prompts
    try:
        if isinstance(session, ReadsPromptsTwoWays):
            session.exact_prompts = as_it_was and exact
        for turn in range(_MOST_ROUNDS):
            for length in lengths if not turn else list(found):
                if not deadline.cancelled() and _guess(found, length) < deadline.left:
                    _add(found, length, _read(session, length, clock))
                    tick()
            if deadline.over:
                break
    finally:
        if isinstance(session, ReadsPromptsTwoWays):
            session.exact_prompts = as_it_was
    # The first reading of a length allocates.
    times = {length: typical(taken[1:] or taken) for length, taken in found.items()}
    known = sorted(length for length, seconds in times.items() if seconds > 0)
    return Prompts(tuple(zip(known, rising([times[length] for length in known]), strict=True)), exact)


def _importance(length: int) -> tuple[int, int]:
    return (_LENGTHS.index(length), 0) if length in _LENGTHS else (len(_LENGTHS), length)


def _guess(found: dict[int, list[float]], length: int) -> float:
    """Predict the seconds of reading so many tokens from what was read; 0 before anything was."""
    if length in found:
        return typical(found[length])
    nearest = min(found, key=lambda known: abs(known - length), default=None)
    return 0.0 if nearest is None else typical(found[nearest]) * max(1.0, length / nearest)


def _add(found: dict[int, list[float]], length: int, seconds: float | None) -> None:
    if seconds is not None:
        found.setdefault(length, []).append(seconds)


def _read(session: Session, length: int, clock: SteadyClock) -> float | None:
    prompt = made_up(session, length)
    try:
        began = clock()
        branch, _ = session.prefill(prompt)
        seconds = clock() - began
    except OutOfMemory:
        return None
    session.free(branch)
    return seconds
