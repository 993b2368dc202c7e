"""Watch one answer being computed: when to stop, what to cut, whether to start another sample, when to conclude."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from edgetts.budget import Budget
from edgetts.control.cost.finishing import Finishing
from edgetts.control.cost.lengths import Lengths
from edgetts.control.cost.model import CostModel
from edgetts.control.cost.side_by_side import SideBySide
from edgetts.control.cost.work import LengthLaw
from edgetts.control.decisions import Decision, DecisionKind
from edgetts.control.planning.planner import make_plan
from edgetts.control.planning.request import Request
from edgetts.control.remaining import Remaining
from edgetts.types import FinishReason, Plan, StopReason

# Passes between two looks at whether the running samples can still end in time.
_REVIEW = 8
# Fewer samples must promise so much more before some are given up.
_GAIN = 0.2
# A sample is not started where it is less likely than this to end in time.
_WORTH = 0.03


@dataclass(frozen=True, slots=True)
class Directive:
    """What to do before the next pass: stop it all, or cut some samples for a reason, then start some."""

    stop: StopReason | None = None
    cut: tuple[int, ...] = ()
    reason: FinishReason = "deadline"
    start: int = 0
    most: int | None = None
    """Tokens that the next pass may draw for a sample alone; None is no limit."""
    conclude: bool = False
    """Whether what is left of the budget just suffices to have the running samples state their answers.

    Once true it stays so until they have ended; nothing is started meanwhile.
    """


class Controller:
    """Decide between passes. Time comes from `clock`, in seconds; `began` is when the question came.

    lengths: how long samples of such questions get; None is what the plan was made with. joules: what was spent so far,
    by a meter; None where it cannot be told.
    """

    def __init__(
        self,
        budget: Budget,
        cost: CostModel,
        clock: Callable[[], float],
        began: float,
        *,
        lengths: LengthLaw | None = None,
        joules: Callable[[], float | None] | None = None,
    ) -> None:
        self._budget = budget
        self._cost = cost
        self._clock = clock
        self._began = began
        self._remaining = Remaining(budget, cost, clock, began, joules)
        self._lengths = lengths
        self._finishing: Finishing | None = None
        self._passes = 0
        self._finished_lengths: list[int] = []
        self._plan: Plan | None = None
        self._prompt = 0
        self._planned_at: float | None = None
        self._running: dict[int, int] = {}
        self._begun = 0
        self._looked: tuple[tuple[int, ...], int] | None = None
        self._pass_ended: float | None = None
        self._quiet = False
        self._stopped_at: float | None = None
        self._concluding: StopReason | None = None
        self.revisions: list[Plan] = []
        self.decisions: list[Decision] = []

    @property
    def plan(self) -> Plan:
        """The plan in force."""
        if self._plan is None:
            raise RuntimeError("no plan was made yet")
        return self._plan

    @property
    def deadline(self) -> float | None:
        """When the answer is due, on the clock; None without a deadline."""
        return self._remaining.deadline

    @property
    def effort(self) -> SideBySide:
        """What more samples take, by the plan in force and what is known now."""
        past = self._past or self._prompt
        return SideBySide(
            self._lengths or Lengths(),
            self.plan.max_tokens,
            tuple(self._cost.step(width, past) for width in range(1, self.plan.width + 1)),
        )

    def late_in(self, seconds: float) -> bool:
        """Whether something that takes so long would end after the deadline."""
        return self.deadline is not None and self._clock() + seconds >= self.deadline

    @property
    def ends(self) -> tuple[float, StopReason]:
        """When the limit of time or of joules that comes first is reached, on the clock, and which; infinite without one."""
        return self._remaining.ends(self._clock())

    @property
    def late(self) -> bool:
        """Whether the time or the joules are spent."""
        return self._clock() >= self.ends[0]

    def make_plan(self, request: Request) -> Plan:
        """Plan the whole answer."""
        remaining = None if self.deadline is None else self.deadline - self._clock()
        plan = make_plan(self._budget, replace(request, seconds=remaining), self._cost)
        asked = next(a for a in request.approaches if a.approach == plan.approach)
        self._lengths = self._lengths or asked.lengths
        self.adopt(plan, asked.prompt)
        return plan

    def adopt(self, plan: Plan, prompt: int) -> None:
        """Put a plan in force that was made before, for a prompt of so many tokens."""
        self._plan, self._prompt = plan, prompt
        self._finishing = None
        self._planned_at = self._clock()
        self.note("plan", plan.reason, count=plan.samples)

    def note(
        self,
        kind: DecisionKind,
        reason: str,
        *,
        samples: Sequence[int] = (),
        count: int = 0,
        tokens: int = 0,
    ) -> None:
        """Record a decision, with what was spent by now. tokens: of the budget."""
        at = self._clock() - self._began
        self.decisions.append(
            Decision(kind, at, tokens, reason, tuple(samples), count, self._remaining.joules.spent)
        )
        if kind == "stop":
            self._stopped_at = self._clock()

    def observe_pass(self, width: int, seconds: float) -> None:
        """Take in how long a pass took that ended just now."""
        now = self._clock()
        self._arrive(now - seconds)
        if self._quiet and self._pass_ended is not None:
            # Texts, votes and decisions between two passes take time as well; whoever reads the
            # stream may too, and is no part of a pass.
            seconds += min(max(0.0, now - seconds - self._pass_ended), seconds)
        self._cost.observe(width, seconds, self._past)
        self._passes += 1
        self._pass_ended, self._quiet = now, False

    def prompt_read(self, seconds: float | None) -> None:
        """Take in that the prompt is read, and how long it took; None where that says nothing of the device."""
        self._planned_at = None
        if seconds is not None:
            self._cost.observe_prefill(self._prompt, seconds)

    def observe_end(self, tokens: int) -> None:
        """Take in the length of a sample that the model ended."""
        self._finished_lengths.append(tokens)
        if isinstance(self._lengths, Lengths):
            self._lengths = self._lengths.given([(tokens, True)])
            self._finishing = None

    def closed(self, *, shared: bool = False) -> None:
        """Take in that the answer was chosen just now: later ones keep the time that takes, and know the watts.

        shared: the joules are a share of what several answers spent, so that they tell of no watts.
        """
        if self._stopped_at is not None:
            self._cost.drift.asides.observe_choice(self._clock() - self._stopped_at)
        if (
            not shared
            and self._remaining.joules.spent is not None
            and (metered := self._remaining.joules.metered) is not None
        ):
            self._cost.observe_joules(*metered)

    def may_pass(self, width: int, spent: int, tokens: int) -> StopReason | None:
        """Return what forbids a pass over `width` tokens that spends `tokens` of the budget; None if nothing does.

        spent: tokens of the budget spent so far.
        """
        now = self._clock()
        self._arrive(now)
        if (limit := self._remaining.forbids(width, max(1, len(self._running)), now, self._past)) is not None:
            return limit
        if self._budget.tokens is not None and spent + tokens > self._budget.tokens:
            return "tokens"
        return None

    def conclude_in(self, passes: int) -> bool:
        """Whether so many passes over the running samples just fit into what is left, and one more before them may not.

        By a bound on passes in a row; of the time that is left the one for closing samples and choosing is taken.
        """
        left, _ = self._remaining.seconds(len(self._running), self._clock())
        if not self._running or left == math.inf:
            return False
        width = len(self._running)
        needed = self._cost.passes_bound(width, passes, self._past)
        return needed + self._cost.step_bound(width, self._past) > left

    def direct(
        self,
        running: Mapping[int, int],
        started: int,
        generated: int,
        widest: int | None = None,
        wanted: int | None = None,
        closing: int = 0,
    ) -> Directive:
        """Say what to do before the next pass.

        running: tokens so far of each running sample, the one to keep longest first. started:
        samples started so far. generated: tokens of the budget spent so far. widest: tokens that the next
        pass may run; None is one for each sample. wanted: samples to start in all; None is the plan's.
        closing: passes in which the running samples can be made to state their answers; 0 is never.
        """
        now = self._clock()
        self._look(running, started, generated, now)
        wanted = self.plan.samples if wanted is None else wanted
        if not running and (concluded := self._concluding) is not None:
            # Concluding may take less than it may: what is left can be enough for another.
            self._concluding = self._looked = None
            if started >= wanted or not self._refill(running, wanted - started, generated, now):
                return self._stop(concluded, generated)
            self._looked = None
        if not running and started >= wanted:
            self._looked = None
            spent = self._budget.tokens is not None and generated >= self._budget.tokens
            # What ended in the budget's last token was complete only if the model itself ended it.
            poor = spent and len(self._finished_lengths) < started
            return self._stop("tokens" if poor else "complete", generated, wanted >= self.plan.samples)
        width = max(1, len(running) if widest is None else widest)
        if (limit := self._remaining.forbids(width, len(running), now, self._past)) is not None:
            return self._stop(limit, generated)
        left = None if self._budget.tokens is None else self._budget.tokens - generated
        if left is not None:
            if left < 1:
                return self._stop("tokens", generated)
            # One pass draws a token for each: those beyond the budget go first.
            if cut := tuple(running)[left:]:
                return self._cut(cut, "budget", f"{left} tokens are left", generated)
        if closing and running and self._concluding is None:
            short = left is not None and left < len(running) * (closing + 1)
            if short or self.conclude_in(closing):
                self._concluding = "tokens" if short else self._scarce()
                why = f"{left} tokens are left" if short else f"{closing} passes more just fit"
                self.note("conclude", why, samples=tuple(running), tokens=generated)
        if self._concluding is not None:
            reason: FinishReason = "deadline" if self._concluding == "deadline" else "budget"
            return Directive(reason=reason, most=left, conclude=True)
        if slow := self._too_slow(running, now, generated):
            return self._cut(slow, "deadline", self.plan.reason, generated)
        start = self._refill(running, wanted - started, generated, now)
        if not running and not start:
            # Samples are missing, but what is left of the budget is too little for another.
            poor = left is not None and left < max(1, self._expected_tokens())
            return self._stop("tokens" if poor else self._scarce(), generated)
        if start:
            self._begun += start
            self.note("start", "there is room for more samples", count=start, tokens=generated)
        self._quiet = self._quiet and not start
        return Directive(start=start, most=left)

    def _look(self, running: Mapping[int, int], started: int, generated: int, now: float) -> None:
        """Take in what happened since the last look: samples that began or ended, and what closing them took."""
        self._arrive(now)
        ended = self._running.keys() - running.keys()
        self._quiet = not ended
        if ended and self._pass_ended is not None:
            self._cost.drift.asides.observe_closing((now - self._pass_ended) / len(ended))
        if started > self._begun:
            self.note("start", "as planned", count=started - self._begun, tokens=generated)
            self._begun = started
        self._running = dict(running)

    def _arrive(self, now: float) -> None:
        """Take in how long reading the prompt took: what comes first after the plan comes after it."""
        if self._planned_at is not None:
            self._cost.observe_prefill(self._prompt, now - self._planned_at)
            self._planned_at = None

    @property
    def _past(self) -> float | None:
        """Tokens that a running sample's branch holds on average; None while none runs."""
        if not self._running:
            return None
        return self._prompt + sum(self._running.values()) / len(self._running)

    def _scarce(self) -> StopReason:
        """Return the limit that comes first, of time and joules."""
        return self._remaining.seconds(0, self._clock())[1]

    def _stop(self, reason: StopReason, generated: int, whole: bool = True) -> Directive:
        """whole: everything ends, not only a part that a search asked for."""
        if whole:
            self.note("stop", reason, tokens=generated)
        return Directive(stop=reason)

    def _cut(self, samples: tuple[int, ...], reason: FinishReason, why: str, generated: int) -> Directive:
        self.note("cut", why, samples=samples, tokens=generated)
        self._running = {i: tokens for i, tokens in self._running.items() if i not in samples}
        self._quiet = False
        return Directive(cut=samples, reason=reason)

    @property
    def _ends(self) -> Finishing:
        if self._finishing is None:
            self._finishing = Finishing(self._lengths or Lengths(), self.plan.max_tokens)
        return self._finishing

    def _expected_tokens(self) -> int:
        """Return a typical length, learned from this question's finished samples where there are some."""
        cap = self.plan.max_tokens
        if not self._finished_lengths:
            return max(1, round(self._ends.typical))
        return min(cap, sorted(self._finished_lengths)[len(self._finished_lengths) // 2])

    def _refill(self, running: Mapping[int, int], missing: int, generated: int, now: float) -> int:
        width = len(running)
        free = min(self.plan.width - width, missing)
        if self._budget.tokens is not None:
            free = min(free, (self._budget.tokens - generated) // max(1, self._expected_tokens()) - width)
        if free < 1:
            return 0
        left, _ = self._remaining.seconds(width, now)
        if left == math.inf:
            return free
        # Time only gets less: what was not worth starting is looked at again when a sample has ended, or passes got faster.
        look = (tuple(running), self._passes // _REVIEW)
        if look == self._looked:
            return 0
        self._looked = look
        return self._ends.best_more(
            list(running.values()), free, lambda count: left / self._step(count), _WORTH
        )

    def _step(self, width: int) -> float:
        return self._cost.step(max(1, width), self._past)

    def _too_slow(self, running: Mapping[int, int], now: float, generated: int) -> tuple[int, ...]:
        """Return samples to give up so that the others can end before the deadline.

        Needed when the prompt or passes take longer than planned: eight unfinished answers are worth
        less than four.
        """
        if len(running) < 2 or self._passes % _REVIEW or not self._passes:
            return ()
        left, _ = self._remaining.seconds(len(running), now)
        if left == math.inf or self._finished_lengths:
            # There is an answer already: more votes are what time is for.
            return ()
        keep = self._ends.best_few(list(running.values()), lambda count: left / self._step(count), _GAIN)
        if keep == len(running):
            return ()
        self._plan = replace(
            self.plan,
            width=keep,
            step_seconds=self._step(keep),
            reason=f"{left:.1f} s are left, and passes take {self._cost.ratio:.1f} times as long as "
            f"measured, so {keep} of {len(running)} go on",
        )
        self.revisions.append(self._plan)
        self.note("revise", self._plan.reason, count=keep, tokens=generated)
        return tuple(running)[keep:]
