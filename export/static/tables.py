"""Hand the embedding and head of a model to guessers in a static bundle. Knows the checkpoint and embedding.npy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edgetts.export.checkpoint import Checkpoint
from edgetts.export.static.graph import head_name
from edgetts.static_form import EMBEDDING

Floats = NDArray[np.float32]


class CheckpointTables:
    """Tables of `edgetts.export.exits.tables`: rows of the bundle's embedding.npy, and of the checkpoint's head."""

    embedding_output = "embedding"

    def __init__(self, bundle: Path, checkpoint: Checkpoint) -> None:
        self._rows: np.memmap[tuple[int, ...], np.dtype[np.float32]] = np.load(
            bundle / EMBEDDING, mmap_mode="r"
        )
        self._checkpoint = checkpoint

    def embedding_nodes(self) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
        table = onnx.TensorProto(
            name="embedding.table",
            dims=self._rows.shape,
            data_type=helper.np_dtype_to_tensor_dtype(self._rows.dtype),
            data_location=onnx.TensorProto.EXTERNAL,
        )
        place = {"location": EMBEDDING, "offset": self._rows.offset, "length": self._rows.nbytes}
        for key, value in place.items():
            entry = table.external_data.add()
            entry.key, entry.value = key, str(value)
        rows = helper.make_node("Gather", ["embedding.table", "input_ids"], ["embedding.rows"], axis=0)
        exact = helper.make_node("Cast", ["embedding.rows"], [self.embedding_output], to=TensorProto.FLOAT)
        return [rows, exact], [table]

    def embeddings(self, ids: NDArray[np.int64]) -> Floats:
        return np.asarray(self._rows[ids], np.float32)

    def head_rows(self, ids: NDArray[np.int64], hidden: int) -> Floats:
        rows: Floats = self._checkpoint.load(head_name(self._checkpoint.architecture))[ids]
        return np.ascontiguousarray(rows[:, :hidden])
