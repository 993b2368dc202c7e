"""Read GGUF files: metadata and tensors, when asked for. Knows the container, not its tensors' use."""

from __future__ import annotations

from collections.abc import Mapping
from mmap import mmap
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize
from numpy.typing import NDArray

from edgetts.errors import InvalidInput
from edgetts.export.gguf_header import GgufHeader
from edgetts.export.mapped_file import TensorInfo, map_file, row_range, shorten

# Values dequantised at a time, and handed to gguf as one row.
_PIECE = 1 << 20
_ROW = 1 << 12


class GgufFile:
    """A GGUF file, mapped: metadata is decoded and tensors are read when asked for.

    Opening checks every count, length and offset. Raises CorruptFile for what cannot be,
    UnsupportedModel for what edgetts does not know. Arrays from `raw` stay valid after `close`.
    """

    metadata: Mapping[str, Any]
    tensors: Mapping[str, TensorInfo]

    def __init__(self, path: Path, data: mmap) -> None:
        self.path = path
        self._data: mmap | None = data
        header = GgufHeader(path.name, data)
        self.metadata = header.metadata
        self.tensors = header.tensors

    @classmethod
    def open(cls, path: str | Path) -> GgufFile:
        """Map and check a file."""
        path = Path(path)
        data = map_file(path)
        try:
            return cls(path, data)
        except BaseException:
            data.close()
            raise

    def __enter__(self) -> GgufFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file. It stays mapped as long as arrays from `raw` or metadata need it."""
        self._data = None

    def raw(self, name: str) -> NDArray[np.uint8]:
        """Return a tensor's bytes as they lie in the file, without a copy, read-only."""
        if self._data is None:
            raise InvalidInput(f"{self.path.name} has been closed.")
        tensor = self._tensor(name)
        return np.frombuffer(self._data, np.uint8, tensor.nbytes, tensor.offset)

    def dequantize(self, name: str, rows: slice | None = None) -> NDArray[np.float32]:
        """Return a tensor, or a range of its rows, in float32."""
        tensor = self._tensor(name)
        first, last = row_range(tensor, rows)
        kind = GGMLQuantizationType[tensor.kind]
        by_row = self.raw(name)
        if len(tensor.shape) == 1:
            # The blocks of a single row cannot be cut apart.
            return _to_float32(by_row, kind)[first:last]
        cut = by_row.reshape(tensor.shape[0], -1)[first:last]
        return _to_float32(cut.reshape(-1), kind).reshape(last - first, *tensor.shape[1:])

    def _tensor(self, name: str) -> TensorInfo:
        try:
            return self.tensors[name]
        except KeyError:
            raise InvalidInput(f"{self.path.name} has no tensor {shorten(name)}.") from None


def _to_float32(raw: NDArray[np.uint8], kind: GGMLQuantizationType) -> NDArray[np.float32]:
    if kind == GGMLQuantizationType.F32:
        return raw.view("<f4").astype(np.float32)
    elements, nbytes = GGML_QUANT_SIZES[kind]
    blocks = raw.reshape(-1, nbytes)
    out = np.empty((len(blocks), elements), np.float32)
    # In pieces: gguf holds its results twice. Each in rows of many blocks: it takes sixteen rows at a time.
    piece, row = max(1, _PIECE // elements), max(1, _ROW // elements)
    with np.errstate(all="ignore"):
        for at in range(0, len(blocks), piece):
            part = blocks[at : at + piece]
            rows = part.reshape(-1, row * nbytes) if len(part) % row == 0 else part
            out[at : at + piece] = dequantize(rows, kind).reshape(-1, elements)
    return out.reshape(-1)
