"""Watch one answer being computed: when to stop, what to cut, whether to start another sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from edgetts.budget import Budget
from edgetts.control.cost.model import CostModel
from edgetts.control.planning.planner import Request, make_plan
from edgetts.types import FinishReason, Plan, StopReason

# Passes between two looks at whether the running samples can still end in time.
_REVIEW = 8


@dataclass(frozen=True, slots=True)
class Directive:
    """What to do before the next pass: stop it all, or cut some samples for a reason, then start some."""

    stop: StopReason | None = None
    cut: tuple[int, ...] = ()
    reason: FinishReason = "deadline"
    start: int = 0
    most: int | None = None
    """Tokens that the next pass may draw for a sample alone; None is no limit."""


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

    def late_in(self, seconds: float) -> bool:
        """Whether something that takes so long would end after the deadline."""
        return self._deadline is not None and self._clock() + seconds >= self._deadline

    @property
    def late(self) -> bool:
        """Whether the deadline has passed."""
        return self._deadline is not None and self._clock() >= self._deadline

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

    def may_pass(self, width: int, spent: int, tokens: int) -> StopReason | None:
        """Return what forbids a pass over `width` tokens that spends `tokens` of the budget; None if nothing does.

        spent: tokens of the budget spent so far.
        """
        if self._deadline is not None and self._clock() + self._cost.step_bound(width) > self._deadline:
            return "deadline"
        if self._budget.tokens is not None and spent + tokens > self._budget.tokens:
            return "tokens"
        return None

    def direct(
        self,
        running: Mapping[int, int],
        started: int,
        generated: int,
        widest: int | None = None,
        wanted: int | None = None,
    ) -> Directive:
        """Say what to do before the next pass.

        running: tokens so far of each running sample, the one to keep longest first. started:
        samples started so far. generated: tokens of the budget spent so far. widest: tokens that the next
        pass may run; None is one for each sample. wanted: samples to start in all; None is the plan's.
        """
        now = self._clock()
        wanted = self.plan.samples if wanted is None else wanted
        if not running and started >= wanted:
            spent = self._budget.tokens is not None and generated >= self._budget.tokens
            # What ended in the budget's last token was complete only if the model itself ended it.
            return Directive(stop="tokens" if spent and len(self._finished_lengths) < started else "complete")
        bound = self._cost.step_bound(max(1, len(running) if widest is None else widest))
        if self._deadline is not None and now + bound > self._deadline:
            return Directive(stop="deadline")
        left = None if self._budget.tokens is None else self._budget.tokens - generated
        if left is not None:
            if left < 1:
                return Directive(stop="tokens")
            # One pass draws a token for each: those beyond the budget go first.
            if cut := tuple(running)[left:]:
                return Directive(cut=cut, reason="budget")
        if cut := self._too_slow(running, now):
            return Directive(cut=cut)
        start = self._refill(len(running), wanted - started, generated, now)
        if not running and not start:
            # Samples are missing, but what is left of the budget is too little for another.
            poor = left is not None and left < max(1, self._expected_tokens())
            return Directive(stop="tokens" if poor else "deadline")
        return Directive(start=start, most=left)

    def _expected_tokens(self) -> int:
        """Return a typical length, learned from this question's finished samples where there are some."""
        cap = self.plan.max_tokens
        if not self._finished_lengths:
            return min(cap, self._expected)
        return min(cap, sorted(self._finished_lengths)[len(self._finished_lengths) // 2])

    def _refill(self, width: int, missing: int, generated: int, now: float) -> int:
        free = min(self.plan.width - width, missing)
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

        Needed when the prompt or passes take longer than planned: eight unfinished answers are worth
        less than four.
        """
        if self._deadline is None or len(running) < 2 or self._passes % _REVIEW or not self._passes:
            return ()
        left = self._deadline - now
        if self._finished_lengths:
            # There is an answer already: more votes are what time is for.
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
            reason=f"{left:.1f} s are left, and passes take {self._cost.ratio:.1f} times as long as "
            f"measured, so {keep} of {len(running)} go on",
        )
        self.revisions.append(self._plan)
        return tuple(running)[keep:]
