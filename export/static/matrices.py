"""Name the matrices of a model, and the tensors that are rounded where one is held in integers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgetts.architecture import Architecture
from edgetts.export.static.encoding import Encoding
from edgetts.export.static.graph import head_name
from edgetts.export.static.tensors import WeightForm

Ranges = Mapping[str, tuple[float, float]]
"""Smallest and largest value that was seen of a tensor."""

# What a text did not show must not be cut off; 16 bits have levels to spare.
_MARGIN = 1.25


@dataclass(frozen=True, slots=True)
class Matrix:
    """A matrix [rows, cols] of layer `layer` (the depth is the head), with what enters and leaves its product."""

    name: str
    layer: int
    rows: int
    cols: int
    enters: str
    leaves: str

    def nbytes(self, form: WeightForm) -> float:
        """Bytes that the matrix takes; floats are held in 16 bits by what runs them."""
        return self.rows * self.cols * {"int4": 0.5, "int8": 1.0, "float": 2.0}[form]


def matrices(arch: Architecture) -> tuple[Matrix, ...]:
    """List the matrices, layer by layer, the head last."""
    found = []
    query, keys = arch.heads * arch.head_dim, arch.kv_heads * arch.head_dim
    for layer in range(arch.layers):
        prefix = f"blk.{layer}"
        for part, rows, cols, enters in (
            ("attn_q", query, arch.hidden, "attn.in"),
            ("attn_k", keys, arch.hidden, "attn.in"),
            ("attn_v", keys, arch.hidden, "attn.in"),
            ("attn_output", arch.hidden, query, "found"),
            ("ffn_gate", arch.intermediate, arch.hidden, "ffn.in"),
            ("ffn_up", arch.intermediate, arch.hidden, "ffn.in"),
            ("ffn_down", arch.hidden, arch.intermediate, "glu"),
        ):
            name = f"{prefix}.{part}"
            found.append(Matrix(f"{name}.weight", layer, rows, cols, f"{prefix}.{enters}", f"{name}.out"))
    found.append(Matrix(head_name(arch), arch.layers, arch.vocab, arch.hidden, "features", "logits"))
    return tuple(found)


def cuts_for(arch: Architecture, form: WeightForm, most_bytes: int | None) -> tuple[int, ...] | None:
    """Return cuts that part the layers into segments of so many bytes at most; None where quarters are small enough.

    A layer that is larger by itself is a segment of its own.
    """
    everything = matrices(arch)
    whole = sum(matrix.nbytes(form) for matrix in everything if matrix.layer < arch.layers)
    if most_bytes is None or whole <= 4 * most_bytes:
        return None
    layers = max(1, int(most_bytes // (whole / arch.layers)))
    return tuple(range(layers, arch.layers, layers))


def encodings_for(
    all_matrices: Sequence[Matrix], forms: Mapping[str, WeightForm], ranges: Ranges
) -> dict[str, Encoding]:
    """Return the encodings of what enters and leaves products with matrices that are held in integers."""
    names = {
        tensor
        for matrix in all_matrices
        if forms[matrix.name] != "float"
        for tensor in (matrix.enters, matrix.leaves)
    }
    return {
        name: Encoding.covering(_MARGIN * ranges[name][0], _MARGIN * ranges[name][1])
        for name in sorted(names)
    }
