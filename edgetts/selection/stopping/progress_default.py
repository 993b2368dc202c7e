"""What samples are like where nothing else was measured: those of one small model at one task."""

from __future__ import annotations

from edgetts.selection.stopping.evidence import Evidence
from edgetts.selection.stopping.progress import Progress

DEFAULT_PROGRESS = Progress(
    Evidence(
        intercept=-2.5066, passed=0.6645, covered=2.9495, logprob=8.8513, plain=-0.1266, plain_logprob=9.7258
    ),
    fresh=(
        *(0.0015, 0.0039, 0.0055, 0.0072, 0.0087, 0.0097, 0.0109, 0.0118),
        *(0.0135, 0.0144, 0.0158, 0.0179, 0.0197, 0.0219, 0.0249, 0.0279),
        *(0.0317, 0.0387, 0.0639, 0.0903, 0.1086, 0.1293, 0.1537, 0.1745),
        *(0.2020, 0.2321, 0.2706, 0.3324, 0.3773, 0.4248, 0.4900, 0.5681),
    ),
    fresh_plain=(
        *(0.0092, 0.0224, 0.0312, 0.0398, 0.0453, 0.0536, 0.0592, 0.0661),
        *(0.0726, 0.0780, 0.0831, 0.0888, 0.0935, 0.0984, 0.1048, 0.1113),
        *(0.1155, 0.1215, 0.1263, 0.1344, 0.1413, 0.1493, 0.1573, 0.1649),
        *(0.1730, 0.1816, 0.1946, 0.2051, 0.2190, 0.2346, 0.2547, 0.2897),
    ),
    tokens=260.0,
    source="fitted on 1,600 samples of Qwen2.5-Coder-0.5B (4 bits) for 100 problems of gsm_symbolic",
)
"""`progress_fitting.fit_progress` of the recording in shared/traces; other models and tasks differ."""
