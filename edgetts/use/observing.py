"""Gather what one answer shows of the device, and make a use of it. Knows widths, seconds and counts."""

from __future__ import annotations

import statistics
from collections import deque

from edgetts.profiles.curves import StepTimes
from edgetts.types import Answer
from edgetts.use.record import (
    DRAFTERS,
    POWERS,
    RUNTIMES,
    STOPS,
    Mode,
    Use,
    bucket,
    curve_mark,
    one_of,
    plain_name,
)

_PASSES = 4096
"""Of each width, the last ones; a median needs no more."""
_WIDTHS = 32


class Observer:
    """Note the passes of one answer, then `use`. profile: step times as they were measured, not as they were learned."""

    def __init__(self, profile: StepTimes) -> None:
        self._profile = profile
        self._ratios: dict[int, deque[float]] = {}

    def observe(self, width: int, seconds: float, past: float | None = None) -> None:
        """Note a pass over `width` tokens. past: tokens that each branch holds, where that is known."""
        if width < 1 or not 0 < seconds < 1e6 or (width not in self._ratios and len(self._ratios) >= _WIDTHS):
            return
        of = self._ratios.setdefault(width, deque(maxlen=_PASSES))
        of.append(seconds / self._profile.at(width, past))

    def use(
        self, answer: Answer, *, mark: str, runtime: str, hour: int, power: str | None = None
    ) -> Use | None:
        """Return the use to write down after an answer; None where nothing was drawn.

        mark: of the speed profile; hour: since 1970. Of the answer only numbers are read, and names that are known.
        """
        usage = answer.usage
        seconds = usage.seconds - (usage.time_to_first_token or 0.0)
        if usage.generated_tokens < 2 or seconds <= 0 or not self._ratios:
            return None
        mode: Mode = "plain"
        accepted: dict[str, tuple[int, int]] = {}
        if usage.speculation is not None:
            mode = "speculative"
            for name, (verified, right) in usage.speculation.by_drafter.items():
                known = one_of(name, DRAFTERS, "other")
                before = accepted.get(known, (0, 0))
                accepted[known] = (before[0] + verified, before[1] + right)
        elif usage.early_exits is not None:
            mode = "early-exit"
        ratios = ((width, statistics.median(of), len(of)) for width, of in sorted(self._ratios.items()))
        return Use(
            hour=hour,
            mark=mark,
            curve=curve_mark(self._profile),
            model=plain_name(answer.model),
            runtime=one_of(runtime, RUNTIMES, "other"),
            mode=mode,
            width=answer.plan.width,
            samples=usage.samples,
            prompt=bucket(usage.prompt_tokens),
            tokens=usage.generated_tokens,
            seconds=round(seconds, 4),
            ratios=tuple((width, max(round(ratio, 4), 1e-4), passes) for width, ratio, passes in ratios),
            accepted=tuple((name, *counts) for name, counts in sorted(accepted.items())),
            joules=None if usage.joules is None else round(usage.joules, 3),
            stop=one_of(answer.stop_reason, STOPS, "other"),
            power=one_of(power or "unknown", POWERS, "unknown"),
        )
