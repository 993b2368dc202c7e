"""How often a sample and a vote are right, with bounds for other questions. Knows ballots."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from edgetts.control.cost.work import LEVEL
from edgetts.control.success.figures import Share
from edgetts.evaluation.intervals import wilson
from edgetts.evaluation.reordering import Ballot, sizes_to
from edgetts.interval import Interval
from edgetts.selection.aggregation import Aggregator
from edgetts.selection.confidence import bootstrap, quantile

_DRAWS = 400
_FEW = 10


def points_of(
    ballots: Sequence[Ballot], rule: Aggregator, samples: int, most: int
) -> tuple[tuple[int, Interval], ...]:
    """Return P(right) of the vote of 1, 2, 4, ... `samples`, each counted in up to `most` orders a question."""
    points = []
    for n in sizes_to(samples):
        shares = []
        for ballot in ballots:
            orders = ballot.orders(n, most)
            shares.append(sum(ballot.vote(order, rule)[0] for order in orders) / len(orders))
        points.append((n, mean_interval(shares)))
    return tuple(points)


def mean_interval(shares: Sequence[float]) -> Interval:
    """Return the mean of questions' shares, with what it would be on other questions.

    A bootstrap over questions; where fewer than ten are right, or wrong, it is too sure, and is widened to the
    score interval of as many questions.
    """
    n, total = len(shares), math.fsum(shares)
    found = bootstrap(
        lambda rows: math.fsum(shares[row] for row in rows) / len(rows), n, draws=_DRAWS, level=LEVEL
    )
    if found is None:
        raise AssertionError("a mean is always there")
    low, high = found.low, found.high
    if min(total, n - total) < _FEW:
        score = wilson(min(n, round(total)), n, level=LEVEL)
        low, high = min(low, score.low), max(high, score.high)
    value = min(max(total / n, 0.0), 1.0)
    return Interval(value, min(low, value), max(high, value), LEVEL)


def greedy_share(ballots: Sequence[Ballot]) -> Share | None:
    """Return how often the greedy sample is right; None where there is none among others."""
    known = [ballot.right[ballot.greedy] for ballot in ballots if ballot.greedy is not None]
    return _posterior(sum(known), float(len(known))) if known else None


def sampled_share(ballots: Sequence[Ballot]) -> Share:
    """Count samples as far as they are worth independent ones: the more alike those of a question, the less."""
    shares = [sum(one.right[at] for at in one.drawn) / len(one.drawn) for one in ballots]
    n, total = len(shares), sum(len(one.drawn) for one in ballots)
    mean = math.fsum(shares) / n
    smooth = (math.fsum(shares) + 0.5) / (n + 1)
    variance = math.fsum((share - mean) ** 2 for share in shares) / max(1, n - 1) / n
    # Questions that all come out alike show nothing of how they differ: then a question counts once.
    worth = float(n) if variance <= 0 else min(max(smooth * (1 - smooth) / variance, n), total)
    return _posterior(mean * worth, worth)


def _posterior(right: float, n: float) -> Share:
    """Update Jeffreys' prior; bounds are read from draws of the posterior."""
    alpha, beta = right + 0.5, n - right + 0.5
    rng = random.Random(0)  # noqa: S311  # not for secrets
    drawn = sorted(rng.betavariate(alpha, beta) for _ in range(4_000))
    edge = (1 - LEVEL) / 2
    return Share(alpha, beta, quantile(drawn, edge), quantile(drawn, 1 - edge))
