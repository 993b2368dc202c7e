"""Bind the memory of a pass once: inputs, logits and caches are NumPy arrays that ONNX Runtime uses in place."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort

from edgetts.runtimes.onnx.cache import Arena

_STREAM_IN, _STREAM_OUT = "hidden", "hidden.out"


@dataclass(frozen=True, slots=True)
class Shape:
    """Rows [first, first + batch) of an arena, `sequence` tokens each, logits of `selected` of them."""

    first: int
    batch: int
    sequence: int
    selected: int


class Pass:
    """One shape of pass through consecutive graphs, with its memory bound.

    What the caller writes: `ids` [batch, sequence], or `stream` [batch, sequence, hidden] where the first
    graph begins at a cut; `seqlens`, `total` and `positions`. What it reads: `logits` and `features`
    [selected, ...], or `result` [batch, sequence, hidden] where the last graph ends at a cut.
    """

    def __init__(
        self, graphs: Sequence[ort.InferenceSession], arena: Arena, hidden: int, vocab: int, shape: Shape
    ) -> None:
        self.version = arena.version
        # Logits are lent to the thread that asked for them until its own next call.
        self.thread = threading.get_ident()
        batch, sequence, selected = shape.batch, shape.sequence, shape.selected
        self.ids = np.zeros((batch, sequence), np.int64)
        self.seqlens = np.zeros(batch, np.int32)
        self.total = np.zeros(1, np.int32)
        self.positions = np.zeros(selected, np.int64)
        self.logits = np.zeros((selected, vocab), np.float32)
        self.features = np.zeros((selected, hidden), np.float32)
        self.stream = np.zeros((batch, sequence, hidden), np.float32)
        self.result = self.stream
        arrays = {
            "input_ids": self.ids,
            "seqlens": self.seqlens,
            "total_length": self.total,
            "positions": self.positions,
            "logits": self.logits,
            "features": self.features,
            _STREAM_IN: self.stream,
        }
        # These keep the arrays alive, which ONNX Runtime does not.
        values = {name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in arrays.items()}
        for layer in range(arena.shape.layers):
            for kind, blocks in (("key", arena.keys), ("value", arena.values)):
                rows = blocks[layer][shape.first : shape.first + batch]
                values[f"past_{kind}.{layer}"] = ort.OrtValue.ortvalue_from_numpy(rows)
        self._alive = [*values.values()]
        self._steps = []
        for graph in graphs:
            binding = graph.io_binding()
            for node in graph.get_inputs():
                binding.bind_ortvalue_input(node.name, values[node.name])
            for node in graph.get_outputs():
                if node.name == _STREAM_OUT:
                    self.result = np.zeros((batch, sequence, hidden), np.float32)
                    values[_STREAM_IN] = ort.OrtValue.ortvalue_from_numpy(self.result)
                    self._alive.append(values[_STREAM_IN])
                    binding.bind_ortvalue_output(node.name, values[_STREAM_IN])
                else:
                    binding.bind_ortvalue_output(node.name, values[node.name.replace("present_", "past_")])
            self._steps.append((graph, binding))

    @property
    def tokens(self) -> int:
        """Tokens that go through the first graph."""
        return self.ids.size

    def run(self, options: ort.RunOptions) -> None:
        for graph, binding in self._steps:
            graph.run_with_iobinding(binding, options)
