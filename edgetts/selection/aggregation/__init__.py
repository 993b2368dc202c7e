"""Choose one answer among the votes of several samples."""

from edgetts.selection.aggregation.majority import VOTE_SHARE, self_consistency
from edgetts.selection.aggregation.votes import Aggregator, Tally, Vote

__all__ = ["VOTE_SHARE", "Aggregator", "Tally", "Vote", "self_consistency"]
