"""Sample under a constraint by asking for single tokens: adaptive weighted rejection sampling.

Knows weights, a matcher and a generator; no logits, no penalties, no filters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgetts.decoding.constraint import Matcher
from edgetts.decoding.inversion import Floats, Uniform, Wheel

PATIENCE = 4
"""Tokens asked for at most before the whole mask is computed instead. A place where so many in a row are not allowed is
mostly one where nearly nothing is; and a draw with its question takes about as long as a mask by llguidance at a
vocabulary of 49,152 (`benchmarks/rejection.py`)."""
# Where less than this is left of weights of which the best was 1, single precision tells them apart no more.
_LEAST = 1e-30
# Likewise of what is left beside a token: a second one could change the estimate by no more than it is rounded anyway.
_NOTHING = 1e-7


@dataclass(frozen=True, slots=True)
class Accepted:
    """A token that may come, and the log of an unbiased estimate of how likely a draw may come."""

    token: int
    log_share: float


def reject(weights: Floats, matcher: Matcher, random: Uniform, patience: int = PATIENCE) -> Accepted | None:
    """Draw from weights [V], take off what may not come, and draw again until a token may; None where patience ends.

    weights: of which the best is about 1; they are used up. What is drawn is distributed as the weights of the allowed
    tokens are, and so is what the whole mask gives where this gives up: each draw from what is left accepts an allowed
    token in proportion to its weight, whatever was taken off before.

    The estimate of Z, the allowed tokens' share of all weights: with S taken off, Z is exactly the share that is not in
    S times Z_S, the share of the rest that is allowed. When x is accepted, with probability q among the rest, one more
    token y is drawn from the rest without x: g = 1 if y may come too, otherwise g = q, so that E[g] = q + (1 - q) P(y
    may come) = Z_S. By induction over S the product of shares and g has E[estimate * 1(x is drawn)] = p(x), for x
    allowed: token and estimate are properly weighted together, as importance sampling needs it. (Lipkin et al., 2025,
    "Fast Controlled Generation from Language Models with Adaptive Weighted Rejection Sampling".) The estimate is never 0.
    """
    wheel = Wheel(weights)
    whole = left = wheel.total
    for _ in range(patience):
        if not left > _LEAST:
            return None
        token = wheel.draw(random)
        likely = float(weights[token]) / left
        wheel.remove(token)
        rest = wheel.total
        if matcher.allows(token):
            log_share = math.log(left / whole)
            if rest > max(_LEAST, _NOTHING * left) and not matcher.allows(wheel.draw(random)):
                log_share += math.log(likely)
            return Accepted(token, min(0.0, log_share))
        left = rest
    return None


def best_allowed(logits: Floats, matcher: Matcher, patience: int = PATIENCE) -> int | None:
    """Return the likeliest token that may come, the lowest id among equals; None where patience ends.

    Asks in descending order, and looks for the next only when the one before may not come.
    """
    left = logits
    for asked in range(patience):
        token = int(left.argmax())
        if left[token] == -np.inf:
            return None
        if matcher.allows(token):
            return token
        if not asked:
            left = logits.copy()
        left[token] = -np.inf
    return None
