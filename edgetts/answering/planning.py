"""Plan one question: gather what is known of it, of the device and of its runtimes, and choose among their plans."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, get_args

from edgetts.answering.adapting import ProgressFinder
from edgetts.answering.choosing import Choosing
from edgetts.budget import Budget
from edgetts.chat import Message
from edgetts.control.cost.drawn import Drawn
from edgetts.control.cost.drift import Drift
from edgetts.control.cost.lengths import LengthBook, Lengths
from edgetts.control.cost.model import CostModel
from edgetts.control.cost.work import LengthLaw
from edgetts.control.planning.choice import best_plan, lone_gain
from edgetts.control.planning.objective import Objective, priced
from edgetts.control.planning.planner import make_plan
from edgetts.control.planning.request import MAX_SAMPLES, Asked, Request, Way
from edgetts.control.success.mixing import HasMatrix
from edgetts.control.success.model import Approach, SuccessModel
from edgetts.decoding.constraint import Constraint
from edgetts.energy.budgets import default_budget
from edgetts.errors import InvalidInput, PromptTooLong
from edgetts.profiles.curves import StepTimes
from edgetts.profiles.device import DeviceProfile, PowerDraw, PowerMode, PowerState
from edgetts.types import LONGEST_DRAFT, SPREAD_TEMPERATURE, Answer, DecodeParams, Plan, SamplingParams

if TYPE_CHECKING:
    from edgetts.control.success.figures import Drawing
    from edgetts.energy.state import Power

SuccessFinder = Callable[[str | None, str], SuccessModel]
"""Return what is known of the model at a task (by name, or None) whose answers have a format (by name)."""

# What a sample alone may get from a pass where everything repeats; a cap on lengths, not a prediction.
_TOKENS_PER_PASS = 4.0
# Tokens in which a model is asked whether a text is right.
_QUESTION = 30
# Tokens of an answer alone, as guessed before any was seen.
_DIRECT_LENGTH = 12.0
# Samples of a kind of question after which their own lengths say more than those of a calibration.
_ENOUGH = 16


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the caller asks for, beside the question. power: mode; target: probability of being right. cost_of_pass: aim
    for the lowest expected cost of a right answer.

    explain: predict everything, needed or not, and list every candidate. Checked when made.
    """

    budget: Budget
    sampling: SamplingParams
    decode: DecodeParams
    power: PowerMode | None = None
    target: float | None = None
    risk: float | None = None
    task: str | None = None
    answer_format: str = "auto"
    explain: bool = False
    cost_of_pass: bool = False

    def __post_init__(self) -> None:
        if self.power is not None and self.power not in get_args(PowerMode):
            raise InvalidInput(
                f"There is no power mode {self.power!r}.",
                hint=f"Choose one of: {', '.join(get_args(PowerMode))}.",
            )
        target = self.target
        if target is not None and (
            isinstance(target, bool) or not isinstance(target, (int, float)) or not 0 < target < 1
        ):
            raise InvalidInput(
                f"The target is {target!r}, but it must be a probability, greater than 0 and less than 1.",
                hint="For example 0.8: right four times of five.",
            )
        if self.cost_of_pass and target is not None:
            raise InvalidInput(
                "A target and the lowest cost of a right answer cannot both be aimed for.", hint="Choose one."
            )
        if self.task is not None and (not isinstance(self.task, str) or not self.task.strip()):
            raise InvalidInput("The task's name is empty.", hint="Name one that was calibrated, or none.")


@dataclass(frozen=True, slots=True)
class Place:
    """A runtime that has the model, as far as a plan depends on it. context, prompts: in tokens; opening: in seconds.

    power: of the device while the model runs there; None where nobody knows. guess_rate: how often guesses at a lone
    sample's tokens are right. longest_draft: guesses that a pass may verify. whole_cache: whether a branch takes the
    cache of the whole context. known: given a prompt, how many of its tokens need not be read.
    """

    runtime: str
    times: StepTimes
    context: int
    bytes_per_token: int
    parallel: bool = True
    opening: float = 0.0
    guess_rate: float = 0.0
    power: PowerDraw | None = None
    drift: Drift | None = None
    longest_draft: int = LONGEST_DRAFT
    whole_cache: bool = False
    known: Callable[[Sequence[int]], int] = lambda tokens: 0

    @property
    def cost(self) -> CostModel:
        return CostModel(self.times, self.drift, power=self.power)


