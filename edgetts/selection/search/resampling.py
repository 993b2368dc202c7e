"""Weights of particles: how many they are worth, and how many copies of each to keep. Knows numbers only."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgetts.errors import InvalidInput

Numbers = NDArray[np.float64]

# Samples draw their tokens from generators of (seed, index), and a zero at the end changes none: a search of
# the same seed must not repeat the numbers of sample 0, or what it draws depends on what that wrote.
_OWN_STREAM = 0x5EA4C4


def generator(seed: int) -> np.random.Generator:
    """Make the random generator of a search: the same numbers for the same seed, on every platform."""
    return np.random.Generator(np.random.PCG64([seed, _OWN_STREAM]))


def log_sum(log_weights: Sequence[float] | Numbers) -> float:
    """Return the log of the sum of weights; minus infinity where all are zero."""
    largest = max(log_weights, default=-math.inf)
    if largest == -math.inf:
        return -math.inf
    return float(largest + math.log(math.fsum(math.exp(weight - largest) for weight in log_weights)))


def shares(log_weights: Sequence[float] | Numbers, temperature: float = 1.0) -> Numbers:
    """Return each weight's share of the sum after all are raised to 1 / temperature; equal where all are zero.

    Errors: InvalidInput for no weights, and for one that is not a number or infinite.
    """
    logs = np.asarray(log_weights, np.float64)
    if not logs.size or np.isnan(logs).any() or (logs == np.inf).any():
        raise InvalidInput("There are no weights, or one of them is no number.")
    largest = logs.max()
    if largest == -np.inf:
        return np.full(logs.size, 1 / logs.size)
    flat: Numbers = np.exp((logs - largest) / temperature)
    flat /= flat.sum()
    return flat


def effective_sample_size(probabilities: Sequence[float] | Numbers) -> float:
    """Return (sum w)^2 / sum w^2: from 1, one particle has it all, to their number, all weigh the same.

    "Sequential Imputations and Bayesian Missing Data Problems" (Kong, Liu and Wong, 1994).
    """
    weights = np.asarray(probabilities, np.float64)
    return float(weights.sum() ** 2 / (weights**2).sum())


def systematic(
    probabilities: Sequence[float] | Numbers, n: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """Draw n copies in all: each outcome gets n times its probability, rounded down or up; on average exactly.

    One number u moves a comb of n teeth, at (u + k) / n; an outcome gets the teeth that fall on its share
    ("Monte Carlo Filter and Smoother for Non-Gaussian Nonlinear State Space Models", Kitagawa, 1996).
    Errors: InvalidInput where the probabilities do not sum to 1.
    """
    weights = np.asarray(probabilities, np.float64)
    if n < 1 or not weights.size or not (weights >= 0).all() or abs(weights.sum() - 1) > 1e-6:
        raise InvalidInput("Copies are drawn, one or more, by probabilities that sum to 1.")
    edges = np.cumsum(weights)
    # Rounding must not lose the last tooth, nor give it to an outcome that cannot be.
    edges[np.flatnonzero(weights)[-1] :] = 1.0
    below = np.ceil(n * np.concatenate(([0.0], edges)) - random.random()).astype(np.int64)
    counts: NDArray[np.int64] = np.diff(np.maximum(below, 0))
    return counts


def annealing_temperature(effective: float, particles: int, progress: float) -> float:
    """Return the temperature of Entropic Annealing: max(1, N / ESS * (1 - t / T)).

    effective: the effective sample size; progress: t / T, the part of the search that is behind, 0 to 1.
    Few particles that have all the weight early on mean a high temperature, and so a flatter resampling
    ("Mitigating Premature Exploitation in Particle-based Monte Carlo for Inference-Time Scaling").
    """
    return max(1.0, particles / effective * (1 - min(1.0, progress)))
