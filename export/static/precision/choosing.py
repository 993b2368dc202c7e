"""Hold matrices in as few bits as the model can do with, and raise those that hurt most for their size.

Starts from the target's own form everywhere. What rounding costs is measured at the end of the model, layer by layer
and then matrix by matrix: the Kullback-Leibler divergence of its output from float32's while only that one is rounded.
These add up well while they are small, so that the greatest per byte are raised first, until text that was not
looked at is answered as wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edgetts.export.check import Divergence
from edgetts.export.static.encoding import Encoding
from edgetts.export.static.matrices import Matrix, Ranges, encodings_for, matrices
from edgetts.export.static.precision.layerwise import Layerwise, Window
from edgetts.export.static.tensors import WeightForm

_LADDER: tuple[WeightForm, ...] = ("int4", "int8", "float")
# Layers whose matrices are measured one by one: those that cost most. The others' cost is shared out as theirs is.
_SINGLED_OUT = 1 / 3
# Between two looks at held-out text the predicted cost is brought down by this much.
_STEP = 0.75


@dataclass(frozen=True, slots=True)
class Choice:
    """Forms of all matrices, encodings of what enters and leaves them, and how far held-out text is answered alike."""

    forms: dict[str, WeightForm]
    encodings: dict[str, Encoding]
    held_out: Divergence
    raised: tuple[str, ...]


def choose_forms(
    model: Layerwise,
    form: WeightForm,
    calibration: Sequence[Sequence[int]],
    held_out: Sequence[Sequence[int]],
    *,
    agreement: float,
    progress: Callable[[float], None] = lambda share: None,
) -> Choice:
    """Choose until a share of `agreement` of the held-out positions has the first choice that float32 has.

    form: what matrices begin as. Texts are of the width that the model was opened with.
    """
    everything = matrices(model.arch)
    seen = [model.window(tokens) for tokens in calibration]
    unseen = [model.window(tokens) for tokens in held_out]
    ranges = measured_ranges(model, everything, seen)
    progress(0.1)
    forms: dict[str, WeightForm] = {matrix.name: form for matrix in everything}
    costs = _costs(model, everything, form, ranges, seen[0], lambda share: progress(0.1 + 0.7 * share))
    left = sum(costs.values())
    raised: list[str] = []
    while True:
        encodings = encodings_for(everything, forms, ranges)
        found = _evaluate(model, forms, encodings, unseen)
        if found.agreements >= agreement * found.positions or not costs:
            return Choice(forms, encodings, found, tuple(raised))
        progress(min(0.99, 0.8 + 0.02 * len(raised)))
        wanted = left * _STEP
        while costs and left > wanted:
            matrix = max(everything, key=lambda m: _gain(m, forms, costs))
            higher = _LADDER[_LADDER.index(forms[matrix.name]) + 1]
            saved = costs.pop(matrix.name)
            left -= saved
            forms[matrix.name] = higher
            if higher != "float":
                # Each bit more takes three quarters of the squared error away.
                costs[matrix.name] = saved / 4**4
                left += costs[matrix.name]
            raised = [
                *(note for note in raised if not note.startswith(f"{matrix.name} ")),
                f"{matrix.name} {higher}",
            ]


def _gain(matrix: Matrix, forms: dict[str, WeightForm], costs: dict[str, float]) -> float:
    if matrix.name not in costs:
        return -1.0
    form = forms[matrix.name]
    higher = _LADDER[_LADDER.index(form) + 1]
    return costs[matrix.name] / (matrix.nbytes(higher) - matrix.nbytes(form))


def measured_ranges(model: Layerwise, everything: Sequence[Matrix], windows: Sequence[Window]) -> Ranges:
    """Return the smallest and largest value of all that enters or leaves a product with a matrix."""
    ranges: dict[str, tuple[float, float]] = {}
    for layer in range(model.arch.layers + 1):
        names = sorted({t for m in everything if m.layer == layer for t in (m.enters, m.leaves)})
        for window in windows:
            for name, values in model.observed(layer, names, window.streams[layer]).items():
                low, high = ranges.get(name, (0.0, 0.0))
                ranges[name] = (min(low, float(values.min())), max(high, float(values.max())))
    return ranges


def _costs(
    model: Layerwise,
    everything: tuple[Matrix, ...],
    form: WeightForm,
    ranges: Ranges,
    window: Window,
    tell: Callable[[float], None],
) -> dict[str, float]:
    """Return what rounding each matrix costs, in nats a position."""
    layers = range(model.arch.layers + 1)
    members = {layer: [m for m in everything if m.layer == layer] for layer in layers}
    whole: dict[int, float] = {}
    for layer in layers:
        whole[layer] = _cost(model, everything, layer, members[layer], form, ranges, window)
        tell(0.5 * (layer + 1) / len(layers))
    chosen = sorted(layers, key=lambda layer: -whole[layer])[: max(1, round(len(layers) * _SINGLED_OUT))]
    costs: dict[str, float] = {}
    shares: dict[str, list[float]] = {}
    for done, layer in enumerate(chosen, 1):
        if len(members[layer]) == 1:
            costs[members[layer][0].name] = whole[layer]
            continue
        single = {m.name: _cost(model, everything, layer, [m], form, ranges, window) for m in members[layer]}
        costs |= single
        total = sum(single.values()) or 1.0
        for name, cost in single.items():
            shares.setdefault(_part(name), []).append(cost / total)
        tell(0.5 + 0.5 * done / len(chosen))
    for layer in layers:
        for matrix in members[layer]:
            typical = float(np.median(shares.get(_part(matrix.name), [1 / len(members[layer])])))
            costs.setdefault(matrix.name, whole[layer] * typical)
    return costs


def _part(name: str) -> str:
    return name.rpartition(".weight")[0].rpartition(".")[2]


def _cost(
    model: Layerwise,
    everything: tuple[Matrix, ...],
    layer: int,
    rounded: Sequence[Matrix],
    form: WeightForm,
    ranges: Ranges,
    window: Window,
) -> float:
    names = {matrix.name for matrix in rounded}
    forms: dict[str, WeightForm] = {m.name: form if m.name in names else "float" for m in everything}
    encodings = encodings_for(everything, forms, ranges)
    [stream] = model.rounded(layer, forms, encodings, [window.streams[layer]])
    logits = stream[0] if layer == model.arch.layers else model.finish(layer + 1, stream)
    found = model.divergence(window, logits)
    return max(0.0, found.kl / found.positions)


def _evaluate(
    model: Layerwise,
    forms: dict[str, WeightForm],
    encodings: dict[str, Encoding],
    windows: Sequence[Window],
) -> Divergence:
    """Run all layers rounded, as the finished graphs are."""
    streams = [window.streams[0] for window in windows]
    for layer in range(model.arch.layers + 1):
        streams = model.rounded(layer, forms, encodings, streams)
    total = Divergence()
    for window, logits in zip(windows, streams, strict=True):
        total += model.divergence(window, logits[0])
    return total
