"""Read what a decision trace knows of plans, devices and samples, each value checked before it is believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, get_args

from edgetts.budget import Budget
from edgetts.control.cost.lengths import Lengths
from edgetts.control.cost.work import LengthLaw
from edgetts.errors import InvalidInput
from edgetts.evaluation.record import SampleRecord
from edgetts.profiles.curves import StepTimes
from edgetts.profiles.device import PowerDraw
from edgetts.profiles.figure import Figure, Provenance
from edgetts.replay.fields import TIME, Fields, real, whole
from edgetts.replay.samples import Recorded
from edgetts.replay.trace import PlanFacts
from edgetts.selection.aggregation import Vote
from edgetts.types import FinishReason

MOST_WIDTH = 1 << 16
MOST_SAMPLES = 1 << 12
MOST_TOKENS = 1 << 22
_POINTS = 64
_SEEN = 4096
_SOURCES = ("measured", "modelled", "learned", "default", "emulated")
_LIMITS = ("seconds", "tokens", "samples", "memory_bytes", "joules")


def recorded_in(fields: Fields, index: int) -> Recorded:
    tokens = fields.count("tokens", most=MOST_TOKENS)
    draws = fields.count("draws", least=1, most=MOST_TOKENS)
    if tokens > draws:
        fields.refuse("has more tokens than were drawn")
    finish: Any = fields.word("finish", get_args(FinishReason))
    answer = fields.text("answer")
    logprob = fields.maybe("logprob")
    record = SampleRecord(
        index=index,
        # Which tokens they were is not traced; how many is what counts.
        tokens=(0,) * draws,
        logprobs=(),
        text="",
        finished=finish in ("end", "stop"),
        greedy=fields.flag("greedy"),
        finish_reason=finish,
        answer=answer,
        stated=fields.flag("stated", default=True),
        score=fields.maybe("score", least=0.0, most=1.0),
        passed=fields.verdict("passed"),
    )
    vote = Vote(
        sample=index,
        answer=answer,
        logprob=-float("inf") if logprob is None else logprob,
        tokens=tokens,
        complete=record.finished,
        explicit=record.stated,
        answer_logprob=fields.maybe("answer_logprob"),
        answer_tokens=fields.count("answer_tokens", default=0),
        score=record.score,
        passed=record.passed,
    )
    return Recorded(record, vote, draws, tokens, finish, vote.logprob)


def endless(index: int) -> Recorded:
    """Return a sample of which nothing is known but that it ran."""
    record = SampleRecord(index, (), (), "", False, finish_reason="cancelled")
    vote = Vote(index, None, 0.0, 0, complete=False, explicit=False)
    return Recorded(record, vote, draws=1, kept=0, finish="cancelled", logprob=0.0)


def named(sample: Recorded, name: str | None) -> Recorded:
    return replace(sample, record=replace(sample.record, answer=name), vote=replace(sample.vote, answer=name))


def budget_in(fields: Fields) -> Budget:
    inner = fields.inner("budget")
    if inner is None:
        return Budget()
    inner.only(_LIMITS)
    try:
        return Budget(**inner.value)
    except (InvalidInput, OverflowError) as error:
        fields.refuse(f"has a budget that cannot be ({error})")


def plan_in(fields: Fields) -> PlanFacts:
    plan = fields.inner("plan")
    if plan is None:
        fields.refuse("has no plan")
    rounds = [whole(plan, "rounds_at", one, 1, MOST_SAMPLES) for one in plan.rows("rounds_at", MOST_SAMPLES)]
    if any(after <= before for before, after in pairwise(rounds)):
        plan.refuse("has rounds that do not rise")
    return PlanFacts(
        samples=plan.count("samples", least=1, most=MOST_SAMPLES),
        width=plan.count("width", least=1, most=MOST_WIDTH),
        rounds=plan.count("rounds", least=1, most=MOST_SAMPLES),
        max_tokens=plan.count("max_tokens", least=1),
        rounds_at=tuple(rounds),
        price=plan.number("price", least=0.0, default=0.0),
        reason=plan.text("reason", "") or "",
    )


def times_in(curve: Fields | None) -> StepTimes | None:
    if curve is None:
        return None
    widths = [whole(curve, "widths", one, 1, MOST_WIDTH) for one in curve.rows("widths", _POINTS)]
    seconds = [real(curve, "seconds", one, 1e-9, TIME) for one in curve.rows("seconds", _POINTS)]
    if not widths or len(widths) != len(seconds) or any(b <= a for a, b in pairwise(widths)):
        curve.refuse("has a curve without rising widths, each with its seconds")
    prompts = []
    for row in curve.rows("prompts", _POINTS):
        if not isinstance(row, list) or len(row) != 2:
            curve.refuse("has a prompt of the curve that is no pair of tokens and seconds")
        prompts.append(
            (whole(curve, "prompts", row[0], 1, MOST_TOKENS), real(curve, "prompts", row[1], 0.0, TIME))
        )
    if any(after[0] <= before[0] for before, after in pairwise(prompts)):
        curve.refuse("has prompts of the curve that do not rise")
    return StepTimes(
        tuple(widths),
        tuple(seconds),
        curve.number("prefill_rate", least=1e-6),
        curve.word("source", _SOURCES),
        date=curve.text("date", "") or "",
        past=curve.count("past", default=0),
        growth=curve.number("growth", default=0.0),
        prompts=tuple(prompts),
        spread=curve.number("spread", least=0.0, most=1e3, default=0.1),
    )


def power_in(power: Fields | None) -> PowerDraw | None:
    if power is None:
        return None
    power.only(("idle_watts", "busy_watts"))
    figures = []
    for name in ("idle_watts", "busy_watts"):
        inner = power.inner(name)
        if inner is None:
            power.refuse(f"has a power without {name}")
        provenance: Any = inner.word("provenance", get_args(Provenance))
        figures.append(
            Figure(
                inner.number("value", least=0.0, most=1e6),
                provenance,
                inner.number("spread", least=0.0, default=0.0),
            )
        )
    return PowerDraw(*figures)


def lengths_in(law: Fields | None) -> LengthLaw | None:
    if law is None:
        return None
    if "quantiles" in law.value:
        known = [real(law, "quantiles", one, 0.0, TIME) for one in law.rows("quantiles", _SEEN)]
        if not known or any(after < before for before, after in pairwise(known)):
            law.refuse("has lengths whose quantiles do not rise")
        return _Quantiles(tuple(known))
    seen = []
    for row in law.rows("seen", _SEEN):
        if not isinstance(row, list) or len(row) != 2 or not isinstance(row[1], bool):
            law.refuse("has a length that is no pair of tokens and whether it ended")
        seen.append((whole(law, "seen", row[0], 1, MOST_TOKENS), row[1]))
    return Lengths(
        tuple(seen),
        typical=law.number("typical", least=1.0, most=MOST_TOKENS),
        spread=law.number("spread", least=1e-3, most=10.0),
    )


@dataclass(frozen=True, slots=True)
class _Quantiles:
    """A law of which some quantiles were written down."""

    known: tuple[float, ...]

    @property
    def provenance(self) -> str:
        return "a trace"

    def quantiles(self, count: int) -> Sequence[float]:
        last = len(self.known)
        return [self.known[min(last - 1, int((i + 0.5) / count * last))] for i in range(count)]
