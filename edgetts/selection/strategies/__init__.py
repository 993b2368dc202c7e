"""Ways of spending samples on a question, by name; each says what it needs."""

from edgetts.selection.strategies.registry import STRATEGIES, lacking, make_strategy, strategy_names
from edgetts.selection.strategies.strategy import Strategy

__all__ = ["STRATEGIES", "Strategy", "lacking", "make_strategy", "strategy_names"]
