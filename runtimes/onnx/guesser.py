"""Run a bundle's draft heads on ONNX Runtime, one guess a call, with its memory bound once."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import onnxruntime as ort

from edgetts.decoding.session import Features
from edgetts.decoding.speculation import Guess
from edgetts.errors import CorruptFile
from edgetts.runtimes.hardware import physical_cores
from edgetts.runtimes.onnx.graphs import LOAD_ERRORS, first_line

_PORTS = {"features", "token", "features.next", "best", "probability"}


class OnnxHeads:
    """See `edgetts.decoding.speculation.DraftNetwork`. Calls may come from any thread."""

    def __init__(self, graph: ort.InferenceSession, hidden: int) -> None:
        self._graph = graph
        self._lock = threading.Lock()
        self._token = np.zeros((1, 1), np.int64)
        self._features = np.zeros((1, hidden), np.float32)
        self._next = np.zeros((1, hidden), np.float32)
        self._best = np.zeros(1, np.int64)
        self._probability = np.zeros(1, np.float32)
        inputs = {"features": self._features, "token": self._token}
        outputs = {"features.next": self._next, "best": self._best, "probability": self._probability}
        self._binding = graph.io_binding()
        # ONNX Runtime does not keep the values it is given alive.
        self._values = {n: ort.OrtValue.ortvalue_from_numpy(a) for n, a in (inputs | outputs).items()}
        for name in inputs:
            self._binding.bind_ortvalue_input(name, self._values[name])
        for name in outputs:
            self._binding.bind_ortvalue_output(name, self._values[name])

    @classmethod
    def open(cls, path: Path, hidden: int, threads: int | None = None) -> OnnxHeads:
        """Load the graph of a bundle whose files were checked. Raises CorruptFile."""
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = threads or physical_cores()
        settings.inter_op_num_threads = 1
        settings.log_severity_level = 3
        settings.add_session_config_entry("session.force_spinning_stop", "1")
        try:
            graph = ort.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
        except LOAD_ERRORS as error:
            raise CorruptFile(
                f"ONNX Runtime cannot load the draft heads of {path.parent.name}: {first_line(error)}",
                hint="Train them again.",
            ) from error
        if {node.name for node in (*graph.get_inputs(), *graph.get_outputs())} != _PORTS:
            raise CorruptFile(
                f"{path.name} in {path.parent.name} holds no draft heads.", hint="Train them again."
            )
        return cls(graph, hidden)

    def guess(self, features: Features, token: int) -> Guess:
        with self._lock:
            self._features[0] = features
            self._token[0, 0] = token
            self._graph.run_with_iobinding(self._binding)
            return Guess(int(self._best[0]), float(self._probability[0]), self._next[0].copy())
