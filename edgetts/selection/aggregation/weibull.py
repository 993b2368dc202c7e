"""Split positive numbers into two groups by a mixture of two Weibull distributions; knows numbers only.

All of it is in logs: the log of a Weibull variable with shape k and scale s has the density
k exp(k z) exp(-exp(k z)) at z = log x - log s, up to the factor 1 / x that both components share.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

LEAST_WEIGHT = 0.2
"""Neither component has less of the mixture, as in the authors' code; without a bound one dies out on few numbers."""
SHAPES = (0.05, 100.0)
"""Bounds of the shape. A larger one is a spread below 1.3%: a component that sits on one number, of likelihood
without bound."""
_ROUNDS = 300
_NEWTON_STEPS = 2
"""Each step raises the likelihood; the next round goes on from there."""


@dataclass(frozen=True, slots=True)
class Weibull:
    """Shape k and the log of the scale."""

    shape: float
    log_scale: float

    @property
    def log_mean(self) -> float:
        """The log of scale x Gamma(1 + 1 / shape)."""
        return self.log_scale + math.lgamma(1 + 1 / self.shape)

    def log_density(self, log_x: float) -> float:
        """Return the log of the density of log x."""
        z = self.shape * (log_x - self.log_scale)
        return math.log(self.shape) + z - math.exp(min(z, 700.0))


@dataclass(frozen=True, slots=True)
class Mixture:
    """`weight` of the mixture is `high`, the component with the larger mean; the rest is `low`."""

    weight: float
    high: Weibull
    low: Weibull

    def more_likely_low(self, log_x: float) -> bool:
        """Whether a number belongs rather to the lower component."""
        high = math.log(self.weight) + self.high.log_density(log_x)
        return math.log1p(-self.weight) + self.low.log_density(log_x) > high


def fit(logs: Sequence[float]) -> Mixture | None:
    """Fit a mixture to numbers given as logs, by expectation-maximisation from a split at their median.

    Each component's parameters maximise its weighted likelihood: the scale is the k-th power mean, and the shape
    solves sum w x^k log x / sum w x^k - 1 / k = mean of log x. Returns None for fewer than two different
    numbers. Deterministic, and independent of the order of numbers.
    """
    values = sorted(logs)
    if not values or values[0] == values[-1]:
        return None
    half = len(values) // 2
    shares = [0.0 if i < half else 1.0 for i in range(len(values))]
    if len(values) % 2:
        shares[half] = 0.5
    high, low = _start(values[half:]), _start(values[: half + len(values) % 2])
    weight, last = 0.5, -math.inf
    for _ in range(_ROUNDS):
        high = _component(values, shares, high.shape)
        low = _component(values, [1 - share for share in shares], low.shape)
        weight = min(max(math.fsum(shares) / len(values), LEAST_WEIGHT), 1 - LEAST_WEIGHT)
        likelihood = 0.0
        for i, value in enumerate(values):
            of_high = math.log(weight) + high.log_density(value)
            of_low = math.log1p(-weight) + low.log_density(value)
            top = max(of_high, of_low)
            both = top + math.log(math.exp(of_high - top) + math.exp(of_low - top))
            shares[i] = math.exp(of_high - both)
            likelihood += both
        if abs(likelihood - last) < 1e-7 * len(values):
            break
        last = likelihood
    if high.log_mean < low.log_mean:
        high, low, weight = low, high, 1 - weight
    return Mixture(weight, high, low)


def _start(values: Sequence[float]) -> Weibull:
    """A shape to begin with: the log of a Weibull variable has the deviation pi / (sqrt(6) shape)."""
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / len(values)
    shape = math.pi / math.sqrt(6 * variance) if variance > 0 else SHAPES[1]
    return Weibull(min(max(shape, SHAPES[0]), SHAPES[1]), mean)


def _component(values: Sequence[float], shares: Sequence[float], shape: float) -> Weibull:
    """Maximise the weighted likelihood of one Weibull, by Newton steps that at most double or halve the shape."""
    total = math.fsum(shares)
    if total <= 1e-12:
        return Weibull(shape, values[-1])
    # Relative to the largest number no power overflows.
    top = values[-1]
    relative = [value - top for value in values]
    mean = math.fsum(share * value for share, value in zip(shares, relative, strict=True)) / total
    powers: list[float] = []
    for step in range(_NEWTON_STEPS + 1):
        powers = [share * math.exp(shape * value) for share, value in zip(shares, relative, strict=True)]
        moment = math.fsum(powers)
        if step == _NEWTON_STEPS or moment <= 0:
            break
        first = math.fsum(p * value for p, value in zip(powers, relative, strict=True)) / moment
        second = math.fsum(p * value * value for p, value in zip(powers, relative, strict=True)) / moment
        slope = second - first * first + 1 / shape**2
        wanted = shape - (first - 1 / shape - mean) / slope
        wanted = min(max(wanted, shape / 2, SHAPES[0]), shape * 2, SHAPES[1])
        if abs(wanted - shape) < 1e-9 * shape:
            break
        shape = wanted
    moment = math.fsum(powers)
    if moment <= 0:
        return Weibull(shape, top + mean)
    return Weibull(shape, top + math.log(moment / total) / shape)
