"""Choose among the ends of a search by weight; knows votes and weights, not where the weights are from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from edgetts.selection.aggregation.ballots import Ballots
from edgetts.selection.aggregation.votes import Tally, Vote


def weighted_vote(votes: Sequence[Vote], weights: Mapping[int, float], source: str) -> Tally:
    """Choose the answer whose votes have the largest sum of weights; the vote shown is its heaviest.

    weights: of nodes by id, zero or greater. A vote of a node without one, such as one that a cut caught
    within its step, has the mean weight. Where all weigh nothing, votes are counted instead.
    Errors: InvalidInput for no votes, or two of one node.
    """
    ballots = Ballots.sort(votes)
    # The largest is 1, so that a product of many small numbers does not vanish in the sum.
    largest = max(weights.values(), default=0.0) or 1.0
    scaled = {node: weight / largest for node, weight in weights.items()}
    mean = math.fsum(scaled.values()) / len(scaled) if scaled else 1.0

    def weight(vote: Vote) -> float:
        return scaled.get(vote.sample, mean)

    sums = {answer: math.fsum(weight(vote) for vote in cast) for answer, cast in ballots.of.items()}
    return ballots.decide(sums, source, merit=weight)
