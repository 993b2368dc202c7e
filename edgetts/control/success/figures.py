"""What is measured of one way of drawing samples at one task. Numbers only."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from edgetts.control.success.coverage import CoverageLaw
from edgetts.control.success.difficulty import Difficulty
from edgetts.control.success.interpolation import step
from edgetts.control.success.model import Approach
from edgetts.interval import Interval

MOST_QUESTIONS = 4096
"""Of which it is kept how often each was answered rightly."""
Knots = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Share:
    """How often one sample is right: a posterior Beta(right, wrong), and its middle 90%, `low` to `high`.

    Samples of one question are alike, so that `right` + `wrong` is far less than how many there were.
    """

    right: float
    wrong: float
    low: float
    high: float

    @property
    def value(self) -> float:
        return self.right / (self.right + self.wrong)


@dataclass(frozen=True, slots=True)
class VoteCurve:
    """P(right) by how many samples vote, where each may have `cap` tokens.

    points: rising in samples. aggregator: by name; verified: by a verifier's name, "" without one.
    """

    aggregator: str
    verified: str
    cap: int
    points: tuple[tuple[int, Interval], ...]


@dataclass(frozen=True, slots=True)
class Reliability:
    """How often the vote of `samples` is right, by the winner's share of the samples.

    knots: a function that never falls. counts: (share, right, all) in questions; parts of one where its samples were
    counted in several orders.
    """

    samples: int
    knots: Knots
    counts: tuple[tuple[float, float, float], ...] = ()

    def probability(self, share: float) -> float:
        return step(self.knots, share)


@dataclass(frozen=True, slots=True)
class VerifierCounts:
    """Texts that a verifier passed, failed and could not tell, of the right ones and of the wrong ones."""

    name: str
    right: tuple[int, int, int]
    wrong: tuple[int, int, int]

    @property
    def passes_right(self) -> float:
        return (self.right[0] + 0.5) / (sum(self.right) + 1)

    @property
    def passes_wrong(self) -> float:
        return (self.wrong[0] + 0.5) / (sum(self.wrong) + 1)


@dataclass(frozen=True, slots=True)
class TaskLengths:
    """Tokens of samples: equally likely lengths, the shorter first, of `samples` that were drawn.

    cut: share that were cut at `cap` tokens; of those it is known only that they would be longer. A `LengthLaw`.
    """

    values: tuple[float, ...]
    samples: int
    cut: float
    cap: int

    @property
    def provenance(self) -> str:
        return f"{self.samples} samples of this task"

    def quantiles(self, count: int) -> tuple[float, ...]:
        """Return the quantiles (i + 1/2) / count; where samples were cut, the cap stands for what is beyond it."""
        knots = [((i + 0.5) / len(self.values), value) for i, value in enumerate(self.values)]
        return tuple(step(knots, (i + 0.5) / count) for i in range(count))


@dataclass(frozen=True, slots=True)
class Check:
    """How far P(right) of the vote of `samples` by its agreement is off on questions that it was not fitted on.

    error: expected calibration error; raw: of the agreement itself, taken for a probability. brier: mean squared
    error. Means over `splits` halvings of the questions.
    """

    samples: int
    error: float
    raw: float
    brier: float
    splits: int


@dataclass(frozen=True, slots=True)
class ByQuestion:
    """How often each question was answered rightly, so that drawings of the same questions can be mixed.

    questions: `fingerprint` of their texts, rising. greedy: of the greedy sample, 1 or 0; drawn: share of the others.
    """

    questions: tuple[int, ...]
    greedy: tuple[float, ...]
    drawn: tuple[float, ...]


def fingerprint(question: str) -> int:
    """Return a number that tells questions apart and tells nothing of their text; 48 bits."""
    return int(hashlib.sha256(question.encode(errors="surrogateescape")).hexdigest()[:12], 16)


@dataclass(frozen=True, slots=True)
class Drawing:
    """Everything known of one approach and temperature. samples: of each question, at most `cap` tokens each.

    data: which questions, in words; date: ISO day. votes: for each aggregator or verifier and cap, the smaller caps first.
    """

    approach: Approach
    temperature: float
    questions: int
    samples: int
    cap: int
    data: str
    date: str
    lengths: TaskLengths
    votes: tuple[VoteCurve, ...]
    greedy: Share | None = None
    sampled: Share | None = None
    coverage: CoverageLaw | None = None
    reliability: tuple[Reliability, ...] = ()
    verifiers: tuple[VerifierCounts, ...] = ()
    difficulty: Difficulty | None = None
    checks: tuple[Check, ...] = ()
    by_question: ByQuestion | None = None
