"""Values that cross rooms: frozen, typed, with units in their names or docstrings."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from edgetts.control.decisions import Decision
from edgetts.errors import InvalidInput
from edgetts.interval import Interval

FinishReason = Literal["end", "stop", "length", "deadline", "budget", "pruned", "cancelled"]
StopReason = Literal["complete", "decided", "deadline", "tokens", "joules", "cancelled"]
"""complete: everything planned was done. decided: a stopping rule said that more would not help."""
DecodeMode = Literal["auto", "plain", "speculative"]
"""auto: speculate where it is expected to be faster. speculative: verify every guess there is."""
AcceptanceRule = Literal["exact", "rejection", "typical"]
"""exact: the tokens of plain decoding. rejection: their distribution. typical: lossy, any likely guess is right."""
Constraining = Literal["mask", "rejection"]
"""mask: look up all tokens that a constraint allows, then draw. rejection: draw, ask, and draw again: the same
distribution, cheaper where the model mostly says what is allowed, with an estimate in place of the exact weight."""


MOST_LOGPROBS = 20
"""Tokens whose log-probs are recorded at most at one place."""
LONGEST_DRAFT = 8
"""Tokens guessed ahead at most in one pass."""
SPREAD_TEMPERATURE = 0.7
"""Temperature of samples that are to differ, where the caller names none."""


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How tokens are drawn. Checked when made.

    temperature 0 is greedy and ignores the seed; None is greedy for a lone sample, and
    SPREAD_TEMPERATURE where several are drawn, but for the first of them. Filters apply in the order top_k, top_p, min_p,
    to the distribution after temperature. max_tokens counts emitted tokens of one sample. stop:
    strings that end a sample and are not part of it. presence_penalty, frequency_penalty: subtracted from the logit of
    a token that the sample has drawn before, once or as often as it was drawn. logit_bias: (token id, what is added to its
    logit). The repetition penalty is applied first, then these. top_logprobs: likeliest tokens that are recorded with their
    log-probs at every place; 0 records none. constraining: how tokens are drawn where a constraint is given; filters depend
    on all that is allowed, so that rejection goes with none.
    """

    temperature: float | None = None
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int = 0
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    top_logprobs: int = 0
    constraining: Constraining = "mask"

    def __post_init__(self) -> None:
        def need(ok: bool, name: str, what: str) -> None:
            if not ok:
                raise InvalidInput(f"{name} is {getattr(self, name)!r}, but it must be {what}.")

        heat = self.temperature
        need(heat is None or (math.isfinite(heat) and heat >= 0), "temperature", "zero or greater")
        need(self.top_k >= 0, "top_k", "zero (off) or greater")
        need(0 < self.top_p <= 1, "top_p", "greater than 0 and at most 1")
        need(0 <= self.min_p < 1, "min_p", "at least 0 and less than 1")
        need(
            math.isfinite(self.repetition_penalty) and self.repetition_penalty > 0,
            "repetition_penalty",
            "greater than zero (1 is off)",
        )
        need(self.seed >= 0, "seed", "zero or greater")
        need(self.max_tokens is None or self.max_tokens > 0, "max_tokens", "greater than zero")
        need(isinstance(self.stop, tuple) and all(self.stop), "stop", "a tuple of strings that are not empty")
        for name in ("presence_penalty", "frequency_penalty"):
            need(math.isfinite(getattr(self, name)), name, "a finite number")
        sound = all(token >= 0 and math.isfinite(bias) for token, bias in self.logit_bias)
        need(sound, "logit_bias", "pairs of a token id and a finite number")
        need(0 <= self.top_logprobs <= MOST_LOGPROBS, "top_logprobs", f"between 0 and {MOST_LOGPROBS}")
        need(self.constraining in get_args(Constraining), "constraining", "mask or rejection")
        filtered = self.top_k > 0 or self.top_p < 1 or self.min_p > 0
        if self.constraining == "rejection" and filtered and heat != 0:
            raise InvalidInput(
                "Rejection sampling asks for single tokens, but top_k, top_p and min_p depend on all that are allowed.",
                hint='Leave the filters out, or take constraining="mask".',
            )


