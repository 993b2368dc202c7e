"""Put a graph into a bundle: model.onnx, its tensors in weights.bin, and what became of each matrix.

Knows ONNX graphs as optimum and ONNX Runtime's quantiser write them; knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from edgetts.bundle import MODEL, TensorNote
from edgetts.export.weights import WeightsFile

Floats = NDArray[np.float32]

# Smaller ones stay in the graph, where constants are looked for.
_SMALLEST = 1024
_QUANTISED = "MatMulNBits"


def pack(graph: Path, exported: Path, directory: Path) -> tuple[dict[str, TensorNote], str]:
    """Write model.onnx and weights.bin into a bundle's directory; return notes and the weights' sha256.

    graph: what shall run. exported: the same before it was quantised, to say what was lost.
    """
    model = onnx.load(graph)
    notes = _notes(model, model if graph == exported else onnx.load(exported))
    with WeightsFile(directory) as weights:
        tensors = model.graph.initializer
        for index, tensor in enumerate(tensors):
            values = numpy_helper.to_array(tensor)
            if values.nbytes < _SMALLEST or values.dtype.hasobject or not values.ndim:
                continue
            weights.add(tensor.name, [values])
            tensors[index].CopyFrom(weights.reference(tensor.name))
        sha256 = weights.sha256
    (directory / MODEL).write_bytes(model.SerializeToString())
    return notes, sha256


def _notes(model: onnx.ModelProto, exported: onnx.ModelProto) -> dict[str, TensorNote]:
    """Say of every product with a constant matrix how the matrix is stored."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    before = {tensor.name: tensor for tensor in exported.graph.initializer}
    originals = {
        node.name: node.input[1]
        for node in exported.graph.node
        if node.op_type == "MatMul" and node.input[1] in before
    }
    notes: dict[str, TensorNote] = {}
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.input[1] in stored:
            nbytes = numpy_helper.to_array(stored[node.input[1]]).nbytes
            notes[_tensor_name(node.name)] = TensorNote("F32", "fp32", nbytes, 0.0)
        elif node.op_type == _QUANTISED:
            settings = {a.name: a.i for a in node.attribute}
            name = node.name.removesuffix(f"_Q{settings['bits']}")
            parts = [numpy_helper.to_array(stored[name]) for name in node.input[1:] if name]
            weights = numpy_helper.to_array(before[originals[name]])
            notes[_tensor_name(name)] = TensorNote(
                "F32",
                f"int{settings['bits']} block {settings['block_size']}",
                sum(part.nbytes for part in parts),
                _error(weights, parts[0], parts[1], settings),
            )
    return notes


def _error(weights: Floats, codes: NDArray[np.uint8], scales: Floats, settings: Mapping[str, int]) -> float:
    """Return the root mean square of what rounding changed, relative to that of the weights [K, N]."""
    bits, rows, cols = settings["bits"], settings["N"], settings["K"]
    if bits == 4:
        codes = np.stack([codes & 15, codes >> 4], axis=-1)
    scales = scales.reshape(rows, -1)
    lost = 0.0
    for row, blocks in enumerate(codes.reshape(rows, scales.shape[1], -1)):
        values = (blocks.astype(np.float32) - (1 << (bits - 1))) * scales[row][:, None]
        lost += float(np.square(values.reshape(-1)[:cols] - weights[:, row]).sum())
    return float(np.sqrt(lost / max(float(np.square(weights).sum()), 1e-30)))


def _tensor_name(node: str) -> str:
    """Name a matrix by the module that multiplies with it."""
    return node.removesuffix("/MatMul").strip("/").replace("/", ".")
