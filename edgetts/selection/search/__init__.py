"""Search over the steps of an answer: which partial answers to continue, and how often. Knows no runtime."""

from edgetts.selection.search.tree import ROOT, Draw, Grow, Move, Node, Scorer, Search, Task

__all__ = ["ROOT", "Draw", "Grow", "Move", "Node", "Scorer", "Search", "Task"]
