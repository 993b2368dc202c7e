"""Search over the steps of an answer: which partial answers to continue, and how often. Knows no runtime."""

from edgetts.selection.search.scorer_names import SCORERS, make_scorer
from edgetts.selection.search.scorers import (
    CallableScore,
    LogProbScore,
    Product,
    SelfEvaluation,
    VerifierScore,
)
from edgetts.selection.search.splitter import StepRule, StepSplitter
from edgetts.selection.search.tree import ROOT, Draw, Grow, Move, Node, Scorer, Search, Task

__all__ = [
    "ROOT",
    "SCORERS",
    "CallableScore",
    "Draw",
    "Grow",
    "LogProbScore",
    "Move",
    "Node",
    "Product",
    "Scorer",
    "Search",
    "SelfEvaluation",
    "StepRule",
    "StepSplitter",
    "Task",
    "VerifierScore",
    "make_scorer",
]
