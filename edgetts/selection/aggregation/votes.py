"""What is counted, and what a count says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from edgetts.errors import InvalidInput
from edgetts.selection.answers import Extracted
from edgetts.selection.need import Need
from edgetts.types import Sample


@dataclass(frozen=True, slots=True)
class Vote:
    """One sample's answer, and what is known of its text.

    `answer` is canonical: equal for samples of one class of equivalent answers, or None where none was
    found. `logprob` is the sum over its `tokens` tokens, in nats. `complete`: the model ended the text itself.
    `explicit`: the text states the answer, so that it is no guess such as the last number.
    `answer_logprob`: the sum over the `answer_tokens` tokens that spell the answer, given all before them.
    `path`: what makes two samples the same text, such as the token ids; () where that is not known.
    `score`: a scorer's probability that it is right, 0 to 1. `passed`: a verifier's verdict.
    None says that something is not known.
    """

    sample: int
    answer: str | None
    logprob: float
    tokens: int
    complete: bool = True
    explicit: bool = True
    answer_logprob: float | None = None
    answer_tokens: int = 0
    path: tuple[int, ...] = ()
    score: float | None = None
    passed: bool | None = None

    def __post_init__(self) -> None:
        if self.sample < 0 or self.tokens < 0:
            raise InvalidInput(
                f"A vote's sample ({self.sample}) and tokens ({self.tokens}) must not be negative."
            )
        if math.isnan(self.logprob) or self.logprob == math.inf:
            raise InvalidInput(f"The log-prob of sample {self.sample} is {self.logprob}, which is none.")
        if self.answer_logprob is not None and not self.answer_logprob < math.inf:
            raise InvalidInput(
                f"The answer's log-prob in sample {self.sample} is {self.answer_logprob}, which is none."
            )
        if self.answer_tokens < 0:
            raise InvalidInput(f"An answer's tokens ({self.answer_tokens}) must not be negative.")
        if self.score is not None and not 0 <= self.score <= 1:
            raise InvalidInput(
                f"The score of sample {self.sample} is {self.score}, but it must be from 0 to 1.",
                hint="A scorer returns the probability that the text is right.",
            )

    @classmethod
    def of(cls, sample: Sample, found: Extracted | None) -> Vote:
        """The vote of a drawn sample for the answer found in its text."""
        return cls(
            sample=sample.index,
            answer=found.canonical if found else None,
            logprob=math.fsum(sample.logprobs),
            tokens=len(sample.tokens),
            complete=sample.complete,
            explicit=found is not None and found.explicit,
            path=sample.tokens,
        )

    @property
    def counts(self) -> bool:
        """Whether it is counted: a text cut short votes only for an answer that it states.

        The last number of an unfinished calculation is an intermediate result, and wrong ones agree
        by repeating the question's own numbers.
        """
        return self.answer is not None and (self.complete or self.explicit)

    @property
    def mean_logprob(self) -> float:
        """Nats per token; minus infinity for an empty sample."""
        return self.logprob / self.tokens if self.tokens else -math.inf

    @property
    def weight(self) -> float:
        """The geometric mean of its tokens' probabilities, from 0 to 1."""
        return math.exp(min(0.0, self.mean_logprob))


@dataclass(frozen=True, slots=True)
class Tally:
    """The outcome of a vote.

    `answer` is None where no vote counted; `sample` is the index of the sample to show in any case.
    `counts` (votes for each) and `distribution` (what the aggregator believes of each, of sum 1) have the same
    answers and run from the winner down; one that the aggregator left out has its votes and 0. `confidence` is the winner's share of the distribution, and None with fewer than two counted
    votes: one voice cannot agree or disagree. `confidence_source` names the aggregator.
    """

    answer: str | None
    sample: int
    counts: Mapping[str, int]
    distribution: Mapping[str, float]
    confidence: float | None
    confidence_source: str


@runtime_checkable
class Aggregator(Protocol):
    """Choose an answer among votes, deterministically, whatever their order."""

    @property
    def name(self) -> str: ...

    @property
    def needs(self) -> frozenset[Need]:
        """What votes must bring; without it the aggregator raises InvalidInput."""
        ...

    def __call__(self, votes: Sequence[Vote]) -> Tally: ...
