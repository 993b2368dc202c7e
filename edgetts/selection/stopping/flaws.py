"""How often to try where a check of answers errs; knows rates and costs, not what is checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgetts.errors import InvalidInput
from edgetts.selection.aggregation.votes import Vote
from edgetts.selection.need import Need
from edgetts.selection.stopping.settings import spell
from edgetts.selection.stopping.votes import going_on
from edgetts.selection.verification.verifier import ErrorRates

MOST_ATTEMPTS = 1_000


@dataclass(frozen=True, slots=True)
class Outlook:
    """What trying until something passes comes to: probabilities of a right, a wrong and no answer; their value.

    `value`: right - cost_of_wrong * wrong - cost_of_attempt * attempts, where `attempts` are expected.
    """

    right: float
    wrong: float
    none: float
    attempts: float
    value: float


def ceiling(success_rate: float | Sequence[float], rates: ErrorRates) -> float | None:
    """Return the accuracy of what passes in the end, a / (a + b), however many attempts; None if nothing passes.

    a: a sample is right and passes; b: it is wrong and passes. Of several questions, those where something
    can pass. Source: "Inference Scaling fLaws: The Limits of LLM Resampling with Imperfect Verifiers".
    """
    passes = [(a, b) for a, b in _passes(success_rate, rates) if a + b > 0]
    return math.fsum(a / (a + b) for a, b in passes) / len(passes) if passes else None


def outlook(
    success_rate: float | Sequence[float],
    rates: ErrorRates,
    attempts: int,
    cost_of_wrong: float,
    cost_of_attempt: float = 0.0,
) -> Outlook:
    """Return what up to `attempts` samples come to: the first that passes is given, without one nothing.

    With q = a + b, at least one of K passes with probability 1 - (1 - q)^K =: P; the answer is right with probability
    P a / q, wrong with P b / q, and P / q samples are drawn in expectation (K where q is 0). Means over questions.
    """
    if attempts < 0:
        raise InvalidInput(f"There cannot be {attempts} attempts.")
    _check_costs(cost_of_wrong, cost_of_attempt)
    found = []
    for a, b in _passes(success_rate, rates):
        q = a + b
        # (1 - (1 - q)^K) / q, which is K where q is 0 and loses no digits where q is small.
        drawn = (
            -math.expm1(attempts * math.log1p(-q)) / q if 0 < q < 1 else min(attempts, 1) if q else attempts
        )
        found.append((drawn * a, drawn * b, drawn))
    right, wrong, tried = (math.fsum(column) / len(found) for column in zip(*found, strict=True))
    value = right - cost_of_wrong * wrong - cost_of_attempt * tried
    return Outlook(right, wrong, max(0.0, 1 - right - wrong), tried, value)


def best_attempts(
    success_rate: float | Sequence[float],
    rates: ErrorRates,
    cost_of_wrong: float,
    cost_of_attempt: float = 0.0,
    *,
    most: int = MOST_ATTEMPTS,
) -> int:
    """Return the K from 0 to `most` of the largest `outlook` value, the smallest of equals; 0 is not to try.

    success_rate: of one sample; one number, or one for each of some questions like those to come. A right answer
    gains 1. With one number each attempt is worth the same, so that K is 0 or `most` (or where nothing changes any
    more). With several there is a K between: what has not passed yet is more and more likely one of the hard
    questions, where what passes is wrong. That is the bend of the fLaws curves. The (K+1)-th attempt is
    worth the mean of (1 - q)^K (a - cost_of_wrong * b - cost_of_attempt).
    """
    _check_costs(cost_of_wrong, cost_of_attempt)
    questions = _passes(success_rate, rates)
    if most < 0:
        raise InvalidInput(f"There cannot be {most} attempts.")
    gains = [a - cost_of_wrong * b - cost_of_attempt for a, b in questions]
    fails = [max(0.0, 1 - a - b) for a, b in questions]
    reached = [1.0] * len(questions)
    value = best_value = 0.0
    best = 0
    for attempt in range(1, most + 1):
        value += math.fsum(r * gain for r, gain in zip(reached, gains, strict=True)) / len(gains)
        if value > best_value + 1e-12:
            best, best_value = attempt, value
        reached = [r * fail for r, fail in zip(reached, fails, strict=True)]
    return best


@dataclass(frozen=True, slots=True)
class FirstPass:
    """Stop when a sample has passed the verifier, or `attempts` samples have not; 0 attempts: no limit.

    `FirstPass(best_attempts(...))` is the fLaws' rule. A sample the verifier cannot judge counts as not passed.
    """

    attempts: int = 0

    def __post_init__(self) -> None:
        if self.attempts < 0:
            raise InvalidInput(f"There cannot be {self.attempts} attempts.", hint="0 sets no limit.")

    @property
    def name(self) -> str:
        return spell("first-pass", self)

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"verifier"})

    def stop(self, votes: Sequence[Vote], remaining: int) -> str | None:
        if not going_on(votes, remaining):
            return None
        if any(vote.passed for vote in votes):
            return "a sample passed the verifier"
        if self.attempts and len(votes) >= self.attempts:
            return f"{len(votes)} samples did not pass: a later pass is more likely wrong than worth it"
        return None


def _passes(success_rate: float | Sequence[float], rates: ErrorRates) -> list[tuple[float, float]]:
    """For each question: how often a sample is right and passes, and how often it is wrong and passes."""
    questions = [success_rate] if isinstance(success_rate, int | float) else list(success_rate)
    if not questions or not all(0 <= p <= 1 for p in questions):
        raise InvalidInput("Success rates must be from 0 to 1, at least one.")
    return [(p * rates.passes_right, (1 - p) * rates.passes_wrong) for p in questions]


def _check_costs(cost_of_wrong: float, cost_of_attempt: float) -> None:
    if not all(math.isfinite(cost) and cost >= 0 for cost in (cost_of_wrong, cost_of_attempt)):
        raise InvalidInput(
            "Costs must be zero or greater.", hint="They count in right answers, which gain 1."
        )
