"""Count what an answer spends: time, tokens, memory, joules."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from edgetts.energy.meter import Energy, EnergyMeter
from edgetts.types import EarlyExits, Sample, Speculation, Usage

_LOOK = 0.05
"""Seconds between two looks at the energy meter while an answer is computed."""


class Meter:
    """Started with the question; charges the prompt, every drawn token, and nothing twice.

    began: when the question came, on the clock; None is now. energy: a meter of this answer's own, None where nothing counts joules. It is let go with the first summary: the
    answer is no longer under way then, and takes no share of what others spend.
    """

    def __init__(
        self, clock: Callable[[], float], energy: EnergyMeter | None = None, began: float | None = None
    ) -> None:
        self._clock = clock
        self.began = clock() if began is None else min(began, clock())
        self.prompt_tokens = 0
        self.cached_tokens = 0
        """Tokens of the prompt that need not be read, as another question had them."""
        self.crowded = False
        """Whether other questions used the model meanwhile."""
        self.scoring_tokens = 0
        """Tokens read to have texts judged."""
        self.speculation: Callable[[], Speculation | None] = lambda: None
        self.early_exits: Callable[[], EarlyExits | None] = lambda: None
        """Asked for its sum at the end."""
        self._first: float | None = None
        self._at_first = 0
        self._generated = 0
        self._energy = energy
        self._spent: Energy | None = None
        self._looked: float | None = None
        if energy is not None:
            energy.start()

    def energy(self) -> Energy | None:
        """Return what was spent up to now, or up to 50 ms ago; None where it is not known."""
        if self._energy is not None:
            now = self._clock()
            if self._looked is None or now - self._looked >= _LOOK:
                self._spent, self._looked = self._energy.read(), now
        return self._spent

    def joules(self) -> float | None:
        """Return the joules of `energy`."""
        spent = self.energy()
        return None if spent is None else spent.joules

    @property
    def shared(self) -> bool:
        """Whether the joules are a share of what several answers spent, which says nothing of the device's power."""
        return self._spent is not None and self._spent.shared

    def tokens_drawn(self, generated: int) -> None:
        """Note that so many tokens are drawn in all; the first call marks the first token."""
        self._generated = generated
        if self._first is None and generated:
            self._first = self._clock()
            self._at_first = generated

    def usage(self, samples: Sequence[Sample], chosen: Sample | None) -> Usage:
        """Sum up."""
        now = self._clock()
        if self._energy is not None:
            self._spent = self._energy.read()
            self._energy = None
        spent = self._spent
        # Samples may share tokens, and partial answers that were given up are no samples.
        generated = self._generated
        kept = len(chosen.tokens) if chosen is not None else 0
        rate = None
        if self._first is not None and now > self._first and generated > self._at_first:
            rate = (generated - self._at_first) / (now - self._first)
        return Usage(
            seconds=now - self.began,
            prompt_tokens=self.prompt_tokens,
            generated_tokens=generated,
            answer_tokens=kept,
            discarded_tokens=generated - kept,
            samples=len(samples),
            cached_tokens=self.cached_tokens,
            scoring_tokens=self.scoring_tokens,
            time_to_first_token=None if self._first is None else self._first - self.began,
            tokens_per_second=rate,
            peak_memory_bytes=peak_memory_bytes(),
            joules=None if spent is None else spent.joules,
            joules_low=None if spent is None else spent.low,
            joules_high=None if spent is None else spent.high,
            joules_source=None if spent is None else spent.stated,
            speculation=self.speculation(),
            early_exits=self.early_exits(),
        )


def peak_memory_bytes() -> int:
    """Return the largest resident size this process ever had; its present one where that is not known."""
    if sys.platform == "win32":
        import psutil

        info = psutil.Process().memory_info()
        return int(getattr(info, "peak_wset", info.rss))
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