@dataclass(frozen=True, slots=True)
class Terms:
    """What a plan must keep and what it is for: the caller's limits, or else what the device's state allows."""

    budget: Budget
    objective: Objective
    power: str
    free: bool
    up_to: int
    max_tokens: int | None
    state: PowerState | None = None
    """What the device is in, where that counts."""

    @property
    def limited(self) -> bool:
        """Whether time, tokens, joules or the number of samples are limited."""
        budget = self.budget
        return any(
            limit is not None for limit in (budget.seconds, budget.tokens, budget.joules, budget.samples)
        )


@dataclass(slots=True)
class Knowledge:
    """What is known before a question comes, and learned from answers. device, success: None where nothing is known.

    state: what the device is in, asked for each question.
    """

    device: DeviceProfile | None = None
    success: SuccessFinder | None = None
    progress: ProgressFinder | None = None
    lengths: LengthBook = field(default_factory=LengthBook)
    drawn: Drawn = field(default_factory=Drawn)
    state: Callable[[], Power] | None = None

    def terms(self, wishes: Wishes, *, abstains: bool) -> Terms:
        """Return the limits that are in force and what to choose by."""
        budget = wishes.budget
        limits = (budget.seconds, budget.tokens, budget.joules, budget.samples)
        limited = any(limit is not None for limit in limits)
        objective = Objective(risk=wishes.risk or 0.0, abstains=abstains)
        if wishes.target is not None:
            objective = replace(objective, goal="target", target=wishes.target)
        elif wishes.cost_of_pass:
            objective = replace(objective, goal="pass")
        mode: PowerMode = wishes.power or "balanced"
        aimed = wishes.target is not None or wishes.cost_of_pass
        free, up_to, max_tokens, words = (
            aimed,
            MAX_SAMPLES,
            wishes.sampling.max_tokens,
            "",
        )
        state: PowerState | None = None
        if self.device is not None:
            power = self._state()
            state = power.state
            words = f"{mode}, {power.state}: {power.reason}"
            if not limited and not aimed:
                allowed = default_budget(self.device, mode, power.state)
                budget = replace(budget, seconds=allowed.seconds, joules=allowed.joules)
                up_to = allowed.samples or MAX_SAMPLES
                free = up_to > 1
                max_tokens = max_tokens or allowed.max_tokens
            objective = priced(
                objective,
                mode,
                power.state,
                seconds_limited=budget.seconds is not None,
                joules_limited=budget.joules is not None,
            )
        elif wishes.power is not None:
            raise InvalidInput(
                "A power mode was asked for, but no device profile says what it means here.",
                hint="Load the model with edgetts.load, or give the engine a device.",
            )
        return Terms(budget, objective, words, free, up_to, max_tokens, state)

    def _state(self) -> Power:
        if self.state is not None:
            return self.state()
        from edgetts.energy.state import power_state  # an engine without a device never asks

        return power_state()

    def asked(self, approach: Approach, prompt: int, wishes: Wishes, success: SuccessModel | None) -> Asked:
        """Return how long samples get when the model is asked so, and what was measured of it to choose among."""
        drawings = [one for one in drawings_of(success) if one.approach == approach]
        law: LengthLaw = self.lengths.of(length_key(wishes, approach))
        seen = len(law.seen) if isinstance(law, Lengths) else 0
        if drawings and seen < _ENOUGH:
            law = max(drawings, key=lambda one: one.lengths.samples).lengths
        elif approach == "direct" and not seen:
            law = Lengths(typical=_DIRECT_LENGTH)
        heats = tuple(sorted({one.temperature for one in drawings if one.temperature > 0}))
        caps = tuple(sorted({curve.cap for one in drawings for curve in one.votes}))
        matrix = success.matrix(approach) if isinstance(success, HasMatrix) else None
        return Asked(approach, prompt, law, heats or (SPREAD_TEMPERATURE,), caps, matrix)

    def learn_drawn(self, kind: str, answer: Answer) -> None:
        """Take in how much of what was planned an answer drew. One that a limit ended says nothing."""
        if answer.stop_reason in ("complete", "decided"):
            self.drawn.observe(kind, len(answer.samples), answer.plan.samples)

    def learn(self, key: str, lengths: Sequence[int], *, ended: bool) -> None:
        """Take in how long samples got. ended: the model ended them, rather than a limit."""
        for tokens in lengths:
            self.lengths.observe(key, tokens, ended)


def drawings_of(success: SuccessModel | None) -> Sequence[Drawing]:
    """Return what was measured of the model's samples at the task; nothing where that is a prior."""
    drawings: Sequence[Drawing] = getattr(success, "drawings", ())
    return drawings