@dataclass(frozen=True, slots=True)
class LeaveEarly:
    """Let tokens of a lone sample leave the network at a cut. Lossy. Checked when made.

    agreement: share of tokens that shall be the whole network's first choice, as held-out text confirmed;
    strictness: of the criterion, in its place. criterion: confidence, saturation, q-exit or schedule.
    """

    agreement: float | None = None
    strictness: float | None = None
    criterion: str = "confidence"

    def __post_init__(self) -> None:
        if (self.agreement is None) == (self.strictness is None):
            raise InvalidInput(
                "To leave early, name either an agreement to keep or a criterion's strictness."
            )
        if self.agreement is not None and not 0 < self.agreement < 1:
            raise InvalidInput(f"The agreement is {self.agreement}, but it must be between 0 and 1.")

    @classmethod
    def parse(cls, text: str) -> LeaveEarly:
        """Read "agreement=0.98", "agreement=0.98,criterion=q-exit", or a criterion: "schedule=64"."""
        values: dict[str, float] = {}
        criterion = None
        for part in text.split(","):
            name, equals, value = (piece.strip() for piece in part.partition("="))
            if name == "criterion" and equals:
                criterion = value
                continue
            try:
                values[name] = float(value)
            except ValueError:
                raise InvalidInput(
                    f"{text!r} does not say how to leave early.", hint="Write for example agreement=0.98."
                ) from None
        agreement = values.pop("agreement", None)
        if len(values) > 1 or (values and criterion is not None):
            raise InvalidInput(f"{text!r} names more than one criterion.")
        for name, strictness in values.items():
            return cls(agreement, strictness, name)
        return cls(agreement, None, criterion or "confidence")


@dataclass(frozen=True, slots=True)
class DecodeParams:
    """How tokens are computed; which ones too only where `acceptance` says so. Checked when made.

    mode: plain, a token a pass; speculative, verify guesses whenever there are some; auto, where that is
    expected to be faster on this device. drafters: who may guess, None is everyone there is. length:
    guesses verified in a pass at most; in speculative mode None is 4. acceptance: the rule by which
    guesses are verified. exact draws as plain decoding does; rejection draws other tokens from the same
    distribution, and equals exact where the temperature is 0; typical is lossy: it takes guesses that the
    model finds likely enough, at temperature 0 too. early_exit: let tokens leave the network early, which
    is lossy and takes the place of drafts.
    """

    mode: DecodeMode = "auto"
    drafters: tuple[str, ...] | None = None
    length: int | None = None
    acceptance: AcceptanceRule = "exact"
    early_exit: LeaveEarly | None = None

    @property
    def stops_at_cuts(self) -> bool:
        """Whether passes must stop within the network, for which a model is opened in segments."""
        return self.early_exit is not None or "exit" in (self.drafters or ())

    def __post_init__(self) -> None:
        if self.mode not in get_args(DecodeMode):
            raise InvalidInput(
                f"There is no decoding {self.mode!r}.",
                hint=f"Choose one of: {', '.join(get_args(DecodeMode))}.",
            )
        if self.length is not None and not 1 <= self.length <= LONGEST_DRAFT:
            raise InvalidInput(f"A draft has 1 to {LONGEST_DRAFT} tokens, not {self.length}.")
        if self.early_exit is not None and self.mode == "speculative":
            raise InvalidInput(
                "Tokens are either drafted and verified, or leave the network early: choose one."
            )
        if self.acceptance not in get_args(AcceptanceRule):
            raise InvalidInput(
                f"There is no acceptance rule {self.acceptance!r}.",
                hint=f"Choose one of: {', '.join(get_args(AcceptanceRule))}.",
            )


