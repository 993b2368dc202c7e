"""What to expect of a model and a task of which nothing was measured."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgetts.control.cost.work import LEVEL
from edgetts.control.success.interpolation import step
from edgetts.control.success.model import Attempt
from edgetts.control.success.profile import EXACT
from edgetts.interval import Interval

_ALONE = (0.04, 0.30, 0.85)
"""P(right) of one sample: bounds and a middle that most pairs of a small model and a checkable task lie within."""
_VOTE = ((0.0, 0.0), (1.0, 0.05), (2.0, 0.2), (3.0, 0.45), (4.0, 0.7), (6.0, 0.9))
"""Log-odds that a vote of 2^x samples gains. Recorded (gsm_symbolic, Qwen2.5-Coder-0.5B, 1 to 16 samples): 0, 0.03, 0.21,
0.42, 0.58 with the greedy sample first; 0, -0.02, 0.25, 0.64, 0.94 among sampled ones; 0.34 at 8 on llama.cpp."""
_COVERED = 0.5
"""Log-odds that some sample right gains by each doubling. Recorded: 0.58, 0.50, 0.44, 0.40."""
_DOUBT = 0.2
"""How far a gain may be off, in log-odds, by each doubling."""
_CAPS = ((0.0, 0.0), (208.0, 0.47), (256.0, 0.87), (320.0, 1.0))
"""What share of the right answers is left where samples are cut. Recorded for texts of 252 tokens in the middle."""
_SHORT = 64
"""Tokens within which the answers of another task may well end."""
_DIRECT = 0.8
"""Log-odds that an answer without reasoning is guessed to lose; nothing is recorded of it."""


@dataclass(frozen=True, slots=True)
class PriorSuccess:
    """A guess from the few curves that were recorded, for every attempt, with wide bounds.

    It says how success grows with samples, so that plans can be compared at all; of one sample it knows next to
    nothing (4% to 85%). Samples are worth less than it says where a model is often wrong in the same way.
    """

    task: str = "unknown"

    @property
    def provenance(self) -> str:
        return "a prior: nothing was measured"

    def predict(self, attempt: Attempt) -> Interval:
        """Return P(right) of any attempt, within bounds that are meant to hold in 90% of cases."""
        doublings = math.log2(max(1, attempt.samples))
        gain = doublings * _COVERED if attempt.verified == EXACT else step(_VOTE, doublings)
        low, value, high = (math.log(share / (1 - share)) for share in _ALONE)
        direct = _DIRECT if attempt.approach == "direct" else 0.0
        doubt = doublings * _DOUBT + direct
        left = 1.0 if direct else step(_CAPS, attempt.cap)
        most = min(1.0, attempt.cap / _SHORT)
        bounds = _share(low + gain - doubt - direct) * left, _share(high + gain + doubt) * most
        middle = _share(value + gain - direct) * min(left, most)
        return Interval(min(max(middle, bounds[0]), bounds[1]), min(bounds), max(bounds), LEVEL)


def _share(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds))
