"""Measure how often a verifier errs, from texts of which it is known whether they are right."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

from edgetts.errors import InvalidInput
from edgetts.selection.verification.verifier import ErrorRates, Verdict

LEVEL = 0.95
_HALVINGS = 60


@dataclass(frozen=True, slots=True)
class MeasuredRates:
    """How many right and wrong texts passed, failed, or got no verdict, with intervals of that `level`.

    A text without a verdict has not passed. `precision` is the share of right texts among those that
    passed; unlike the rates it changes with how many texts are right at all.
    """

    right_passed: int
    right_failed: int
    right_untold: int
    wrong_passed: int
    wrong_failed: int
    wrong_untold: int
    level: float = LEVEL

    @property
    def texts(self) -> int:
        return self._right + self._wrong

    @property
    def _right(self) -> int:
        return self.right_passed + self.right_failed + self.right_untold

    @property
    def _wrong(self) -> int:
        return self.wrong_passed + self.wrong_failed + self.wrong_untold

    @property
    def rates(self) -> ErrorRates:
        """The shares seen. Errors: InvalidInput without a right text, or without a wrong one."""
        if not self._right or not self._wrong:
            kind = "wrong" if self._right else "right"
            raise InvalidInput(
                f"Error rates cannot be measured without {kind} texts.", hint="Measure on more texts."
            )
        return ErrorRates(
            self.right_passed / self._right,
            self.wrong_passed / self._wrong,
            f"measured on {self.texts} texts",
        )

    @property
    def cautious(self) -> ErrorRates:
        """The worse ends of both intervals, for whoever must not trust a verifier too much."""
        return ErrorRates(
            self.passes_right[0],
            self.passes_wrong[1],
            f"the worse ends of what was measured on {self.texts} texts",
        )

    @property
    def passes_right(self) -> tuple[float, float]:
        return clopper_pearson(self.right_passed, self._right, self.level)

    @property
    def passes_wrong(self) -> tuple[float, float]:
        return clopper_pearson(self.wrong_passed, self._wrong, self.level)

    @property
    def precision(self) -> float | None:
        """None where none passed."""
        passed = self.right_passed + self.wrong_passed
        return self.right_passed / passed if passed else None

    @property
    def precision_interval(self) -> tuple[float, float]:
        return clopper_pearson(self.right_passed, self.right_passed + self.wrong_passed, self.level)


def measure(outcomes: Iterable[tuple[Verdict, bool]], *, level: float = LEVEL) -> MeasuredRates:
    """Count verdicts of texts that are right (True) or wrong.

    Samples of one question are alike, so that intervals from many samples of few questions are too
    narrow: give one sample a question where that matters.
    """
    _check_level(level)
    counts = {(right, passed): 0 for right in (True, False) for passed in (True, False, None)}
    for verdict, right in outcomes:
        counts[right, verdict.passed] += 1
    return MeasuredRates(
        right_passed=counts[True, True],
        right_failed=counts[True, False],
        right_untold=counts[True, None],
        wrong_passed=counts[False, True],
        wrong_failed=counts[False, False],
        wrong_untold=counts[False, None],
        level=level,
    )


@lru_cache(maxsize=256)
def clopper_pearson(successes: int, trials: int, level: float = LEVEL) -> tuple[float, float]:
    """Return the exact interval of a share: the shares that neither one-sided test at (1 - level) / 2 refuses.

    It covers the true share at least `level` of the time. Without trials it is 0 to 1. The binomial tails
    are summed and inverted by halving.
    Source: "The Use of Confidence or Fiducial Limits Illustrated in the Case of the Binomial".
    """
    _check_level(level)
    if not 0 <= successes <= trials:
        raise InvalidInput(f"There is no share of {successes} in {trials}.")
    risk = (1 - level) / 2
    low = 0.0 if successes == 0 else _inverse(lambda p: _at_least(successes, trials, p), risk)
    high = (
        1.0 if successes == trials else 1 - _inverse(lambda p: _at_least(trials - successes, trials, p), risk)
    )
    return low, high


def _inverse(rising: Callable[[float], float], value: float) -> float:
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < value else (low, middle)
    return (low + high) / 2


def _at_least(successes: int, trials: int, share: float) -> float:
    """The probability of so many successes or more; `share` is neither 0 nor 1."""
    odds, miss = math.log(share), math.log1p(-share)
    whole = math.lgamma(trials + 1)
    return math.fsum(
        math.exp(whole - math.lgamma(k + 1) - math.lgamma(trials - k + 1) + k * odds + (trials - k) * miss)
        for k in range(successes, trials + 1)
    )


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise InvalidInput(f"The level of an interval is {level}, but it must be between 0 and 1.")
