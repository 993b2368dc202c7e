"""Recorded samples as they are drawn again: how many draws each takes, and what it says when it is whole."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgetts.evaluation.loading import votes_of
from edgetts.evaluation.record import ProblemRecord, SampleRecord
from edgetts.selection.aggregation import Vote
from edgetts.types import FinishReason

_REASONS: dict[str, FinishReason] = {"end": "end", "stop": "stop", "length": "length"}


@dataclass(frozen=True, slots=True)
class Recorded:
    """One sample that can be drawn again.

    draws: tokens drawn until it ends, those that are none of its tokens included: the model's end, what a stop string
    took back. kept: tokens it has then. vote: what it says when it is whole.
    """

    record: SampleRecord
    vote: Vote
    draws: int
    kept: int
    finish: FinishReason
    logprob: float


@dataclass(frozen=True, slots=True)
class Pool:
    """The samples of one problem that can be drawn again, in recorded order; `cut` were not recorded to their end."""

    problem: ProblemRecord
    samples: tuple[Recorded, ...]
    cut: int

    @property
    def greedy_first(self) -> bool:
        return bool(self.samples) and self.samples[0].record.greedy


def pool_of(problem: ProblemRecord) -> Pool:
    """Take the samples that ended by themselves or at their limit: of others nobody knows how they would go on."""
    votes = votes_of(problem)
    samples = tuple(
        _recorded(record, vote) for record, vote in zip(problem.samples, votes, strict=True) if not record.cut
    )
    return Pool(problem, samples, len(problem.samples) - len(samples))


def orders(pool: Pool, count: int, seed: int) -> Iterator[Sequence[Recorded]]:
    """Yield the samples in `count` orders: as recorded, then shuffled, a greedy first sample always first."""
    yield pool.samples
    first, rest = (pool.samples[:1], pool.samples[1:]) if pool.greedy_first else ((), pool.samples)
    rng = random.Random(f"{seed}:{pool.problem.id}")  # noqa: S311  # not for secrets
    for _ in range(count - 1):
        shuffled = list(rest)
        rng.shuffle(shuffled)
        yield (*first, *shuffled)


def _recorded(record: SampleRecord, vote: Vote) -> Recorded:
    finish = _REASONS.get(record.finish_reason, "end" if record.finished else "length")
    tokens = len(record.tokens)
    # The limit ends a sample with its last token, the model with one more.
    draws = max(1, tokens if finish == "length" else tokens + 1)
    return Recorded(record, vote, draws, tokens, finish, math.fsum(record.logprobs))
