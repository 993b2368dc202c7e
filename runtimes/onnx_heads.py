"""Run a bundle's draft heads on ONNX Runtime, one guess a call, with its memory bound once."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from edgetts.decoding.speculation.heads import Guess
from edgetts.runtimes.hardware import physical_cores


class OnnxHeads:
    """See `edgetts.decoding.speculation.heads.DraftNetwork`. Calls may come from any thread."""

    def __init__(self, path: Path, hidden: int, threads: int | None = None) -> None:
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = threads or physical_cores()
        settings.inter_op_num_threads = 1
        settings.log_severity_level = 3
        settings.add_session_config_entry("session.force_spinning_stop", "1")
        self._graph = ort.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
        self._lock = threading.Lock()
        self._token = np.zeros((1, 1), np.int64)
        self._features = np.zeros((1, hidden), np.float32)
        self._next = np.zeros((1, hidden), np.float32)
        self._best = np.zeros(1, np.int64)
        self._probability = np.zeros(1, np.float32)
        self._binding = self._graph.io_binding()
        self._values = []
        for name, array in (("features", self._features), ("token", self._token)):
            value = ort.OrtValue.ortvalue_from_numpy(array)
            self._values.append(value)
            self._binding.bind_ortvalue_input(name, value)
        for name, array in (
            ("features.next", self._next),
            ("best", self._best),
            ("probability", self._probability),
        ):
            value = ort.OrtValue.ortvalue_from_numpy(array)
            self._values.append(value)
            self._binding.bind_ortvalue_output(name, value)

    def guess(self, features: NDArray[np.float32], token: int) -> Guess:
        with self._lock:
            self._features[0] = features
            self._token[0, 0] = token
            self._graph.run_with_iobinding(self._binding)
            return Guess(int(self._best[0]), float(self._probability[0]), self._next[0].copy())
