"""What can be asked for beside the question: the keywords of `Engine.answer`, `stream`, `plan` and their like."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

from edgetts.answering.watching import Watcher
from edgetts.budget import Budget
from edgetts.decoding.constraint import Constraint
from edgetts.decoding.session import Cancellation
from edgetts.profiles.device import PowerMode
from edgetts.selection.answers import AnswerFormat
from edgetts.selection.confidence.calibration import Calibration
from edgetts.selection.strategies import Strategy
from edgetts.selection.verification.verifier import Verdict, Verifier
from edgetts.structure import Structure
from edgetts.types import DecodeMode, DecodeParams, SamplingParams

Priority = Literal["foreground", "background"]
"""Who goes first where several questions share a model: the background goes on while no foreground is under way."""


class Asked(TypedDict, total=False):
    """What shapes an answer and its plan. All have defaults.

    budget: without one the device's power state says how much may be spent; on mains that is one sample.
    system: a system message, put before the others. answer_format: how answers are found in texts when several samples
    vote, see `AnswerFormat.parse`. decode: how tokens are computed, not which, unless it names another acceptance rule.
    strategy: what samples are spent on, by name or as settings (`edgetts.selection.strategies`); None is a vote, or with
    a verifier drawing until one passes. verifier: checks every sample's text: a name, a function of it that says true,
    false or a share, or an object; one that is under way at the deadline is waited for. calibration: makes the
    confidence a probability of being right. risk: what a wrong answer costs where a right one is worth 1; the answer is
    left empty where confidence is too low for it. power: saver, balanced or performance, which sets the price of a joule
    and, without a budget, how much may be spent. target: a probability of being right, to be reached as cheaply as
    possible. cost_of_pass: aim for the lowest expected cost of a right answer. task: by name, of which it was measured
    how often the model is right (`edgetts calibrate --task`); without one, that of the same answer format. explain:
    predict success even where there is nothing to choose. constraint: a language that every sample is kept to
    (`edgetts.structure`). tools: functions the model may call, in OpenAI's form, shown to it by its chat template.
    """

    budget: Budget | None
    sampling: SamplingParams | None
    system: str | None
    answer_format: AnswerFormat | str
    decode: DecodeParams | DecodeMode
    strategy: Strategy | str | None
    verifier: Verifier | Callable[[str], bool | float | Verdict | None] | str | None
    calibration: Calibration | str | Path | None
    risk: float | None
    power: PowerMode | None
    target: float | None
    cost_of_pass: bool
    task: str | None
    explain: bool
    constraint: Constraint | Structure | None
    tools: Sequence[Mapping[str, Any]] | None


class AskedNow(Asked, total=False):
    """What is asked for when an answer is computed, too.

    priority: foreground goes before background wherever both wait for the model. cancel: when it is requested, the answer
    is what there is by then. watcher: is told what happens. began: when the question came, on the engine's clock
    (`time.perf_counter`), where that was before the call: a deadline counts from then.
    """

    priority: Priority
    cancel: Cancellation | None
    watcher: Watcher | None
    began: float | None
