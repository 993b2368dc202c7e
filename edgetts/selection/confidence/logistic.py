"""Fit a logistic regression by Newton's method; knows numbers, not what they measure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgetts.errors import InvalidInput

_STEPS = 100
_HALVINGS = 40
_TINY_RIDGE = 1e-10
"""Keeps the Hessian invertible where a column is constant; Lin et al. add as much."""


def sigmoid(log_odds: float) -> float:
    """Return the probability of log-odds, without overflow."""
    if log_odds >= 0:
        return 1 / (1 + math.exp(-log_odds))
    odds = math.exp(log_odds)
    return odds / (1 + odds)


def fit_logistic(
    rows: Sequence[Sequence[float]], targets: Sequence[float], *, penalty: float = 0.0
) -> tuple[tuple[float, ...], float]:
    """Return the weights and the intercept that minimise cross-entropy + penalty / 2 * |weights|^2.

    rows: n of equal length, finite. targets: n probabilities, 0 to 1. penalty: of weights of standardised
    columns (mean 0, deviation 1); the intercept is free. Newton steps are halved until they descend, so it
    converges from anywhere: the objective is convex. Source: iteratively reweighted least squares, with the
    safeguards of "A Note on Platt's Probabilistic Outputs for Support Vector Machines".
    """
    import numpy as np  # only fitting needs it; applying what was fitted does not

    if not rows or len(rows) != len(targets):
        raise InvalidInput(f"There are {len(rows)} rows and {len(targets)} targets to fit.")
    x = np.asarray(rows, dtype=np.float64)
    t = np.asarray(targets, dtype=np.float64)
    if x.ndim != 2 or not (np.isfinite(x).all() and np.isfinite(t).all()):
        raise InvalidInput("Rows to fit must be finite and of one length.")
    centre, scale = x.mean(axis=0), x.std(axis=0)
    scale[scale < 1e-12] = 1.0
    design = np.column_stack([(x - centre) / scale, np.ones(len(x))])
    ridge = np.full(design.shape[1], penalty + _TINY_RIDGE)
    ridge[-1] = _TINY_RIDGE
    beta = np.zeros(design.shape[1])
    base = min(1 - 1e-9, max(1e-9, float(t.mean())))
    beta[-1] = math.log(base / (1 - base))

    def loss(b: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
        z = design @ b
        return float(np.sum(np.logaddexp(0, z) - t * z) + 0.5 * np.sum(ridge * b * b))

    best = loss(beta)
    for _ in range(_STEPS):
        p = 0.5 * (1 + np.tanh(0.5 * (design @ beta)))
        gradient = design.T @ (p - t) + ridge * beta
        if float(np.abs(gradient).max()) < 1e-10 * len(x):
            break
        hessian = (design * (p * (1 - p))[:, None]).T @ design + np.diag(ridge)
        step = np.linalg.solve(hessian, gradient)
        for halving in range(_HALVINGS):
            shorter = beta - step * 0.5**halving
            found = loss(shorter)
            if found < best:
                break
        else:
            break  # nothing descends any more: rounding is what is left
        beta, best = shorter, found
    weights = beta[:-1] / scale
    return tuple(float(w) for w in weights), float(beta[-1] - np.sum(weights * centre))


def fit_platt(values: Sequence[float], right: Sequence[bool]) -> tuple[float, float]:
    """Return slope and intercept of P(right) = sigmoid(slope * value + intercept).

    Targets are (n+ + 1) / (n+ + 2) for right and 1 / (n- + 2) for wrong, so that separable or one-sided data give
    finite coefficients. A signal is surer where it is larger: a negative slope is chance or a broken
    signal, and the fit falls back to a constant. Source: "Probabilistic Outputs for Support Vector Machines"
    (Platt 1999).
    """
    positive = sum(right)
    hit = (positive + 1) / (positive + 2)
    miss = 1 / (len(right) - positive + 2)
    targets = [hit if one else miss for one in right]
    (slope,), intercept = fit_logistic([[value] for value in values], targets)
    if slope < 0:
        base = math.fsum(targets) / len(targets)
        return 0.0, math.log(base / (1 - base))
    return slope, intercept
