"""See which types the matrices of a GGUF file have, and say what rounding did to them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgetts.export.checkpoint import Checkpoint
from edgetts.export.gguf_file import GgufFile
from edgetts.export.mapped_file import TensorInfo
from edgetts.export.to_gguf.forms import FLOAT_KINDS, Form

_FROM_COARSEST = ("BF16", "F16", "F32")


def matrices_of(path: Path) -> dict[str, TensorInfo]:
    """Return a file's tensors of two dimensions, by name."""
    with GgufFile.open(path) as file:
        return {name: tensor for name, tensor in file.tensors.items() if len(tensor.shape) == 2}


def coarsest_floats(path: Path) -> str | None:
    """Return the type that rounds most where all of a file's matrices are in floating point, else None."""
    kinds = {tensor.kind for tensor in matrices_of(path).values()}
    if not kinds <= set(FLOAT_KINDS):
        return None
    return next(kind for kind in _FROM_COARSEST if kind in kinds)


def rounding_notes(
    form: Form,
    matrices: Mapping[str, TensorInfo],
    checkpoint: Checkpoint,
    source: Path,
    pruned: tuple[int, ...],
) -> list[str]:
    """Say which matrices could not take a form, and which were rounded a second time.

    checkpoint: the source's, with the layers that were left out.
    """
    notes = []
    if odd := [tensor for tensor in matrices.values() if tensor.shape[1] % form.block]:
        kinds = ", ".join(sorted({tensor.kind for tensor in odd}))
        notes.append(
            f"{len(odd)} of {len(matrices)} matrices have rows that do not divide into blocks of "
            f"{form.block}, so llama.cpp stored them as {kinds}"
        )
    kept = [layer for layer in range(checkpoint.architecture.layers) if layer not in pruned]
    twice = 0
    for name, tensor in matrices.items():
        parts = name.split(".")
        if parts[0] == "blk":
            parts[1] = str(kept[int(parts[1])])
        before = checkpoint.kind(".".join(parts))
        twice += before not in FLOAT_KINDS and tensor.kind not in FLOAT_KINDS and before != tensor.kind
    if twice:
        notes.append(
            f"{source.name} was quantised already: {twice} of {len(matrices)} matrices were rounded a second "
            "time and lose twice, so start from the original checkpoint where there is one"
        )
    return notes
