"""What a decision trace says of one answer: how it was planned, when passes ended, what samples came to, what was decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgetts.budget import Budget
from edgetts.control.cost.work import LengthLaw
from edgetts.control.decisions import Decision
from edgetts.profiles.curves import StepTimes
from edgetts.profiles.device import PowerDraw
from edgetts.replay.samples import Recorded

FORMAT = 1
"""Of the lines that `DecisionTrace` writes."""


@dataclass(frozen=True, slots=True)
class PlanFacts:
    """What following a plan needs of it."""

    samples: int
    width: int
    rounds: int
    max_tokens: int
    rounds_at: tuple[int, ...] = ()
    price: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PassTaken:
    """A pass, or with width 0 the beginning of samples. Times are readings of the clock.

    drawn: tokens of all samples. taken: when what it brought was taken. joules: spent by then, None where unknown.
    closing: passes in which running samples could then be made to state their answers; 0 is never. widest: tokens
    that the next pass might have run.
    """

    width: int
    began: float
    ended: float
    taken: float
    drawn: int
    joules: float | None = None
    closing: int = 0
    widest: int = 0


@dataclass(frozen=True, slots=True)
class Ending:
    """How an answer ended; `at` is a reading of the clock."""

    at: float
    stop: str
    detail: str
    answer: str | None
    tokens: int
    joules: float | None
    abstained: bool = False


@dataclass(frozen=True, slots=True)
class AnswerTrace:
    """One answer. began, prompt_read: readings of the clock; prompt_read is None where the prompt took all the time.

    concluded: samples that were made to state their answers, and came to their end.

    strategy: as `make_strategy` reads it; None where it cannot be made of text. scoring: by sample, tokens read to have
    texts judged by the time it ended. moves: samples in all that the search wanted, one after the other; None where it grew partial
    ones. decided: the votes at which the stopping rule stopped it, and what it said. pruned: samples that a pruning
    rule gave up. end: None where the writer was killed.
    """

    line: int
    header: Mapping[str, Any]
    budget: Budget
    plan: PlanFacts
    strategy: str | None
    verifier: str | None
    seed: int
    prompt_tokens: int
    began: float
    prompt_read: float | None
    concluded: frozenset[int]
    times: StepTimes | None
    power: PowerDraw | None
    share: float
    lengths: LengthLaw | None
    passes: tuple[PassTaken, ...]
    samples: tuple[Recorded, ...]
    scoring: Mapping[int, int]
    moves: tuple[int | None, ...]
    decided: tuple[int, str] | None
    pruned: frozenset[int]
    decisions: tuple[Decision, ...]
    end: Ending | None

    @property
    def title(self) -> str:
        return f"{self.header.get('model') or 'a model'} on {self.header.get('runtime') or 'a runtime'}"
