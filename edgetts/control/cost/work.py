"""What a plan would compute, and what that is predicted to cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from edgetts.interval import Interval

LEVEL = 0.9
"""Of the intervals that are predicted."""


class LengthLaw(Protocol):
    """How long the samples of one kind of question get, in tokens, were nothing to cut them."""

    @property
    def provenance(self) -> str:
        """How it is known, in words: "24 samples of this task", "a guess"."""
        ...

    def quantiles(self, count: int) -> Sequence[float]:
        """Return `count` equally likely lengths, the shorter first: the quantiles (i + 1/2) / count."""
        ...


@dataclass(frozen=True, slots=True)
class Work:
    """Everything that the cost of a plan depends on, but for the device. Lengths and `judging` in tokens.

    cap: of one sample. rounds: samples in all after each round, rising to `samples`, where it waits for a round to end
    before the next begins; empty: another sample begins where one has ended. gain: how many times faster than by
    passes of its own a sample alone is expected to come to its tokens. judging: tokens read to judge one text.
    expected: samples that are expected to be drawn before a rule stops it; None is all of them. whole_cache: as in
    `Request`. known: tokens of the prompt that need not be read.
    """

    prompt: int
    samples: int
    width: int
    cap: int
    lengths: LengthLaw
    rounds: tuple[int, ...] = ()
    gain: float = 1.0
    judging: int = 0
    expected: float | None = None
    bytes_per_token: int = 0
    whole_cache: int = 0
    known: int = 0


@dataclass(frozen=True, slots=True)
class Prediction:
    """Cost at level `LEVEL`. tokens: generated, of all samples. joules: None where no power is known."""

    seconds: Interval
    tokens: Interval
    joules: Interval | None
    memory_bytes: int
