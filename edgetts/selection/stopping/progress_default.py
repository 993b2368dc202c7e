"""What samples are like where nothing else was measured: those of one small model at one task."""

from __future__ import annotations

from edgetts.selection.stopping.evidence import Evidence
from edgetts.selection.stopping.progress import Progress

DEFAULT_PROGRESS = Progress(
    Evidence(
        intercept=-2.2654,
        passed=0.6335,
        covered=2.8032,
        logprob=9.9888,
        brevity=1.1957,
        plain=-0.1266,
        plain_logprob=9.7258,
    ),
    fresh=(
        *(0.0013, 0.0031, 0.0045, 0.0057, 0.0070, 0.0080, 0.0096, 0.0109),
        *(0.0121, 0.0138, 0.0157, 0.0173, 0.0195, 0.0218, 0.0244, 0.0288),
        *(0.0334, 0.0417, 0.0578, 0.0786, 0.1000, 0.1164, 0.1434, 0.1695),
        *(0.1982, 0.2271, 0.2747, 0.3219, 0.3856, 0.4439, 0.5070, 0.5996),
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