@dataclass(frozen=True, slots=True)
class Sample:
    """One drawn answer: token ids with the natural log-probs the model gave them at temperature 1."""

    index: int
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: FinishReason
    greedy: bool
    text: str = ""
    answer: str | None = None
    """The canonical answer found in the text."""
    score: float | None = None
    """A scorer's probability that it is right; None where none was asked."""
    passed: bool | None = None
    """What a verifier said of it; None where none was asked, or it could not tell."""
    verdict: str = ""
    """The verifier's reason."""
    top_logprobs: tuple[tuple[tuple[int, float], ...], ...] = ()
    """For each token the likeliest ones in its place, with their log-probs; empty where none were asked for."""
    log_weight: float = 0.0
    """Of a constrained sample: natural log of its importance weight towards what would be drawn without the constraint,
    given that it is kept (after penalties and temperature; an unbiased estimate where it was drawn by rejection). 0 where
    nothing constrains it, and for a greedy one."""

    @property
    def complete(self) -> bool:
        """Whether the model itself ended it."""
        return self.finish_reason in ("end", "stop")


@dataclass(frozen=True, slots=True)
class Speculation:
    """What drafting and verifying did. Positions count from the first guess of a pass."""

    passes: int
    """Passes in which guesses could have been verified, those with none included."""
    tokens: int
    """Tokens these passes emitted."""
    drafted: tuple[int, ...]
    """Guesses verified, by position."""
    accepted: tuple[int, ...]
    """Of those, the ones that were right, by position."""
    by_drafter: dict[str, tuple[int, int]]
    """Guesses verified and accepted, by who made them."""
    seconds: float
    seconds_saved: float
    """Beside plain decoding, as far as this device's pass times tell; negative where it lost."""

    @property
    def tokens_per_pass(self) -> float:
        return self.tokens / self.passes if self.passes else 1.0


@dataclass(frozen=True, slots=True)
class EarlyExits:
    """Where tokens left the network. Cuts are named by the layers below them."""

    tokens: int
    """Tokens drawn, wherever from."""
    left: dict[int, int]
    """Of those, the ones drawn at a cut, by cut."""
    layers_run: int
    """Token by layer, with the late layers that tokens which left were brought through afterwards."""
    layers_full: int
    """What `layers_run` would be had no token left."""
    compared: int
    """Tokens that left and of which the whole network's first choice is known: those brought through."""
    agreed: int
    """Of those, the ones whose first choice at the cut was the same."""

    @property
    def mean_depth(self) -> float:
        """Layers that a pass read the weights of, on average: those behind the token it drew."""
        if not self.tokens:
            return 0.0
        stayed = self.tokens - sum(self.left.values())
        read = sum(cut * count for cut, count in self.left.items())
        return (read + stayed * self.layers_full / self.tokens) / self.tokens

    @property
    def agreement(self) -> float | None:
        """Share of first choices that were the whole network's; None where none was compared."""
        return self.agreed / self.compared if self.compared else None


@dataclass(frozen=True, slots=True)
class LeavingNote:
    """What leaving early cost and saved on held-out text, by a criterion and how strict it is.

    cuts: where tokens may leave. agreement: share of tokens that are the whole network's first choice, on
    the split that calibrated (first) and on another. depth: share of the layers that were run.
    """

    criterion: str
    strictness: float
    cuts: tuple[int, ...]
    agreement: tuple[float, float]
    depth: float


@dataclass(frozen=True, slots=True)
class Usage:
    """What an answer cost. Seconds are wall time; rates are tokens per second."""

    seconds: float
    prompt_tokens: int
    generated_tokens: int
    answer_tokens: int
    """Tokens of the sample that became the answer."""
    discarded_tokens: int
    """Generated tokens of everything else."""
    samples: int
    time_to_first_token: float | None
    tokens_per_second: float | None
    """Generated tokens of all samples over the time after the first token."""
    peak_memory_bytes: int
    """The process's largest resident size so far."""
    cached_tokens: int = 0
    """Tokens of the prompt that had been read before, for another question, and were not read again."""
    scoring_tokens: int = 0
    """Tokens read to have the model judge texts; they count towards a budget of tokens."""
    joules: float | None = None
    """Of the device while it was computed, shared with answers computed at the same time; None where nobody knows."""
    joules_low: float | None = None
    joules_high: float | None = None
    joules_source: str | None = None
    """measured or modelled, and by what."""
    speculation: Speculation | None = None
    """None where nothing could be drafted: plain decoding, or samples side by side."""
    early_exits: EarlyExits | None = None
    """None where no token could leave early."""


