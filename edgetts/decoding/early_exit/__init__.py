"""Let tokens leave the network at a cut where that is confident enough. Lossy: outputs may change.

Knows sessions, token ids, and heads that guess from a residual stream. No text, and no clock.
"""

from edgetts.decoding.early_exit.criteria import (
    CRITERIA,
    Arrival,
    Confidence,
    Criterion,
    QExit,
    Saturation,
    Schedule,
    make_criterion,
)
from edgetts.decoding.early_exit.decoder import MOST_PENDING, EarlyExitDecoder
from edgetts.decoding.early_exit.head import ExitHead

__all__ = [
    "CRITERIA",
    "MOST_PENDING",
    "Arrival",
    "Confidence",
    "Criterion",
    "EarlyExitDecoder",
    "ExitHead",
    "QExit",
    "Saturation",
    "Schedule",
    "make_criterion",
]
