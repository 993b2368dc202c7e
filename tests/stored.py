"""Read back what a bundle's graphs say of its weights file. Written from ONNX's formats, without edgetts.export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgetts.architecture import Architecture

_DTYPES = {onnx.TensorProto.FLOAT: np.float32, onnx.TensorProto.UINT8: np.uint8}


@dataclass(frozen=True, slots=True)
class Placed:
    """An initializer that lies in an external file."""

    name: str
    file: str
    offset: int
    length: int
    dtype: Any
    shape: tuple[int, ...]

    def load(self, bundle: Path) -> NDArray[Any]:
        flat: NDArray[Any] = np.fromfile(
            bundle / self.file, self.dtype, self.length // np.dtype(self.dtype).itemsize, offset=self.offset
        )
        return flat.reshape(self.shape)


def placed(graph: Path) -> dict[str, Placed]:
    """Return the external initializers of a graph by name."""
    found = {}
    for tensor in onnx.load(graph, load_external_data=False).graph.initializer:
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        assert set(entries) == {"location", "offset", "length"}
        found[tensor.name] = Placed(
            tensor.name,
            entries["location"],
            int(entries["offset"]),
            int(entries["length"]),
            _DTYPES[tensor.data_type],
            tuple(tensor.dims),
        )
    return found


def stored_matrices(bundle: Path, graph: str = "model.onnx") -> dict[str, NDArray[np.float32]]:
    """Reconstruct every matrix of a graph in float32, fused ones whole, by the name of its initializers.

    A tied head and embedding table are read by the product and by the look-up: both must agree.
    """
    model = onnx.load(bundle / graph, load_external_data=False)
    arrays = {name: tensor.load(bundle) for name, tensor in placed(bundle / graph).items()}
    matrices: dict[str, NDArray[np.float32]] = {}
    for node in model.graph.node:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "MatMulNBits":
            name = node.input[1].removesuffix(".codes")
            bits, block = attributes["bits"], attributes["block_size"]
            matrix = _dequantized(arrays, name, attributes["N"], attributes["K"], bits, block)
        elif node.op_type == "FusedMatMul":
            name, matrix = node.input[1], arrays[node.input[1]]
        elif node.op_type == "GatherBlockQuantized":
            name = node.input[0].removesuffix(".table")
            bits, block = attributes["bits"], attributes["block_size"]
            rows, width = arrays[node.input[0]].shape
            table = arrays | {f"{name}.codes": arrays[node.input[0]]}
            matrix = _dequantized(table, name, rows, width * 8 // bits, bits, block)
        elif node.op_type == "Gather" and node.input[1] == "input_ids" and node.output[0] == "embedding":
            name, matrix = node.input[0], arrays[node.input[0]]
        else:
            continue
        assert np.array_equal(matrices.setdefault(name, matrix), matrix)
    return matrices


def _dequantized(
    arrays: Mapping[str, NDArray[Any]], name: str, rows: int, cols: int, bits: int, block: int
) -> NDArray[np.float32]:
    blocks = cols // block
    codes = _unpacked(arrays[f"{name}.codes"], bits).reshape(rows, blocks, block).astype(np.float32)
    zeros: Any = np.float32(1 << (bits - 1))
    if f"{name}.zeros" in arrays:
        zeros = _unpacked(arrays[f"{name}.zeros"], bits)[:, :blocks, None].astype(np.float32)
    values = (codes - zeros) * arrays[f"{name}.scales"].reshape(rows, blocks, 1)
    if f"{name}.offsets" in arrays:
        # Stored for block means: the sum of a block is the mean times its length.
        values += (arrays[f"{name}.offsets"].T / np.float32(block))[:, :, None]
    return np.asarray(values.reshape(rows, cols), np.float32)


def _unpacked(codes: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    if bits == 8:
        return codes
    return np.stack([codes & 15, codes >> 4], axis=-1).reshape(*codes.shape[:-1], -1)


def canonical(
    arch: Architecture, matrices: Mapping[str, NDArray[np.float32]]
) -> dict[str, NDArray[np.float32]]:
    """Cut fused matrices apart and name all as GGUF does."""
    q, kv = arch.heads * arch.head_dim, arch.kv_heads * arch.head_dim
    found = {}
    for name, matrix in matrices.items():
        prefix, _, part = name.rpartition(".")
        if part == "attn_qkv":
            cut = dict(zip("qkv", np.split(matrix, [q, q + kv]), strict=True))
            found |= {f"{prefix}.attn_{p}.weight": m for p, m in cut.items()}
        elif part == "ffn_gate_up":
            gate, up = np.split(matrix, 2)
            found |= {f"{prefix}.ffn_gate.weight": gate, f"{prefix}.ffn_up.weight": up}
        else:
            found[name if name.endswith(".weight") else f"{name}.weight"] = matrix
    return found