@dataclass(frozen=True, slots=True)
class Considered:
    """A way of computing the answer that a plan was chosen among, and what was predicted of it.

    what: in words. reason: why it was not taken, empty for the one that was. fits: whether it keeps every limit;
    what does not was not predicted further than that took.
    """

    what: str
    reason: str = ""
    fits: bool = True
    seconds: Interval | None = None
    joules: Interval | None = None
    tokens: Interval | None = None
    success: Interval | None = None
    utility: float | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What is about to be computed, and what it should take. Printed like EXPLAIN."""

    runtime: str
    strategy: str
    samples: int
    width: int
    """Branches decoded in one pass."""
    rounds: int
    max_tokens: int
    """Cap on the tokens of one sample."""
    stop_rule: str
    predicted_seconds: float | None = None
    step_seconds: float | None = None
    """Predicted time of one pass at `width`."""
    source: str = "default"
    """Where the step time comes from: measured (with date), modelled or default; emulated has none."""
    reason: str = ""
    considered: dict[str, float] = field(default_factory=dict)
    """Where several runtimes have the model: the seconds that were predicted for each."""
    seconds: Interval | None = None
    """Predicted, from the question to the answer; no later than the deadline, which is kept."""
    joules: Interval | None = None
    """None where the device's power is not known."""
    tokens: Interval | None = None
    """Generated by all samples."""
    memory_bytes: int | None = None
    """Of the caches of all branches at their longest, beside the loaded model."""
    success: Interval | None = None
    """Probability that the answer is right; None where nothing is known of that."""
    success_source: str = ""
    """What the probability was measured on, or that it is a prior."""
    utility: float | None = None
    """Expected worth less the price, by the objective; None where the success is not known."""
    objective: str = ""
    """What the plan was chosen for, in words."""
    power: str = ""
    """What the user asks for and what the device is in, in words."""
    approach: str = "reason"
    """reason, or direct: the model is asked for the answer alone."""
    decoding: str = "plain"
    """How a sample that runs alone comes to its tokens: plain, or speculative."""
    temperature: float | None = None
    """Of the samples but the first, greedy one; None where there is none, or where the caller said it."""
    rounds_at: tuple[int, ...] = ()
    """Samples in all after each round at which it is cheap to look at the votes; empty where no round is waited for."""
    price: float = 0.0
    """What a token costs, as a share of what a right answer is worth."""
    candidates: tuple[Considered, ...] = ()
    """What the plan was chosen among, the best first; of those that break a limit, one for each reason."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What `Engine.answer` returns."""

    text: str
    answer: str | None
    """The extracted, canonical answer that won the vote; None where there is none to extract."""
    confidence: float | None
    confidence_source: str
    samples: tuple[Sample, ...]
    plan: Plan
    revisions: tuple[Plan, ...]
    usage: Usage
    stop_reason: StopReason
    model: str
    budget: dict[str, float | int | None] = field(default_factory=dict)
    stop_detail: str = ""
    """What the stopping rule said, where one ended it."""
    abstained: bool = False
    """Whether text and answer are left empty since the confidence is too low for the risk; the samples are there."""
    abstention_reason: str = ""
    decisions: tuple[Decision, ...] = ()
    """What was decided while it was computed, in order."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class TextDelta:
    """New text of a streamed sample; whole characters only."""

    text: str
    sample: int = 0


@dataclass(frozen=True, slots=True)
class PlanMade:
    """The plan, before work starts or when it is revised."""

    plan: Plan


@dataclass(frozen=True, slots=True)
class SampleDone:
    """A sample ended; `done` of `planned` samples have."""

    sample: Sample
    done: int
    planned: int


@dataclass(frozen=True, slots=True)
class StepsTaken:
    """A step of a search: partial answers that are open now, and answers that have ended so far."""

    depth: int
    open: int
    ended: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of a stream."""

    answer: Answer


Event = TextDelta | PlanMade | SampleDone | StepsTaken | Finished
