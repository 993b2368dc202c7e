"""Say when more samples are not worth drawing; knows votes and counts, not clocks or joules."""

from edgetts.selection.stopping.any_of import AnyOf, NeverStop
from edgetts.selection.stopping.certaindex import Certaindex
from edgetts.selection.stopping.confidence import Confidence
from edgetts.selection.stopping.flaws import FirstPass, Outlook, best_attempts, ceiling, outlook
from edgetts.selection.stopping.lookahead import expected_share, mixed_share
from edgetts.selection.stopping.low_confidence import LowConfidence, lowest_group
from edgetts.selection.stopping.posterior import Posterior, leads
from edgetts.selection.stopping.pruning import NeverPrune, PruneAny
from edgetts.selection.stopping.registry import PRUNINGS, RULES, make_pruning, make_rule
from edgetts.selection.stopping.repetition import Repetition, cycle
from edgetts.selection.stopping.rule import Pruning, Running, StoppingRule
from edgetts.selection.stopping.too_long import TooLong
from edgetts.selection.stopping.value import ValueOfMore
from edgetts.selection.stopping.votes import VoteDecided, vote_decided

__all__ = [
    "StoppingRule",
    "make_rule",
    "RULES",
    "AnyOf",
    "NeverStop",
    "VoteDecided",
    "vote_decided",
    "Posterior",
    "leads",
    "Certaindex",
    "Confidence",
    "ValueOfMore",
    "expected_share",
    "mixed_share",
    "FirstPass",
    "Outlook",
    "best_attempts",
    "ceiling",
    "outlook",
    "Pruning",
    "Running",
    "make_pruning",
    "PRUNINGS",
    "NeverPrune",
    "PruneAny",
    "LowConfidence",
    "lowest_group",
    "Repetition",
    "cycle",
    "TooLong",
]
