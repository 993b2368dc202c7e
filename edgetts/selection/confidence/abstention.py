"""Say whether to answer at all, for what a wrong answer costs; knows confidences, not answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgetts.errors import InvalidInput
from edgetts.selection.confidence.metrics import check
from edgetts.selection.confidence.selective import selective_curve


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether to answer, and why; `confidence` is None where it was not known."""

    answer: bool
    confidence: float | None
    threshold: float
    reason: str


@dataclass(frozen=True, slots=True)
class Abstention:
    """Answer where confidence is at least `threshold`, which was set for `risk`.

    `risk`: what a wrong answer costs, where a right one gains 1 and none gains 0. `source` says where the threshold is
    from. Made by `at_risk` or `chosen_on`. An infinite threshold never answers.
    """

    threshold: float
    risk: float
    source: str

    def __post_init__(self) -> None:
        if not (math.isfinite(self.risk) and self.risk >= 0):
            raise InvalidInput(
                f"The risk is {self.risk}, but it must be zero or greater.",
                hint="It is what a wrong answer costs, in right answers.",
            )
        if math.isnan(self.threshold):
            raise InvalidInput("The threshold for answering is NaN.")

    @classmethod
    def at_risk(cls, risk: float, source: str = "calibrated") -> Abstention:
        """For calibrated probabilities: answering gains p - (1 - p) * r, which is worth it from r / (1 + r) on.

        source: "uncalibrated" where the confidence is taken for a probability that nobody confirmed.
        """
        return cls(risk / (1 + risk) if math.isfinite(risk) and risk >= 0 else 0.0, risk, source)

    @classmethod
    def chosen_on(cls, values: Sequence[float], right: Sequence[bool], risk: float) -> Abstention:
        """For any signal: the threshold of the largest mean gain on examples, which must not be tested on again.

        Among thresholds that gain the same the highest is taken, that answers least.
        """
        check(values, right)
        n = len(right)
        rule = cls(math.inf, risk, f"chosen on {n} examples")
        best = 0.0
        for point in selective_curve(values, right):
            gain = point.coverage * (point.accuracy - (1 - point.accuracy) * risk)
            if gain > best + 1e-12:
                best, rule = gain, cls(point.threshold, risk, rule.source)
        return rule

    def decide(self, confidence: float | None) -> Decision:
        """Decide on one answer."""
        if self.threshold <= 0:
            return Decision(True, confidence, self.threshold, "a wrong answer costs nothing")
        if confidence is None or math.isnan(confidence):
            return Decision(False, None, self.threshold, "how sure to be is not known")
        if confidence >= self.threshold:
            reason = f"confidence {confidence:.2f} reaches {self.threshold:.2f}"
        elif self.threshold == math.inf:
            reason = f"nothing was worth a wrong answer's cost of {self.risk:g}"
        else:
            reason = f"confidence {confidence:.2f} is below {self.threshold:.2f}"
        where = f", for a risk of {self.risk:g} ({self.source})"
        return Decision(confidence >= self.threshold, confidence, self.threshold, reason + where)


def mean_gain(answered: Sequence[bool], right: Sequence[bool], risk: float) -> float:
    """Return the mean of +1 for right, -risk for wrong and 0 for no answer: what `Abstention` maximises."""
    check([float(one) for one in answered], right)
    return math.fsum(
        (1.0 if hit else -risk) if one else 0.0 for one, hit in zip(answered, right, strict=True)
    ) / len(right)
