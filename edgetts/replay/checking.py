"""Run the controller again on the times and the sample ends of a trace, and see whether it decides the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgetts.answering.choosing import Choosing
from edgetts.answering.following import follow
from edgetts.control.controller import Controller
from edgetts.control.cost.drift import Drift
from edgetts.control.cost.model import CostModel
from edgetts.control.decisions import Decision
from edgetts.errors import InvalidInput
from edgetts.replay.decoder import RecordedDecoder
from edgetts.replay.recorded import RecordedRun
from edgetts.replay.samples import Recorded
from edgetts.replay.trace import AnswerTrace
from edgetts.replay.trace_parts import endless
from edgetts.replay.traced import Again, Diverged, TracedWorld
from edgetts.selection.answers import AnswerFormat
from edgetts.selection.strategies.self_consistency import SelfConsistency
from edgetts.types import Plan

_MORE = 1 << 40
# Decisions are made a little later than the clock was read for the trace.
TOLERANCE = 0.05


@dataclass(frozen=True, slots=True)
class Checked:
    """decisions: made again. differs: the first one that is another, counted from 0; None where all are the same.

    trouble: why the replay could not go on, if so. stop: why it ended.
    """

    decisions: tuple[Decision, ...]
    differs: int | None
    trouble: str
    stop: str

    @property
    def same(self) -> bool:
        return self.differs is None and not self.trouble


def check(trace: AnswerTrace) -> Checked:
    """Replay one answer with its own plan, moves and times.

    Errors: InvalidInput for a trace that does not tell what the controller knew, or of partial answers.
    """
    if trace.times is None:
        raise InvalidInput(
            f"The answer of line {trace.line} was traced without the device's curve.",
            hint="Trace it again with this version of edgetts.",
        )
    if None in trace.moves:
        raise InvalidInput(
            f"The answer of line {trace.line} grew partial answers, which cannot be replayed.",
            hint="Trace a strategy of whole samples.",
        )
    world = TracedWorld(trace)
    controller = _as_planned(trace, world)
    if trace.prompt_read is None:
        # There was no time for anything else: nothing was decided but the plan.
        return _compared(trace, controller.decisions, "", trace.end.stop if trace.end else "")
    world.now = trace.prompt_read
    samples = [one if i in trace.concluded else _free(one) for i, one in enumerate(trace.samples)]
    if trace.end is None:
        samples += [_free(endless(index)) for index in range(len(samples), trace.plan.samples)]
    run = _AsTraced(_Drafting(samples, trace.plan.max_tokens, world), controller, world)
    choosing = Choosing(SelfConsistency(stop=None), AnswerFormat.parse("none"), named=True)
    trouble = ""
    try:
        for _ in follow(run, Again(trace), choosing):
            pass
    except Diverged as why:
        trouble = str(why)
    ended = trace.end is not None and trace.end.stop != "cancelled"
    if not ended:
        # Somebody ended it, or its writer: what was decided until then is compared.
        return _compared(trace, controller.decisions, "", run.stop or "")
    if not trouble and trace.end is not None and (run.stop or "complete") != trace.end.stop:
        trouble = f"it ended by {run.stop or 'complete'!r}, and the answer by {trace.end.stop!r}"
    return _compared(trace, controller.decisions, trouble, run.stop or "complete")


class _Drafting(RecordedDecoder):
    """A decoder whose passes may run as many tokens as those of the trace, where a sample alone was drafted for."""

    def __init__(self, samples: Sequence[Recorded], cap: int, world: TracedWorld) -> None:
        super().__init__(samples, cap)
        self._traced = world

    @property
    def widest(self) -> int:
        return max(self._traced.widest, len(self.active)) if len(self.active) == 1 else len(self.active)


class _AsTraced(RecordedRun):
    """A run whose samples could be made to state their answers when those of the trace could."""

    def __init__(self, decoder: RecordedDecoder, controller: Controller, world: TracedWorld) -> None:
        super().__init__(decoder, controller, world)
        self._traced = world

    @property
    def closing(self) -> int:
        return self._traced.closing


def _as_planned(trace: AnswerTrace, world: TracedWorld) -> Controller:
    if trace.times is None:
        raise AssertionError("it was looked for before")
    drift = Drift(trace.times.spread, world.clock)
    cost = CostModel(trace.times, drift, power=trace.power, share=trace.share)
    metered = any(one.joules is not None for one in trace.passes)
    controller = Controller(
        trace.budget,
        cost,
        world.clock,
        trace.began,
        lengths=trace.lengths,
        joules=world.joules if metered else None,
    )
    if trace.decisions and trace.decisions[0].kind == "plan":
        world.now = trace.began + trace.decisions[0].at
    plan = trace.plan
    controller.adopt(
        Plan(
            runtime=str(trace.header.get("runtime", "")),
            strategy=str(trace.header.get("strategy_name", "")),
            samples=plan.samples,
            width=plan.width,
            rounds=plan.rounds,
            max_tokens=plan.max_tokens,
            stop_rule="",
            reason=plan.reason,
            rounds_at=plan.rounds_at,
            price=plan.price,
        ),
        trace.prompt_tokens,
    )
    return controller


def _free(sample: Recorded) -> Recorded:
    """What the controller or a rule cut must be cut by them again: by itself it would go on."""
    if not sample.record.cut:
        return sample
    return replace(sample, draws=sample.draws + _MORE, finish="end")


def _compared(trace: AnswerTrace, decisions: Sequence[Decision], trouble: str, stop: str) -> Checked:
    made = tuple(decisions)
    if trace.end is None or trace.end.stop == "cancelled":
        made = made[: len(trace.decisions)]
    differs = next(
        (at for at, pair in enumerate(zip(trace.decisions, made, strict=False)) if not _same(*pair)), None
    )
    if differs is None and len(made) != len(trace.decisions):
        differs = min(len(made), len(trace.decisions))
    return Checked(made, differs, trouble, stop)


def _same(recorded: Decision, made: Decision) -> bool:
    return (
        recorded.kind == made.kind
        and recorded.samples == made.samples
        and recorded.count == made.count
        and recorded.tokens == made.tokens
        and abs(recorded.at - made.at) <= TOLERANCE
    )
