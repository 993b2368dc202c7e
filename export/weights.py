"""Write every tensor of a bundle once, into one file that all graphs share.

Knows array layouts of ONNX operators; knows nothing of layers or families.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import onnx
from numpy.typing import NDArray

from edgetts.export.blocks import Affine

WEIGHTS_FILE = "weights.bin"
# ONNX Runtime maps external data straight from disk only at page boundaries.
_ALIGNMENT = 4096


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where one array lies in the weights file."""

    offset: int
    nbytes: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LinearForm:
    """How one matrix [rows, cols] was stored: dense float32, or integers of `bits` in blocks.

    `offset` marks a value added per block (Q4_1 and its kin), stored times the block size; `zeros` an integer zero point per
    block, `bias` one float32 per row.
    """

    rows: int
    cols: int
    bits: int | None
    block: int = 0
    offset: bool = False
    zeros: bool = False
    bias: bool = False


def pack_nibbles(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pack pairs along the last axis into bytes, the first in the low half; an odd end gets a zero."""
    if codes.shape[-1] % 2:
        codes = np.concatenate([codes, np.zeros((*codes.shape[:-1], 1), np.uint8)], axis=-1)
    return np.asarray(codes[..., 0::2] | (codes[..., 1::2] << 4), dtype=np.uint8)


class WeightsFile:
    """Append tensors to `directory/weights.bin`; hash them on the way."""

    def __init__(self, directory: Path) -> None:
        self._file: BinaryIO = (directory / WEIGHTS_FILE).open("wb")
        self._position = 0
        self._hash = hashlib.sha256()
        self.tensors: dict[str, StoredTensor] = {}
        self.linears: dict[str, LinearForm] = {}

    def __enter__(self) -> WeightsFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    @property
    def nbytes(self) -> int:
        return self._position

    def add(self, name: str, parts: Sequence[NDArray[Any]]) -> None:
        """Append one tensor, given as pieces along its first axis. Raises OSError when the disk is full."""
        if name in self.tensors:
            raise ValueError(f"tensor {name} is stored already")
        padding = -self._position % _ALIGNMENT
        self._write(b"\0" * padding)
        offset = self._position
        for part in parts:
            self._write(np.ascontiguousarray(part).data.cast("B") if part.size else b"")
        shape = (sum(p.shape[0] for p in parts), *parts[0].shape[1:])
        self.tensors[name] = StoredTensor(offset, self._position - offset, parts[0].dtype, shape)

    def add_linear(
        self,
        name: str,
        parts: Sequence[Affine | NDArray[np.float32]],
        bias: Sequence[NDArray[np.float32]] | None = None,
    ) -> None:
        """Store matrices stacked along their rows as one; all parts have one form."""
        first = parts[0]
        if isinstance(first, Affine):
            affines = [p for p in parts if isinstance(p, Affine)]
            if any(a.form != first.form for a in affines) or len(affines) != len(parts):
                raise ValueError(f"the parts of {name} have different forms")
            rows, cols, block = sum(a.rows for a in affines), first.cols, first.block
            codes = [
                (pack_nibbles(a.codes) if a.bits == 4 else a.codes).reshape(
                    a.rows, cols // block, block * a.bits // 8
                )
                for a in affines
            ]
            self.add(f"{name}.codes", codes)
            self.add(f"{name}.scales", [a.scales for a in affines])
            if first.zeros is not None:
                zeros = [a.zeros for a in affines if a.zeros is not None]
                self.add(f"{name}.zeros", [pack_nibbles(z) if first.bits == 4 else z for z in zeros])
            if first.offsets is not None:
                # [blocks, rows]: the right-hand side of a small MatMul with the input's block means.
                stacked = np.concatenate([a.offsets for a in affines if a.offsets is not None])
                self.add(f"{name}.offsets", [stacked.T * np.float32(block)])
            form = LinearForm(
                rows,
                cols,
                first.bits,
                block,
                first.offsets is not None,
                first.zeros is not None,
                bias is not None,
            )
        else:
            dense = np.concatenate([np.asarray(p, dtype=np.float32) for p in parts])
            self.add(name, [dense])
            form = LinearForm(dense.shape[0], dense.shape[1], None, bias=bias is not None)
        if bias is not None:
            self.add(f"{name}.bias", list(bias))
        self.linears[name] = form

    def reference(self, name: str, shape: Sequence[int] | None = None) -> onnx.TensorProto:
        """Describe a stored tensor as an ONNX initializer; `shape` views the same bytes otherwise."""
        stored = self.tensors[name]
        proto = onnx.TensorProto()
        proto.name = name
        proto.data_type = onnx.helper.np_dtype_to_tensor_dtype(stored.dtype)
        proto.dims.extend(stored.shape if shape is None else shape)
        proto.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", WEIGHTS_FILE), ("offset", stored.offset), ("length", stored.nbytes)):
            entry = proto.external_data.add()
            entry.key, entry.value = key, str(value)
        return proto

    def _write(self, data: bytes | memoryview) -> None:
        self._file.write(data)
        self._hash.update(data)
        self._position += len(data)
