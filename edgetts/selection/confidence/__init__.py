"""How sure to be of an answer, how often that is right, and when to say nothing."""

from edgetts.selection.confidence.abstention import Abstention, Decision, mean_gain
from edgetts.selection.confidence.bootstrap import bootstrap, quantile
from edgetts.selection.confidence.calibration import Calibration, Example, Split, calibrate
from edgetts.selection.confidence.calibration_file import (
    calibration_from_json,
    calibration_to_json,
    load_calibration,
    save_calibration,
)
from edgetts.selection.confidence.combination import Combination, fit_combination
from edgetts.selection.confidence.metrics import (
    Bin,
    BrierParts,
    auroc,
    brier,
    brier_parts,
    calibration_error,
    reliability,
)
from edgetts.selection.confidence.selective import (
    Point,
    Quality,
    accuracy_at,
    quality,
    selective_area,
    selective_curve,
)
from edgetts.selection.confidence.signals import (
    SIGNALS,
    Signal,
    by_sample,
    certaindex,
    share_by,
    signal,
    tail_logprob,
)

__all__ = [
    "SIGNALS",
    "Signal",
    "by_sample",
    "certaindex",
    "share_by",
    "signal",
    "tail_logprob",
    "Combination",
    "fit_combination",
    "Calibration",
    "Example",
    "Split",
    "calibrate",
    "calibration_from_json",
    "calibration_to_json",
    "load_calibration",
    "save_calibration",
    "Bin",
    "BrierParts",
    "auroc",
    "brier",
    "brier_parts",
    "calibration_error",
    "reliability",
    "Point",
    "Quality",
    "accuracy_at",
    "quality",
    "selective_area",
    "selective_curve",
    "bootstrap",
    "quantile",
    "Abstention",
    "Decision",
    "mean_gain",
]
