"""Replay one question under a policy: the planner, the controller and the loop of an answer, over recorded samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from edgetts.answering.choosing import Choosing
from edgetts.answering.following import conclude, follow, shown
from edgetts.budget import Budget
from edgetts.control.controller import Controller
from edgetts.evaluation.record import ProblemRecord
from edgetts.replay.decoder import RecordedDecoder
from edgetts.replay.load import Load
from edgetts.replay.planning import Learning, learn, make_controller
from edgetts.replay.policies import Policy
from edgetts.replay.recorded import RecordedRun, Scores
from edgetts.replay.samples import Recorded
from edgetts.replay.simulation import Device, SimulatedWorld
from edgetts.selection.aggregation import Tally, Vote
from edgetts.selection.answers import AnswerFormat
from edgetts.selection.confidence.abstention import Abstention
from edgetts.selection.confidence.calibration import Calibration
from edgetts.selection.need import Need
from edgetts.selection.search.tree import Draw, Move, Node, Search, Task
from edgetts.selection.strategies import Strategy
from edgetts.selection.verification.verifier import ErrorRates
from edgetts.types import Answer, Event, Plan, Usage


@dataclass(frozen=True, slots=True)
class Setting:
    """What every answer of a replay has in common.

    rates: how often the verifier errs whose verdicts the record has, where it is known. hurry: take passes at once
    where nothing can come of looking between them.
    """

    device: Device
    budget: Budget = field(default_factory=Budget)
    load: Load | None = None
    rates: ErrorRates | None = None
    calibration: Calibration | None = None
    abstention: Abstention | None = None
    max_tokens: int | None = None
    seed: int = 0
    hurry: bool = True


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one answer came to. right: None where nobody graded the recorded sample it is.

    short: the policy would have drawn more samples than were recorded. joules: None where no watts are known.
    """

    right: bool | None
    answer: str | None
    tokens: int
    seconds: float
    joules: float | None
    samples: int
    stop: str
    abstained: bool = False
    late: bool = False
    short: bool = False
    chosen: int | None = None


def play(
    problem: ProblemRecord,
    samples: Sequence[Recorded],
    policy: Policy,
    setting: Setting,
    learning: Learning,
    scores: Scores | None = None,
) -> Outcome:
    """Answer a problem with its recorded samples, in this order. scores: of the policy's scorer, to ask it about
    a sample once only.

    What the answer teaches is taken in by `learning`.

    Errors: InvalidInput for a policy that samples as they were recorded cannot follow.
    """
    world = SimulatedWorld(setting.device, setting.load, prompt=problem.prompt_tokens)
    budget = setting.budget
    if policy.samples is not None:
        budget = replace(budget, samples=policy.samples)
    scorer = policy.strategy.scorer
    choosing = Choosing(
        policy.strategy,
        AnswerFormat.parse(problem.answer_format),
        scorer=None if scorer is None or scorer.judges else scorer,
        calibration=setting.calibration,
        abstention=setting.abstention,
        named=True,
    )

    if choosing.scorer is not None:
        scores = scores or Scores(choosing.scorer)

    def planned() -> Controller:
        return make_controller(budget, setting.device, world, choosing, learning, setting.max_tokens)

    controller = planned()
    short = controller.plan.samples > len(samples)
    if short:
        budget = replace(budget, samples=max(1, len(samples)))
        controller = planned()
    plan = controller.plan
    end, limit = controller.ends
    world.read_prompt()
    if not samples or world.now >= end:
        # As live: reading is interrupted where the time or the joules are spent, and there is no answer.
        world.now = min(world.now, end)
        return _nothing(world, limit if samples else "complete", short=short)
    task = Task(
        plan.samples,
        setting.seed,
        setting.rates,
        problem.question,
        rounds=plan.rounds_at,
        price=plan.price,
        effort=controller.effort,
    )
    search: Search = policy.strategy.start(task)
    unlimited = budget.seconds is None and budget.tokens is None and budget.joules is None
    hurries = unlimited and setting.hurry
    if hurries:
        search = _Unwatched(search, world)
    decoder = RecordedDecoder(samples, plan.max_tokens)
    run = RecordedRun(decoder, controller, world, problem.question, scores, observed=not hurries)
    _end(follow(run, search, choosing))
    learn(learning, choosing, [(len(one.tokens), one.complete) for one in run.texts.samples.values()])
    outcome = Outcome(
        right=False,
        answer=None,
        tokens=decoder.generated,
        seconds=world.now,
        joules=world.joules(),
        samples=len(run.texts.samples),
        stop=run.stop or "complete",
        late=controller.deadline is not None and world.now > controller.deadline,
        short=short,
    )
    votes = run.texts.votes()
    if not votes:
        return outcome
    tally = search.choose(votes)
    chosen = shown(votes, tally, run.texts.samples, choosing)
    answer = conclude(_empty(plan, run, budget), votes, tally, chosen, choosing)
    known = samples[chosen.index].record.right if decoder.traces[chosen.index].whole else False
    return replace(
        outcome,
        right=False if answer.abstained else known,
        answer=answer.answer,
        abstained=answer.abstained,
        chosen=chosen.index,
    )


def lacking(strategy: Strategy, pools: Sequence[Sequence[Recorded]]) -> list[Need]:
    """Return what a strategy needs and the recorded samples do not have."""
    records = [one.record for samples in pools for one in samples]
    have: set[Need] = {"logprobs", "several", "fork"}
    if strategy.scorer is not None and not strategy.scorer.judges:
        have.add("score")
    if records and all(record.score is not None for record in records):
        have.add("score")
    if any(record.passed is not None for record in records):
        have |= {"verifier", "score"}
    return sorted(strategy.needs - have)


class _Unwatched:
    """A search that has its world hurry through passes that nobody looks at."""

    def __init__(self, search: Search, world: SimulatedWorld) -> None:
        self._search = search
        self._world = world

    def next(self, nodes: Sequence[Node]) -> Move | None:
        move = self._search.next(nodes)
        self._world.hurry = isinstance(move, Draw) and move.prune is None
        return move

    def choose(self, votes: Sequence[Vote]) -> Tally:
        return self._search.choose(votes)


def _end(events: Iterator[Event]) -> None:
    for _ in events:
        pass


def _nothing(world: SimulatedWorld, stop: str, *, short: bool) -> Outcome:
    return Outcome(False, None, 0, world.now, world.joules(), 0, stop, short=short)


def _empty(plan: Plan, run: RecordedRun, budget: Budget) -> Answer:
    """Return the answer before one is chosen, for what is made of the vote as live."""
    samples = tuple(run.texts.samples[i] for i in sorted(run.texts.samples))
    return Answer(
        text="",
        answer=None,
        confidence=None,
        confidence_source="none: there is no sample",
        samples=samples,
        plan=plan,
        revisions=(),
        usage=Usage(0.0, 0, run.spent, 0, run.spent, len(samples), None, None, 0),
        stop_reason=run.stop or "complete",
        model="",
        budget=budget.to_json(),
    )
