"""Choose one answer among the votes of several samples."""

from edgetts.selection.aggregation.auto import Auto, choose_aggregator
from edgetts.selection.aggregation.ballots import VOTE_SHARE
from edgetts.selection.aggregation.lengths import LengthFiltered, ShortestFew, ShortestMajority
from edgetts.selection.aggregation.majority import Majority, self_consistency
from edgetts.selection.aggregation.registry import AGGREGATORS, AggregatorKind, make_aggregator
from edgetts.selection.aggregation.rpc import PerplexityConsistency
from edgetts.selection.aggregation.scored import BestOfMajority, BestOfN, WeightedBestOfN
from edgetts.selection.aggregation.verified import Verified
from edgetts.selection.aggregation.votes import Aggregator, Tally, Vote
from edgetts.selection.aggregation.weighted import (
    ConfidenceWeighted,
    LikelihoodWeighted,
    ProbabilityWeighted,
)

__all__ = [
    "AGGREGATORS",
    "VOTE_SHARE",
    "Aggregator",
    "AggregatorKind",
    "Auto",
    "BestOfMajority",
    "BestOfN",
    "ConfidenceWeighted",
    "LengthFiltered",
    "LikelihoodWeighted",
    "Majority",
    "PerplexityConsistency",
    "ProbabilityWeighted",
    "ShortestFew",
    "ShortestMajority",
    "Tally",
    "Verified",
    "Vote",
    "WeightedBestOfN",
    "choose_aggregator",
    "make_aggregator",
    "self_consistency",
]
