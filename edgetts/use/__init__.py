"""Learn from real use which mode wins and how fast passes are. Knows marks, counts and seconds; no prompt, answer or token.

Off unless the user switches it on; what is written stays in one local file.
"""

from edgetts.use.learning import acceptance, learned
from edgetts.use.log import UseLog, open_log
from edgetts.use.observing import Observer
from edgetts.use.record import Use
from edgetts.use.switch import Learning, learning, set_learning
from edgetts.use.winning import Comparison, Pace, gain_of, which_wins

__all__ = [
    "Comparison",
    "Learning",
    "Observer",
    "Pace",
    "Use",
    "UseLog",
    "acceptance",
    "gain_of",
    "learned",
    "learning",
    "open_log",
    "set_learning",
    "which_wins",
]
