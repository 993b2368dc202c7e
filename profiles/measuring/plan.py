"""Divide the time of a calibration between its parts. Knows seconds only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from edgetts.decoding.session import Cancellation
from edgetts.profiles.measuring.timing import Deadline, SteadyClock

Part = Literal["threads", "idle", "passes", "prompts", "longer", "memory", "guessing", "sustained"]

_SECONDS: Mapping[str, Mapping[Part, float]] = {
    "quick": {"threads": 3.0, "passes": 4.5, "prompts": 2.0, "longer": 4.5, "memory": 0.5, "guessing": 2.0},
    "full": {
        "threads": 14.0,
        "idle": 8.0,
        "passes": 28.0,
        "prompts": 12.0,
        "longer": 14.0,
        "memory": 2.0,
        "guessing": 20.0,
        "sustained": 60.0,
    },
}
"""By scope, the parts in their order, and what each may take of a model of usual size."""
# These last as long as they last, however slow the model is.
_FIXED: frozenset[Part] = frozenset({"idle", "sustained"})
# Seconds of a round of passes at every width for which that is enough, and how far a full calibration stretches.
_USUAL_ROUND, _MOST_STRETCH = 2.0, 6.0


class Schedule:
    """When parts must have ended. Parts that took longer shorten those to come, so that the whole does not."""

    def __init__(self, scope: str, clock: SteadyClock, cancel: Cancellation) -> None:
        self._parts = dict(_SECONDS[scope])
        self._scope, self._clock, self._cancel = scope, clock, cancel
        self.seconds = sum(self._parts.values())
        """What all of it takes at most."""
        self._began = clock()
        self.whole = Deadline(clock, self.seconds, cancel)
        """When everything must have ended."""

    def stretch(self, round_seconds: float) -> None:
        """Allow for a model whose passes are slow: more time in a full calibration, less of everything in a quick one."""
        factor = min(max(1.0, round_seconds / _USUAL_ROUND), _MOST_STRETCH)
        if self._scope != "full" or factor == 1.0:
            return
        for part in self._parts.keys() - _FIXED:
            self._parts[part] *= factor
        spent = self._clock() - self._began
        self.seconds = spent + sum(self._parts.values())
        self.whole = Deadline(self._clock, self.seconds - spent, self._cancel)

    def begin(self, part: Part) -> Deadline | None:
        """Return when a part that begins now must have ended; None where the scope has no such part."""
        if part not in self._parts:
            return None
        share = min(1.0, self.whole.left / sum(self._parts.values()))
        return self.whole.within(self._parts.pop(part) * share)

    @property
    def done(self) -> float:
        """The share of the time that is spent, 0 to 1."""
        return min(1.0, (self._clock() - self._began) / self.seconds)
