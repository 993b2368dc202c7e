"""Watch one answer being computed: when to stop, what to cut, whether to start another sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from edgetts.budget import Budget
from edgetts.control.cost import CostModel
from edgetts.control.planner import Request, make_plan
from edgetts.types import Plan, StopReason

# Passes between two looks at whether the running samples can still end in time.
_REVIEW = 8


@dataclass(frozen=True, slots=True)
class Directive:
    """What to do before the next pass: stop it all, or cut some samples, then start some."""

    stop: StopReason | None = None
    cut: tuple[int, ...] = ()
    start: int = 0


class Controller:
    """Decide between passes. Time comes from `clock`, in seconds; `began` is when the question came."""

    def __init__(self, budget: Budget, cost: CostModel, clock: Callable[[], float], began: float) -> None:
        self._budget = budget
        self._cost = cost
        self._clock = clock
        self._began = began
        self._deadline = None if budget.seconds is None else began + budget.seconds
        self._expected = 1
        self._passes = 0
        self._finished_lengths: list[int] = []
        self._plan: Plan | None = None
        self.revisions: list[Plan] = []

    @property
    def plan(self) -> Plan:
        """The plan in force."""
        if self._plan is None:
            raise RuntimeError("no plan was made yet")
        return self._plan

    @property
    def deadline(self) -> float | None:
        """When the answer is due, on the clock; None without a deadline."""
        return self._deadline

    def make_plan(self, request: Request) -> Plan:
        """Plan the whole answer."""
        remaining = None if self._deadline is None else self._deadline - self._clock()
        self._expected = request.expected
        self._plan = make_plan(self._budget, replace(request, seconds=remaining), self._cost)
        return self._plan

    def observe_pass(self, width: int, seconds: float) -> None:
        """Take in how long a pass took."""
        self._cost.observe(width, seconds)
        self._passes += 1

    def observe_end(self, tokens: int) -> None:
        """Take in the length of a sample that the model ended."""
        self._finished_lengths.append(tokens)

    def direct(self, running: Mapping[int, int], started: int, generated: int) -> Directive:
        """Say what to do before the next pass.

        running: tokens so far of each running sample, the one to keep longest first. started:
        samples started so far. generated: tokens drawn so far, by all.
        """
        now = self._clock()
        if self._deadline is not None and now + self._cost.step_bound(max(1, len(running))) > self._deadline:
            return Directive(stop="deadline")
        cut: tuple[int, ...] = ()
        if self._budget.tokens is not None:
            left = self._budget.tokens - generated
            if left < 1:
                return Directive(stop="tokens")
            # One pass draws a token for each: those beyond the budget go first.
            cut = tuple(running)[left:]
        if not cut:
            cut = self._too_slow(running, now)
        width = len(running) - len(cut)
        start = 0 if cut else self._refill(width, started, generated, now)
        return Directive(cut=cut, start=start)

    def _expected_tokens(self) -> int:
        """Return a typical length, learned from this question's finished samples where there are some."""
        cap = self.plan.max_tokens
        if not self._finished_lengths:
            return min(cap, self._expected)
        return min(cap, sorted(self._finished_lengths)[len(self._finished_lengths) // 2])

    def _refill(self, width: int, started: int, generated: int, now: float) -> int:
        free = min(self.plan.width - width, self.plan.samples - started)
        expected = self._expected_tokens()
        if self._budget.tokens is not None:
            free = min(free, (self._budget.tokens - generated) // max(1, expected) - width)
        if free < 1:
            return 0
        if self._deadline is not None:
            while free > 0 and now + expected * self._cost.step(width + free) > self._deadline:
                free -= 1
        return max(0, free)

    def _too_slow(self, running: Mapping[int, int], now: float) -> tuple[int, ...]:
        """Return samples to give up so that the others can end before the deadline.

        Needed when passes take longer than planned: eight unfinished answers are worth less than four.
        """
        if self._deadline is None or len(running) < 2 or self._passes % _REVIEW or not self._passes:
            return ()
        left = self._deadline - now
        if self._cost.ratio < 1.15 or self._finished_lengths:
            # As fast as planned, or there is an answer already: more votes are what time is for.
            return ()
        keep = len(running)
        need = max(1, self._expected_tokens() - max(running.values()))
        while keep > 1 and need * self._cost.step(keep) > left:
            keep -= 1
        if keep == len(running):
            return ()
        self._plan = replace(
            self.plan,
            width=keep,
            step_seconds=self._cost.step(keep),
            reason=f"passes take {self._cost.ratio:.1f} times as long as planned, so {keep} go on",
        )
        self.revisions.append(self._plan)
        return tuple(running)[keep:]
