"""Hold a model's tensors for static graphs: once, in one file, in the form that a target computes with.

Knows names and arrays; knows nothing of layers' order or of graphs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from edgetts.architecture import Architecture
from edgetts.bundle import TensorNote
from edgetts.export.static.encoding import Encoding
from edgetts.export.weights import WeightsFile, pack_nibbles

Floats = NDArray[np.float32]
Load = Callable[[str], Floats]
WeightForm = Literal["int4", "int8", "float"]

_ROWS = 4096


def folded(arch: Architecture, load: Load) -> Load:
    """Return `load` with the scale of attention scores folded into what makes the queries.

    A graph then needs no product for it, and a target no rounding of one.
    """
    scale = np.float32(arch.scale)
    parts = ("attn_q_norm.weight",) if arch.qk_norm else ("attn_q.weight", "attn_q.bias")

    def loaded(name: str) -> Floats:
        tensor = load(name)
        return np.asarray(tensor * scale, np.float32) if name.endswith(parts) else tensor

    return loaded


def per_channel(matrix: Floats, bits: Literal[4, 8]) -> tuple[NDArray[np.int8], Floats]:
    """Round [rows, columns] to symmetric integers, one scale a row, chosen by the squared error.

    Returns codes [rows, columns] and scales [rows]. NPUs want a zero point of 0 where there is a scale a channel.
    """
    most = (1 << (bits - 1)) - 1
    codes = np.empty(matrix.shape, np.int8)
    scales = np.empty(len(matrix), np.float32)
    for at in range(0, len(matrix), _ROWS):
        rows = slice(at, at + _ROWS)
        part = matrix[rows]
        finest = np.maximum(np.abs(part).max(axis=1) / np.float32(most), np.finfo(np.float32).tiny)
        codes[rows], scales[rows] = np.rint(part / finest[:, None]), finest
        if bits == 8:
            continue
        best = np.square(codes[rows] - part / finest[:, None]).sum(axis=1)
        # Cutting off a row's ends makes all its steps finer, which pays with few bits.
        for shrink in (0.93, 0.86, 0.79, 0.72, 0.65):
            scale = finest * np.float32(shrink)
            rounded = np.clip(np.rint(part / scale[:, None]), -most, most)
            # In steps of the widest scale, so that no square is too large or too small for a float.
            error = np.square(rounded * np.float32(shrink) - part / finest[:, None]).sum(axis=1)
            better = error < best
            best[better] = error[better]
            scales[rows][better] = scale[better]
            codes[rows][better] = rounded[better]
    return codes, scales


@dataclass
class StoredTensors:
    """Write tensors when a graph first asks for them; later graphs refer to the same bytes.

    forms: how matrices are held, by name; the rest as `form`. What `replace` makes of it with others writes to the
    same file, each form of a matrix once.
    """

    weights: WeightsFile
    load: Load
    form: WeightForm
    forms: Mapping[str, WeightForm]
    lost: dict[tuple[str, WeightForm], float] = field(default_factory=dict)
    """Root mean square of what rounding changed, relative to the matrix's own, by its name and form."""
    packed: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Shapes of what is stored two to a byte."""

    def vector(self, name: str, encoding: Encoding | None) -> onnx.TensorProto:
        if name not in self.weights.tensors:
            values = self.load(name)
            self.weights.add(name, [values if encoding is None else encoding.codes(values)])
        return self.weights.reference(name)

    def matrix(self, name: str, *, kernel: bool) -> Sequence[onnx.TensorProto]:
        form = self.forms.get(name, self.form)
        if (name, form) not in self.lost:
            self._store(name, form, kernel)
        return [self._reference(part) for part in _parts(name, form)]

    def notes(self, kind: Callable[[str], str]) -> dict[str, TensorNote]:
        """Say of every matrix how it is held, and what was lost. kind: how the source holds one of a name."""
        held = {"int4": "int4 per channel", "int8": "int8 per channel", "float": "float32"}
        return {
            name: TensorNote(
                kind(name), held[form], sum(self.weights.tensors[p].nbytes for p in _parts(name, form)), lost
            )
            for (name, form), lost in self.lost.items()
        }

    def _store(self, name: str, form: WeightForm, kernel: bool) -> None:
        matrix = self.load(name)
        if form == "float":
            self.weights.add(name, [_turned(matrix, kernel)])
            self.lost[name, form] = 0.0
            return
        codes, scales = per_channel(matrix, 4 if form == "int4" else 8)
        self.lost[name, form] = _relative_error(matrix, codes, scales)
        zeros = np.zeros(len(scales), np.int8)
        held, scaled, offset = _parts(name, form)
        small = form == "int4"
        turned = _turned(codes, kernel)
        self.weights.add(held, [self._packed(held, turned) if small else turned])
        self.weights.add(scaled, [scales])
        self.weights.add(offset, [self._packed(offset, zeros) if small else zeros])

    def _packed(self, part: str, codes: NDArray[np.int8]) -> NDArray[np.uint8]:
        """Return codes of 4 bits two to a byte, rows one behind the other whatever their length is."""
        self.packed[part] = codes.shape
        return pack_nibbles(codes.reshape(-1).view(np.uint8) & np.uint8(0x0F))

    def _reference(self, part: str) -> onnx.TensorProto:
        if part not in self.packed:
            return self.weights.reference(part)
        proto = self.weights.reference(part, self.packed[part])
        proto.data_type = onnx.TensorProto.INT4
        return proto


def _parts(name: str, form: WeightForm) -> list[str]:
    """Name the tensors that hold a matrix."""
    return [name] if form == "float" else [f"{name}.{form}.{part}" for part in ("codes", "scales", "zeros")]


def _turned(matrix: NDArray[Any], kernel: bool) -> NDArray[Any]:
    return matrix[:, :, None, None] if kernel else matrix.T


def _relative_error(matrix: Floats, codes: NDArray[np.int8], scales: Floats) -> float:
    lost = total = 0.0
    for at in range(0, len(matrix), _ROWS):
        rows = slice(at, at + _ROWS)
        difference = codes[rows] * scales[rows, None] - matrix[rows]
        lost += float(np.vdot(difference, difference))
        total += float(np.vdot(matrix[rows], matrix[rows]))
    return float(np.sqrt(lost / total)) if total else 0.0
