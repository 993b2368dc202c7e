"""Measure how long passes take, on first use, and keep it."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from edgetts.decoding.session import Branch, Session
from edgetts.profiles.curves import DEFAULT_TIMES, StepTimes

WIDTHS = (1, 2, 4, 8, 16)
_PROMPT = 48
_REPEATS = 5
_FORMAT = 4
# Tokens of a prompt that is read in both ways, how often, and what the less exact way must gain.
_LONG_PROMPT = 256
_LONG_REPEATS = 2
_GAIN = 1.05


@runtime_checkable
class ReadsPromptsTwoWays(Protocol):
    """A session that can read long prompts by a graph of their own, exactly, or by the one for passes."""

    exact_prompts: bool


def measure_steps(session: Session, clock: Callable[[], float] = time.perf_counter) -> StepTimes:
    """Time a short prefill and a few passes at each width, and long prompts both ways where there are two.

    Takes about as long as 100 plain steps, and six long prompts. A session that reads prompts in two
    ways is left as it was found.
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
    widths = WIDTHS if session.capabilities.parallel else (1,)
    try:
        for width in widths:
            seconds.append(_median_step(session, branch, width, clock))
    finally:
        session.free(branch)
    # Noise must not make a wider pass look cheaper than a narrower one.
    for i in range(1, len(seconds)):
        seconds[i] = max(seconds[i], seconds[i - 1])
    exact = _prefers_exact_prompts(session, clock)
    return StepTimes(widths, tuple(seconds), rate, "measured", date.today().isoformat(), exact)


def _prefers_exact_prompts(session: Session, clock: Callable[[], float]) -> bool:
    if not isinstance(session, ReadsPromptsTwoWays) or not session.exact_prompts:
        return True
    length = min(_LONG_PROMPT, session.info.context)
    prompt = [7919 * i % session.info.vocab for i in range(length)]
    best: dict[bool, float] = {}
    try:
        for turn in range(_LONG_REPEATS + 1):
            for exact in (True, False):
                session.exact_prompts = exact
                began = clock()
                session.free(session.prefill(prompt)[0])
                if turn:  # the first loads and allocates
                    best[exact] = min(best.get(exact, math.inf), clock() - began)
    finally:
        session.exact_prompts = True
    return best[True] < best[False] * _GAIN


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


class StepTimesStore:
    """Keep measured curves in `directory`, one small file per model, runtime and machine."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def get(self, fingerprint: str) -> StepTimes | None:
        """Return what was measured for that fingerprint; None where there is nothing valid."""
        try:
            body = json.loads(self._path(fingerprint).read_text(encoding="utf-8"))
            times = StepTimes(
                tuple(int(w) for w in body["widths"]),
                tuple(float(s) for s in body["seconds"]),
                float(body["prefill_rate"]),
                "measured",
                str(body["date"]),
                body["exact_prompts"] is True,
                float(body["opening"]),
            )
        except (OSError, ValueError, KeyError, TypeError, OverflowError):
            return None
        sound = (
            len(times.widths) == len(times.seconds) > 0
            and list(times.widths) == sorted({w for w in times.widths if w > 0})
            and list(times.seconds) == sorted(times.seconds)
            and all(0 < value < math.inf for value in (*times.seconds, times.prefill_rate))
            and 0 <= times.opening < math.inf
        )
        return times if sound and body.get("format") == _FORMAT else None

    def put(self, fingerprint: str, times: StepTimes) -> None:
        """Keep a curve; a store that cannot be written means measuring again next time."""
        path = self._path(fingerprint)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_suffix(f".{time.monotonic_ns()}")
            draft.write_text(
                json.dumps({"format": _FORMAT, **asdict(times)}, indent=1) + "\n", encoding="utf-8"
            )
            draft.replace(path)
        except OSError:
            return

    def _path(self, fingerprint: str) -> Path:
        return self._directory / f"{fingerprint}.json"


def fingerprint(**facts: Any) -> str:
    """Identify a model on a machine: the given facts, the processor, and the operating system."""
    body = {"machine": platform.machine(), "system": platform.system(), "cpu": _cpu_model(), **facts}
    return hashlib.sha256(json.dumps(body, sort_keys=True, default=str).encode()).hexdigest()[:24]


def _cpu_model() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            for line in lines:
                if line.startswith(("model name", "Model")):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()
