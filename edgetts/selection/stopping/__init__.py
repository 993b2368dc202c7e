"""Say when more samples are not worth drawing; knows votes and counts, not clocks or joules."""

from edgetts.selection.stopping.rule import StoppingRule
from edgetts.selection.stopping.votes import vote_decided

__all__ = ["StoppingRule", "vote_decided"]
