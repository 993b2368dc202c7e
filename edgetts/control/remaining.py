"""What is left of one answer's time and joules for passes; knows no samples' lengths, and decides nothing."""

from __future__ import annotations

import math
from collections.abc import Callable

from edgetts.budget import Budget
from edgetts.control.cost.joules import JouleCount
from edgetts.control.cost.model import CostModel
from edgetts.types import StopReason

# Of a limit, the share that may be kept for closing samples and choosing, however long that took before.
_MOST_RESERVED = 0.25


class Remaining:
    """Time comes from `clock`, in seconds; `began` is when the question came. joules: see `Controller`."""

    def __init__(
        self,
        budget: Budget,
        cost: CostModel,
        clock: Callable[[], float],
        began: float,
        joules: Callable[[], float | None] | None,
    ) -> None:
        self._cost = cost
        self._cap = budget.joules
        self._seconds = budget.seconds
        self.deadline = None if budget.seconds is None else began + budget.seconds
        self.joules = JouleCount(joules, cost.watts, clock, began)

    def seconds(self, running: int, now: float) -> tuple[float, StopReason]:
        """Return the seconds that passes may still take while so many samples run, and the limit that ends them.

        Infinite without a limit. The time to close samples and to choose among all is left out, as long as that seldom takes.
        """
        left, limit = math.inf, False
        if self.deadline is not None and self._seconds is not None:
            left = self.deadline - now - self._reserve(running, self._seconds)
        if self._cap is not None:
            spent, rate = self.joules.spent, self.joules.rate
            if spent is not None and rate:
                until = (self._cap - spent) / rate - self._reserve(running, self._cap / rate)
                left, limit = min(left, until), until < left
            elif spent is not None and spent >= self._cap:
                left, limit = 0.0, True
        return left, "joules" if limit else "deadline"

    def ends(self, now: float) -> tuple[float, StopReason]:
        """Return when the first limit is reached, on the clock, and which one that is; infinite without a limit."""
        end, limit = math.inf if self.deadline is None else self.deadline, False
        if self._cap is not None and (spent := self.joules.spent) is not None:
            rate = self.joules.rate
            until = now if spent >= self._cap else now + (self._cap - spent) / rate if rate else math.inf
            end, limit = min(end, until), until < end
        return end, "joules" if limit else "deadline"

    def forbids(self, width: int, running: int, now: float, past: float | None) -> StopReason | None:
        """Return the limit that a pass of `width` tokens might not keep, by its bound; None if it keeps all."""
        left, limit = self.seconds(running, now)
        return limit if left < math.inf and self._cost.step_bound(width, past) > left else None

    def _reserve(self, running: int, whole: float) -> float:
        asides = self._cost.drift.asides
        return min(running * asides.closing[1] + asides.choice[1], _MOST_RESERVED * whole)
