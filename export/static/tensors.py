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
from onnx import numpy_helper

from edgetts.architecture import Architecture
from edgetts.bundle import TensorNote
from edgetts.export.static.encoding import Encoding
from edgetts.export.weights import WeightsFile

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
        part = matrix[at : at + _ROWS]
        widest = np.abs(part).max(axis=1)
        best = np.full(len(part), np.inf, np.float32)
        # Cutting off a row's ends makes all its steps finer, which pays with few bits.
        for shrink in (1.0,) if bits == 8 else (1.0, 0.93, 0.86, 0.79, 0.72, 0.65):
            scale = np.maximum(widest * np.float32(shrink / most), np.finfo(np.float32).tiny)
            rounded = np.clip(np.rint(part / scale[:, None]), -most, most)
            error = np.square(rounded * scale[:, None] - part).sum(axis=1)
            better = error < best
            best[better] = error[better]
            scales[at : at + _ROWS][better] = scale[better]
            codes[at : at + _ROWS][better] = rounded[better].astype(np.int8)
    return codes, scales


@dataclass
class StoredTensors:
    """Write tensors when a graph first asks for them; later graphs refer to the same bytes.

    forms: how matrices are held, by name; the rest as `form`.
    """

    weights: WeightsFile
    load: Load
    form: WeightForm
    forms: Mapping[str, WeightForm]
    lost: dict[str, float] = field(default_factory=dict)
    """Root mean square of what rounding changed, relative to the matrix's own."""

    def vector(self, name: str, encoding: Encoding | None) -> onnx.TensorProto:
        if name not in self.weights.tensors:
            values = self.load(name)
            self.weights.add(name, [values if encoding is None else encoding.codes(values)])
        return self.weights.reference(name)

    def matrix(self, name: str, *, kernel: bool) -> Sequence[onnx.TensorProto]:
        form = self.forms.get(name, self.form)
        if form == "float":
            if name not in self.weights.tensors:
                self.weights.add(name, [_turned(self.load(name), kernel)])
                self.lost[name] = 0.0
            return [self.weights.reference(name)]
        parts = [f"{name}.{part}" for part in ("codes", "scales", "zeros")]
        if parts[0] not in self.weights.tensors:
            matrix = self.load(name)
            codes, scales = per_channel(matrix, 4 if form == "int4" else 8)
            self.lost[name] = _relative_error(matrix, codes, scales)
            self.weights.add(parts[0], [_turned(codes, kernel)])
            self.weights.add(parts[1], [scales])
            self.weights.add(parts[2], [np.zeros(len(scales), np.int8)])
        return [self.weights.reference(part) for part in parts]

    def notes(self, kind: Callable[[str], str]) -> dict[str, TensorNote]:
        """Say of every matrix how it is held, and what was lost. kind: how the source holds one of a name."""
        held = {"int4": "int4 per channel", "int8": "int8 per channel", "float": "float32"}
        notes = {}
        for name, lost in self.lost.items():
            stored = [t for n, t in self.weights.tensors.items() if n == name or n.startswith(f"{name}.")]
            form = held[self.forms.get(name, self.form)]
            notes[name] = TensorNote(kind(name), form, sum(t.nbytes for t in stored), lost)
        return notes


@dataclass
class InlineTensors:
    """Hand tensors out in graphs themselves, for those that are run once; rounded matrices are kept."""

    load: Load
    form: WeightForm
    forms: Mapping[str, WeightForm]
    rounded: dict[tuple[str, WeightForm], tuple[NDArray[np.int8], Floats]] = field(default_factory=dict)

    def vector(self, name: str, encoding: Encoding | None) -> onnx.TensorProto:
        values = self.load(name)
        return numpy_helper.from_array(values if encoding is None else encoding.codes(values), name)

    def matrix(self, name: str, *, kernel: bool) -> Sequence[onnx.TensorProto]:
        form = self.forms.get(name, self.form)
        if form == "float":
            return [numpy_helper.from_array(np.ascontiguousarray(_turned(self.load(name), kernel)), name)]
        if (name, form) not in self.rounded:
            self.rounded[name, form] = per_channel(self.load(name), 4 if form == "int4" else 8)
        codes, scales = self.rounded[name, form]
        return [
            numpy_helper.from_array(np.ascontiguousarray(_turned(codes, kernel)), f"{name}.codes"),
            numpy_helper.from_array(scales, f"{name}.scales"),
            numpy_helper.from_array(np.zeros(len(scales), np.int8), f"{name}.zeros"),
        ]


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
