"""Ways of spending samples on a question, by name; each says what it needs."""

from edgetts.selection.strategies.strategy import Strategy

__all__ = ["Strategy"]
