"""The figures of profiles side by side: by name, with the ratio, and whether they differ by more than they spread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from edgetts.profiles.figure import Figure, Provenance
from edgetts.profiles.speed import SpeedProfile


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure in two profiles; None where one has it not. ratio: the second to the first."""

    name: str
    first: Figure | None
    second: Figure | None

    @property
    def ratio(self) -> float | None:
        if self.first is None or self.second is None or self.first.value == 0:
            return None
        return self.second.value / self.first.value

    @property
    def beyond_spread(self) -> bool:
        """Whether the two lie further apart than both spreads together."""
        if self.first is None or self.second is None:
            return False
        return abs(self.first.value - self.second.value) > self.first.spread + self.second.spread


def speed_figures(profile: SpeedProfile) -> dict[str, Figure]:
    """Return every figure of a speed profile by name: seconds, tokens a second, bytes, shares and watts."""
    times = profile.times
    provenance = next(word for word in get_args(Provenance) if word == times.source)

    def figure(value: float, spread: float = 0.0, part: str = "") -> Figure:
        day = profile.made.earlier.get(part, times.date or profile.made.date)
        return Figure(value, provenance, spread * value, f"{profile.made.scope} measurement", day)

    found = {
        f"seconds of a pass of {width}": figure(seconds, times.spread)
        for width, seconds in zip(times.widths, times.seconds, strict=True)
    }
    if times.growth:
        found["seconds a token of context adds"] = figure(times.growth, times.spread)
    found["prompt tokens a second"] = figure(times.prefill_rate, times.spread)
    for tokens, seconds in times.prompts:
        found[f"seconds of a prompt of {tokens}"] = figure(seconds, times.spread)
    if times.opening:
        found["seconds of opening"] = figure(times.opening, times.spread)
    if profile.memory is not None:
        found["bytes of the model"] = figure(profile.memory.model, part="memory")
        found["bytes of a token"] = figure(profile.memory.token, part="memory")
        found["bytes of a branch"] = figure(profile.memory.branch, part="memory")
    for count, seconds in profile.threads:
        found[f"seconds of a plain pass on {count} threads"] = figure(seconds, times.spread, "threads")
    for guess in profile.guessing:
        found[f"seconds of a guess of {guess.drafter}"] = figure(guess.seconds, times.spread, "guessing")
        found[f"share of guesses of {guess.drafter} that are right"] = figure(guess.right, part="guessing")
        found[f"gain of {guess.drafter}"] = figure(guess.gain, times.spread, "guessing")
    if profile.sustained is not None:
        found["slowing under sustained load"] = figure(profile.sustained.ratio, times.spread, "sustained")
    if profile.power is not None:
        found["idle watts"] = profile.power.idle_watts
        found["busy watts"] = profile.power.busy_watts
    return found


def compare(first: Mapping[str, Figure], second: Mapping[str, Figure]) -> list[Difference]:
    """Return the figures of two profiles side by side, those of the first in their order, then what only the second has."""
    names = [*first, *(name for name in second if name not in first)]
    return [Difference(name, first.get(name), second.get(name)) for name in names]
