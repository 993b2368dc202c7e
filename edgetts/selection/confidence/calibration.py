"""Turn a signal's value into a probability of being right, as held-out examples confirmed; knows no votes' texts."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from edgetts.errors import InvalidInput
from edgetts.selection.aggregation.votes import Tally, Vote
from edgetts.selection.confidence.combination import Combination
from edgetts.selection.confidence.isotonic import Knots, fit_isotonic, interpolate
from edgetts.selection.confidence.logistic import fit_platt, sigmoid
from edgetts.selection.confidence.selective import Quality, quality
from edgetts.selection.confidence.signals import SIGNALS, Signal, signal

Method = Literal["platt", "isotonic"]

ISOTONIC_FROM = 1_000
"""`auto` takes isotonic from this many examples on: with fewer it overfits, and Platt's two numbers do better
("Predicting Good Probabilities with Supervised Learning", which saw the crossing between 200 and 1,000)."""
ISOTONIC_EACH = 50
"""`auto` also wants this many right and this many wrong ones for isotonic."""


@dataclass(frozen=True, slots=True)
class Example:
    """A signal's value for one question, and whether the answer was right. `id` names the question."""

    id: str
    value: float
    right: bool


@dataclass(frozen=True, slots=True)
class Split:
    """Which questions a calibration was fitted on, and which it was tested on; no question in both.

    `data` names the recording, `rule` says how it was split. Ids are sorted.
    """

    data: str
    rule: str
    fitted: tuple[str, ...]
    held_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for ids in (self.fitted, self.held_out):
            if list(ids) != sorted(set(ids)):
                raise InvalidInput("A split's ids must be sorted, each once.")
        if both := set(self.fitted) & set(self.held_out):
            raise InvalidInput(
                f"{len(both)} questions are in both halves of the split, such as {min(both)!r}.",
                hint="Test a calibration on questions that it was not fitted on.",
            )

    @property
    def sha256(self) -> str:
        """Identify the split by its ids alone."""
        return hashlib.sha256(json.dumps([self.fitted, self.held_out]).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Calibration:
    """A non-decreasing map from a signal's value to the probability that the answer is right.

    platt: sigmoid(slope * value + intercept). isotonic: linear between `knots`. `combination`: what makes the
    signal's values, where it is a combination of several. `before` and `after`: how good the value as it stood and the
    probability were on the held-out questions of `split`; None where there were none.
    """

    method: Method
    signal: str
    split: Split
    slope: float = 0.0
    intercept: float = 0.0
    knots: Knots = ()
    combination: Combination | None = None
    before: Quality | None = None
    after: Quality | None = None

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise InvalidInput(
                f"There is no calibration method {self.method!r}.", hint="There are platt and isotonic."
            )
        numbers = (self.slope, self.intercept, *(x for knot in self.knots for x in knot))
        if not all(map(math.isfinite, numbers)):
            raise InvalidInput("A calibration's numbers must be finite.")
        if self.slope < 0:
            raise InvalidInput("A calibration's slope must not be negative: more is surer.")
        if bool(self.knots) != (self.method == "isotonic"):
            raise InvalidInput("An isotonic calibration has knots, and no other has.")
        for (x, low), (next_x, high) in zip(self.knots, self.knots[1:], strict=False):
            if next_x <= x or high < low:
                raise InvalidInput("A calibration's knots must rise.")
        if not all(0 <= y <= 1 for _, y in self.knots):
            raise InvalidInput("A calibration's knots must be probabilities.")

    @property
    def source(self) -> str:
        """Name it in a few words, for `Answer.confidence_source`."""
        return f"{self.signal} ({self.method} on {len(self.split.fitted)} of {self.split.data})"

    def apply(self, value: float) -> float:
        """Return the probability of being right for a signal's value, which must be finite."""
        if not math.isfinite(value):
            raise InvalidInput(f"The signal {self.signal} is {value}, which has no probability.")
        if self.method == "isotonic":
            return interpolate(self.knots, value)
        return sigmoid(self.slope * value + self.intercept)

    def measure(self) -> Signal:
        """Return the signal that this calibrates. Errors: InvalidInput where its name is not known."""
        return self.combination.signal() if self.combination else signal(self.signal)

    def confidence(self, votes: Sequence[Vote], tally: Tally) -> float | None:
        """Return the probability that a tally's answer is right; None where the votes do not tell."""
        value = self.measure()(votes, tally)
        return None if value is None else self.apply(value)


def calibrate(
    fitted: Sequence[Example],
    held_out: Sequence[Example] = (),
    *,
    signal: str,
    data: str,
    rule: str,
    method: Method | Literal["auto"] = "auto",
    combination: Combination | None = None,
) -> Calibration:
    """Fit a calibration on some questions and score it on others.

    auto: isotonic where there are `ISOTONIC_FROM` examples with `ISOTONIC_EACH` of either outcome, else Platt.
    A question may give several examples, such as after 4 and after 8 samples. data, rule: as in `Split`.
    Errors: InvalidInput for no examples, values that are not finite, or a question in both.
    """
    if not fitted:
        raise InvalidInput(
            "There are no examples to calibrate on.", hint="Record samples with known answers."
        )
    if not all(math.isfinite(one.value) for one in (*fitted, *held_out)):
        raise InvalidInput(f"A value of {signal} is not finite.", hint="Leave out what was not measured.")
    if combination is not None and signal != combination.name:
        raise InvalidInput(f"The signal {signal} is not the combination {combination.name}.")
    split = Split(
        data, rule, tuple(sorted({one.id for one in fitted})), tuple(sorted({one.id for one in held_out}))
    )
    pairs = sorted((one.value, one.right) for one in fitted)  # so that their order changes nothing
    values, right = [value for value, _ in pairs], [hit for _, hit in pairs]
    if method == "auto":
        rarer = min(sum(right), len(right) - sum(right))
        method = "isotonic" if len(right) >= ISOTONIC_FROM and rarer >= ISOTONIC_EACH else "platt"
    slope = intercept = 0.0
    knots: Knots = ()
    if method == "isotonic":
        knots = fit_isotonic(values, right)
    else:
        slope, intercept = fit_platt(values, right)
    plain = Calibration(method, signal, split, slope, intercept, knots, combination)
    if not held_out:
        return plain
    truth = [one.right for one in held_out]
    if combination is not None:
        before = [sigmoid(one.value) for one in held_out]
    else:
        as_it_stands = SIGNALS.get(signal)
        before = [
            as_it_stands.probability(one.value) if as_it_stands else min(1.0, max(0.0, one.value))
            for one in held_out
        ]
    return Calibration(
        method,
        signal,
        split,
        slope,
        intercept,
        knots,
        combination,
        before=quality(before, truth),
        after=quality([plain.apply(one.value) for one in held_out], truth),
    )
