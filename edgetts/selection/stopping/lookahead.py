"""What a vote's leader may come to with more samples, exactly; knows counts, not what they cost."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from edgetts.errors import InvalidInput


def expected_share(counts: Sequence[int], lost: int, more: int, unseen: float) -> list[float]:
    """Return the leader's expected posterior share after 0, 1, ..., `more` further votes.

    counts: votes for each answer seen. lost: samples without an answer, which never win. unseen: the weight of
    answers not seen yet, in votes, above 0. Votes come from a Dirichlet process of that concentration: the next is
    for an answer with c of n votes with probability c / (n + unseen), for a new one with unseen / (n + unseen), and c / (n +
    unseen) is also its expected share ("A Bayesian Analysis of Some Nonparametric Problems"). The share after k more is
    the largest count over n + k + unseen; it is never expected to fall.

    Exact: P(largest count <= m) is a ratio of coefficients of t^k. An answer with c votes contributes the
    sum over x <= m - c of C(c + x - 1, x) t^x; answers not seen exp(unseen * sum over s <= m of t^s / s); and all without the
    limit (1 - t)^-(n + unseen). Every term is positive, so that nothing cancels.
    """
    if more < 0 or lost < 0 or any(count < 1 for count in counts) or not 0 < unseen < float("inf"):
        raise InvalidInput(
            f"There is no vote of {list(counts)} with {lost} lost, {more} more and {unseen} unseen."
        )
    n = sum(counts) + lost
    top = max(counts, default=0)
    total = _rising(n + unseen, more)
    largest = [float(top)] * (more + 1)
    for most in range(top, top + more):
        kept = _new(unseen, most, more)
        for count, answers in sorted(Counter(counts).items()):
            kept = _times(kept, _power(_rising(count, min(more, most - count)), answers, more), more)
        if lost:
            kept = _times(kept, _rising(lost, more), more)
        # E[max] = sum over m of P(max > m); after k votes the largest is at most top + k.
        for k in range(1, more + 1):
            if most < top + k:
                largest[k] += max(0.0, 1 - (kept[k] / total[k] if k < len(kept) else 0.0))
    return [value / (n + k + unseen) for k, value in enumerate(largest)]


SCATTERS = tuple(2.0**power for power in range(-1, 8))
"""Weights of unseen answers that are thought possible beforehand, all alike: from one answer in sight to none twice."""


def scatter(counts: Sequence[int], lost: int) -> tuple[float, ...]:
    """Return how likely each of `SCATTERS` is, given the votes.

    Of n votes in K classes its likelihood is unseen^K * Gamma(unseen) / Gamma(unseen + n) ("Mixtures of Dirichlet
    Processes with Applications to Bayesian Nonparametric Problems"). Samples without an answer are one class.
    """
    n = sum(counts) + lost
    classes = len(counts) + (lost > 0)
    logs = [classes * math.log(a) + math.lgamma(a) - math.lgamma(a + n) for a in SCATTERS]
    weights = [math.exp(one - max(logs)) for one in logs]
    return tuple(weight / math.fsum(weights) for weight in weights)


def mixed_share(counts: Sequence[int], lost: int, more: int) -> list[float]:
    """Return the same as `expected_share` where the weight of unseen answers is not known, but told by the votes.

    It is the mean of `expected_share` over `scatter`: the most frequent answer is the best choice whatever the
    weight, so that what later votes tell of the weight changes no choice, and the expectation is linear in it.
    """
    shares = [expected_share(counts, lost, more, a) for a in SCATTERS]
    weights = scatter(counts, lost)
    return [
        math.fsum(w * one for w, one in zip(weights, column, strict=True))
        for column in zip(*shares, strict=True)
    ]


def _rising(base: float, degree: int) -> list[float]:
    """Coefficients of (1 - t)^-base up to a degree: base (base + 1) ... (base + x - 1) / x!."""
    terms = [1.0]
    for x in range(degree):
        terms.append(terms[-1] * (base + x) / (x + 1))
    return terms


def _new(unseen: float, most: int, degree: int) -> list[float]:
    """Coefficients of exp(unseen * sum over s <= most of t^s / s), by its derivative."""
    terms = [1.0]
    for y in range(1, degree + 1):
        terms.append(unseen * sum(terms[y - s] for s in range(1, min(most, y) + 1)) / y)
    return terms


def _power(base: list[float], exponent: int, degree: int) -> list[float]:
    """Many answers have one vote each: multiply them by squaring."""
    product = [1.0]
    while exponent:
        if exponent & 1:
            product = _times(product, base, degree)
        base, exponent = _times(base, base, degree), exponent >> 1
    return product


def _times(left: list[float], right: list[float], degree: int) -> list[float]:
    product = [0.0] * (min(degree, len(left) + len(right) - 2) + 1)
    for i, a in enumerate(left):
        for j, b in enumerate(right[: degree + 1 - i]):
            product[i + j] += a * b
    return product