def length_key(wishes: Wishes, approach: str) -> str:
    """Return the kind of question, whose samples have lengths alike."""
    return f"{wishes.task or wishes.answer_format}/{approach}"


def drawn_key(wishes: Wishes, choosing: Choosing) -> str:
    """Return the kind of question and strategy that draw alike."""
    return f"{wishes.task or wishes.answer_format}/{choosing.strategy!r}"


def way_of(choosing: Choosing) -> Way:
    """Return a strategy as far as a plan depends on it."""
    strategy, verifier = choosing.strategy, choosing.verifier
    aggregator = getattr(strategy, "aggregator", None)
    verified, exact = "", False
    if verifier is not None:
        from edgetts.control.success.profile import EXACT  # few questions have one

        rates = verifier.rates
        exact = rates is not None and rates.passes_right == 1 and rates.passes_wrong == 0
        verified = EXACT if exact else verifier.name
    scorer = choosing.scorer
    return Way(
        strategy=strategy.name,
        aggregator=getattr(aggregator, "name", "majority"),
        verified=verified,
        exact=exact,
        most=strategy.most,
        stops=strategy.stops,
        steps=choosing.steps,
        judging=_QUESTION if scorer is not None and scorer.judges else 0,
        rounds=strategy.name == "adaptive",
    )


@dataclass(frozen=True, slots=True)
class Posed:
    """A question before it is planned: what is asked, by what means, within what, and each way of asking the model.

    prompts: tokens, by approach. expected: the share of the planned samples that is drawn of such questions; None where
    that is not known.
    """

    messages: Sequence[Message]
    wishes: Wishes
    choosing: Choosing
    terms: Terms
    success: SuccessModel | None
    approaches: tuple[Asked, ...]
    prompts: Mapping[Approach, Sequence[int]]
    expected: float | None = None
    constraint: Constraint | None = None

    def narrowed(self, plan: Plan) -> Posed:
        """Return the question with the one way of asking that a plan takes."""
        return replace(
            self, approaches=tuple(one for one in self.approaches if one.approach == plan.approach)
        )


def request_for(posed: Posed, place: Place, memory_free: int) -> Request:
    """Return the request for a plan on one runtime. Raises PromptTooLong."""
    wishes, terms, choosing = posed.wishes, posed.terms, posed.choosing
    longest = max(asked.prompt for asked in posed.approaches)
    room = place.context - longest
    if room < 1:
        raise PromptTooLong(
            f"The prompt has {longest} tokens, but the model's context holds {place.context} "
            "with at least one of the answer.",
            hint="Shorten the prompt.",
        )
    # A step ends where its text does, so that a pass draws one token of it.
    drafts = wishes.decode.mode != "plain" and wishes.decode.early_exit is None and not choosing.steps
    gain = lone_gain(place.times, place.guess_rate, place.longest_draft) if drafts else 1.0
    return Request(
        room=room,
        max_tokens=terms.max_tokens,
        bytes_per_token=place.bytes_per_token,
        memory_free=memory_free,
        parallel=place.parallel,
        runtime=place.runtime,
        approaches=tuple(
            replace(asked, known=place.known(posed.prompts.get(asked.approach, ())))
            for asked in posed.approaches
        ),
        seconds=terms.budget.seconds,
        deterministic=wishes.sampling.temperature == 0,
        temperature=wishes.sampling.temperature,
        decoding="speculative" if drafts and gain > 1 else "plain",
        gain=gain,
        tokens_per_pass=_TOKENS_PER_PASS if drafts else 1.0,
        opening=place.opening,
        ways=(replace(way_of(choosing), expected=posed.expected),),
        named=choosing.named,
        free=terms.free,
        up_to=MAX_SAMPLES if choosing.named else terms.up_to,
        success=posed.success,
        objective=terms.objective,
        power=terms.power,
        keep=_keep(wishes),
        whole_cache=place.context if place.whole_cache else 0,
    )


def _keep(wishes: Wishes) -> int:
    return 1000 if wishes.explain else 8


def choose(posed: Posed, places: Sequence[Place], memory_free: int) -> Plan:
    """Return the best of the plans of all runtimes; the plan names its own. Raises what `make_plan` does."""
    requests = [request_for(posed, place, memory_free) for place in places]
    plans = [
        make_plan(posed.terms.budget, request, place.cost)
        for request, place in zip(requests, places, strict=True)
    ]
    return best_plan(plans, posed.terms.objective, keep=_keep(posed.wishes))
