"""Write the embedding table that the host of a static bundle looks rows up in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetts.errors import UnsupportedModel
from edgetts.export.checkpoint import Checkpoint
from edgetts.static_form import EMBEDDING

Floats = NDArray[np.float32]

TABLE = "token_embd.weight"
LARGEST_HALF = float(np.finfo(np.float16).max)
_ROWS = 8192


def embedded(checkpoint: Checkpoint, tokens: Sequence[int]) -> Floats:
    """Return rows [n, hidden] of the table, times its scale where the model has one."""
    unique, places = np.unique(np.asarray(tokens, np.int64), return_inverse=True)
    rows = np.concatenate([_rows(checkpoint, slice(token, token + 1)) for token in unique.tolist()])
    return np.asarray(rows[places])


def write_embedding(directory: Path, checkpoint: Checkpoint, *, half: bool) -> None:
    """Write the table [vocab, hidden], in float16 or float32. Raises UnsupportedModel for values float16 has not."""
    arch = checkpoint.architecture
    shape, kind = (arch.vocab, arch.hidden), np.float16 if half else np.float32
    with (directory / EMBEDDING).open("wb") as file:
        header = {
            "descr": np.lib.format.dtype_to_descr(np.dtype(kind)),
            "fortran_order": False,
            "shape": shape,
        }
        np.lib.format.write_array_header_1_0(file, header)
        for at in range(0, arch.vocab, _ROWS):
            rows = _rows(checkpoint, slice(at, min(at + _ROWS, arch.vocab)))
            if half and (largest := float(np.abs(rows).max())) > LARGEST_HALF:
                raise UnsupportedModel(
                    f"The embedding table of this model reaches {largest:,.0f}, and float16 ends at "
                    f"{LARGEST_HALF:,.0f}.",
                    hint="Targets that round nothing hold it in float32: --target generic-static",
                )
            file.write(np.ascontiguousarray(rows, kind).data)


def _rows(checkpoint: Checkpoint, rows: slice) -> Floats:
    table = checkpoint.load(TABLE, rows)
    scale = checkpoint.architecture.embedding_scale
    return table if scale is None else table * np.float32(scale)
