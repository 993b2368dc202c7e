"""Measure how long passes take, in about the time of a hundred of them: enough to begin with."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from datetime import date
from typing import Protocol, runtime_checkable

from edgetts.decoding.session import Branch, Session
from edgetts.profiles.curves import DEFAULT_TIMES, StepTimes

WIDTHS = (1, 2, 4, 8, 16)
_PROMPT = 48
_REPEATS = 5
# Tokens of a prompt that is read in both ways, how often, and what the less exact way must gain.
LONG_PROMPT = 256
_LONG_REPEATS = 2
_GAIN = 1.05


@runtime_checkable
class ReadsPromptsTwoWays(Protocol):
    """A session that can read long prompts by a graph of their own, exactly, or by the one for passes."""

    exact_prompts: bool


def measure_steps(session: Session, clock: Callable[[], float] = time.perf_counter) -> StepTimes:
    """Time a short prefill and a few passes at each width, and long prompts both ways where there are two.

    Takes about as long as 100 plain steps, and six long prompts. A session that reads prompts in two
    ways is left as it was found. Where branches run one after the other, wider passes are those over a draft.
    """
    vocab = session.info.vocab
    length = min(_PROMPT, session.info.context - _REPEATS - 1)
    if length < 1:
        return DEFAULT_TIMES
    prompt = [7919 * i % vocab for i in range(length)]
    session.free(session.prefill(prompt)[0])  # the first pass of a shape allocates
    began = clock()
    branch, _ = session.prefill(prompt)
    rate = len(prompt) / max(clock() - began, 1e-6)
    seconds = []
    widths = WIDTHS if session.capabilities.parallel else (1, *draft_widths(session, length))
    try:
        for width in widths:
            measure = _median_step if width == 1 or session.capabilities.parallel else _median_extend
            seconds.append(measure(session, branch, width, clock))
    finally:
        session.free(branch)
    exact = prefers_exact_prompts(session, clock)
    return StepTimes(widths, tuple(rising(seconds)), rate, "measured", date.today().isoformat(), exact)


def draft_widths(session: Session, past: int) -> tuple[int, ...]:
    """Return the widths of passes over a draft that are to be timed, where branches run one after the other.

    None where a pass over several tokens is nothing but as many passes. Between the narrowest draft and the widest
    a pass costs the same; one twice as wide shows what several cost.
    """
    able = session.capabilities
    if able.parallel or not (able.extend and able.truncate) or able.widest is None or able.widest < 2:
        return ()
    widths = {2, able.widest, 2 * able.widest}
    return tuple(sorted(width for width in widths if past + width <= session.info.context))


def rising(seconds: list[float]) -> list[float]:
    """Return the figures with none below one before it: noise must not make a wider pass look cheaper."""
    for i in range(1, len(seconds)):
        seconds[i] = max(seconds[i], seconds[i - 1])
    return seconds


def prefers_exact_prompts(session: Session, clock: Callable[[], float], repeats: int = _LONG_REPEATS) -> bool:
    """Tell whether a long prompt is read exactly about as fast as in the other way, where there are two.

    Reads one in each way `repeats` times and once more; the session is left as it was found.
    """
    if not isinstance(session, ReadsPromptsTwoWays) or not session.exact_prompts:
        return True
    length = min(LONG_PROMPT, session.info.context)
    prompt = [7919 * i % session.info.vocab for i in range(length)]
    best: dict[bool, float] = {}
    try:
        for turn in range(repeats + 1):
            for exact in (True, False):
                session.exact_prompts = exact
                began = clock()
                session.free(session.prefill(prompt)[0])
                seconds = clock() - began
                if turn and seconds > 0:  # the first loads and allocates
                    best[exact] = min(best.get(exact, math.inf), seconds)
    finally:
        session.exact_prompts = True
    return len(best) < 2 or best[True] < best[False] * _GAIN


def _median_extend(session: Session, prompt: Branch, width: int, clock: Callable[[], float]) -> float:
    [branch] = session.fork(prompt, 1)
    length = branch.length
    try:
        times = []
        for i in range(_REPEATS + 1):
            began = clock()
            session.extend(branch, [(31 * i + b) % session.info.vocab for b in range(width)])
            times.append(clock() - began)
            session.truncate(branch, length)
        return statistics.median(times[1:])
    finally:
        session.free(branch)


def _median_step(session: Session, prompt: Branch, width: int, clock: Callable[[], float]) -> float:
    branches = session.fork(prompt, width)
    try:
        times = []
        for i in range(_REPEATS + 1):
            began = clock()
            session.step(branches, [(31 * i + b) % session.info.vocab for b in range(width)])
            times.append(clock() - began)
        return statistics.median(times[1:])
    finally:
        for branch in branches:
            session.free(branch)
