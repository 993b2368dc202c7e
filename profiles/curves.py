"""How long passes take on one device: the curve t(w) over the width of a pass. Knows numbers, and measures nothing.

The curve, seconds of a pass that appends one token to each of w branches, decides how many samples a
deadline allows, and what speculation is worth.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class StepTimes:
    """Seconds of a pass at each of `widths`, and of reading prompts.

    source: "measured", "modelled", "learned", "default" or "emulated"; date: ISO day of the measurement. prefill_rate: prompt
    tokens read in a second, where no better is known; prompts: (tokens, seconds) of prompts that were read, the shorter first.
    past: tokens each branch held when passes were timed; growth: seconds that a pass takes longer for every token
    more that a branch holds, for each branch. spread: how far a single pass lies from the curve, as a share of it (half
    of the range of the middle 80%). exact_prompts: whether a graph of their own reads long prompts about as fast
    as the one for passes, or faster, where a session has one. opening: seconds that opening the session took.
    """

    widths: tuple[int, ...]
    seconds: tuple[float, ...]
    prefill_rate: float
    source: str
    date: str = ""
    exact_prompts: bool = True
    opening: float = 0.0
    past: int = 0
    growth: float = 0.0
    prompts: tuple[tuple[int, float], ...] = ()
    spread: float = 0.1

    def at(self, width: int, past: float | None = None) -> float:
        """Return t(width), linear between the measured widths and beyond the last.

        past: tokens each branch holds; None is as many as when passes were timed.
        """
        longer = 0.0 if past is None else (past - self.past) * width * self.growth
        return max(self._base(width) + longer, 1e-6)

    def _base(self, width: int) -> float:
        if len(self.widths) == 1:
            return self.seconds[0] * max(1.0, width / self.widths[0])
        upper = next((i for i, w in enumerate(self.widths) if w >= width), len(self.widths) - 1)
        i = max(1, upper)
        w0, w1, t0, t1 = self.widths[i - 1], self.widths[i], self.seconds[i - 1], self.seconds[i]
        return t0 + (t1 - t0) * (width - w0) / (w1 - w0)

    def prefill(self, tokens: int) -> float:
        """Return the seconds of reading a prompt, linear between those that were timed and beyond."""
        if not self.prompts:
            return tokens / self.prefill_rate
        points = ((0, 0.0), *self.prompts)
        upper = next((i for i, (length, _) in enumerate(points) if length >= tokens), len(points) - 1)
        i = max(1, upper)
        (n0, t0), (n1, t1) = points[i - 1], points[i]
        return max(t0 + (t1 - t0) * (tokens - n0) / (n1 - n0), 0.0)

    @property
    def provenance(self) -> str:
        return f"{self.source} {self.date}".strip()


DEFAULT_TIMES = StepTimes((1, 8), (0.05, 0.12), 100.0, "default", spread=0.5)
"""For a device that was never measured: a slow one, so that a deadline is kept."""
EMULATED_TIMES = replace(DEFAULT_TIMES, source="emulated")
"""For a device that another one emulates: how long passes take there says nothing, and is never kept."""
