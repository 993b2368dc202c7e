"""What a plan is asked for: numbers about the question, the model and what was asked; no text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from edgetts.control.cost.work import LengthLaw
from edgetts.control.planning.objective import Objective
from edgetts.control.success.mixing import CalibrationMatrix
from edgetts.control.success.model import Approach, SuccessModel
from edgetts.types import SPREAD_TEMPERATURE

DEFAULT_MAX_TOKENS = 1024
"""Cap of one sample where neither the caller nor a budget sets one."""
MAX_SAMPLES = 16
"""Samples a budget is spent on at most, unless the caller asks for more."""


@dataclass(frozen=True, slots=True)
class Way:
    """What samples are spent on. strategy, aggregator: by name; verified: by a verifier's name, "" without one.

    exact: the verifier passes what is right and nothing else, so that one right sample is enough.
    most: samples it can use. stops: when it ends, in words. steps: all its samples are open at once, and grow by steps.
    judging: tokens read to judge a text, once a sample or once a step. rounds: it looks at the votes after each round,
    and waits for it. expected: the share of the samples that it is expected to draw before it stops.
    """

    strategy: str = "self_consistency"
    aggregator: str = "majority"
    verified: str = ""
    exact: bool = False
    most: int | None = None
    stops: str = ""
    steps: bool = False
    judging: int = 0
    rounds: bool = False
    expected: float | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """How the model is asked. prompt: in tokens; known: those of them that need not be read. lengths: of the samples.

    temperatures: that may be chosen among. caps: of which it is known what they cost in success, to choose among where
    the caller sets none. matrix: of each calibration question, where there is one: it chooses the temperature of samples of
    which one right one is enough.
    """

    approach: Approach
    prompt: int
    lengths: LengthLaw
    temperatures: tuple[float, ...] = (SPREAD_TEMPERATURE,)
    caps: tuple[int, ...] = ()
    matrix: CalibrationMatrix | None = None
    known: int = 0

    @property
    def unread(self) -> int:
        return max(1, self.prompt - self.known)


@dataclass(frozen=True, slots=True)
class Typical:
    """A law by which every sample has the same length; for where no other is known."""

    tokens: int

    @property
    def provenance(self) -> str:
        return "one length"

    def quantiles(self, count: int) -> Sequence[float]:
        return [float(self.tokens)] * count


@dataclass(frozen=True, slots=True)
class Request:
    """What a plan is made for, on one runtime. Lengths in tokens, memory in bytes.

    room: tokens the context still holds after the longest prompt. max_tokens: of one sample, that the caller allows.
    memory_free: what the device has left now. seconds: until the deadline, None without one. deterministic: every
    sample would be the same. decoding: of a sample that runs alone; gain: how many times faster than by passes of its own
    it is expected to be; tokens_per_pass: what it may get at most from a pass, typically. opening: seconds until
    the runtime can begin. approaches: how the model may be asked, the usual one first. ways: what samples may be spent on;
    named: the caller chose it. whole_cache: tokens whose cache every branch takes from the start; 0 where caches grow. up_to: samples to choose among where the caller names no number; free: they are to be chosen
    though no limit is set. temperature: that the caller sets. power: mode and state in words. keep: candidates
    that the plan lists at most.
    """

    room: int
    max_tokens: int | None
    bytes_per_token: int
    memory_free: int
    parallel: bool
    runtime: str
    approaches: tuple[Asked, ...]
    seconds: float | None = None
    deterministic: bool = False
    temperature: float | None = None
    decoding: str = "plain"
    gain: float = 1.0
    tokens_per_pass: float = 1.0
    opening: float = 0.0
    ways: tuple[Way, ...] = (Way(),)
    named: bool = False
    free: bool = False
    up_to: int = MAX_SAMPLES
    success: SuccessModel | None = None
    objective: Objective = field(default_factory=Objective)
    power: str = ""
    keep: int = 8
    whole_cache: int = 0

    @property
    def prompt(self) -> int:
        """Tokens of the usual way to ask."""
        return self.approaches[0].prompt

    @property
    def expected(self) -> int:
        """The typical length of a sample."""
        return max(1, round(self.approaches[0].lengths.quantiles(1)[0]))
