"""Measure what rounding one matrix costs at the end of a model that is float32 otherwise."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edgetts.export.static.matrices import Matrix, Ranges, encodings_for
from edgetts.export.static.precision.layerwise import Layerwise, Window
from edgetts.export.static.tensors import WeightForm

# Layers whose matrices are measured one by one: those that cost most. The others' cost is shared out as theirs is.
_SINGLED_OUT = 1 / 3
# Share of the work that is done when all layers were measured as wholes.
_WHOLE = 0.3


def measured_costs(
    model: Layerwise,
    everything: Sequence[Matrix],
    form: WeightForm,
    ranges: Ranges,
    tokens: Sequence[int],
    progress: Callable[[float], None],
) -> dict[str, float]:
    """Return what rounding each matrix to `form` costs, in nats a position of a text."""
    # Half of a text orders SmolLM2's matrices as the whole does (rank correlation 0.97 and 0.99; another text: 0.9).
    tokens = tokens[: max(1, len(tokens) // 2)]
    model = model.narrower(len(tokens))
    window = model.window(tokens)
    layers = range(model.arch.layers + 1)
    members = {layer: [m for m in everything if m.layer == layer] for layer in layers}
    count = max(1, round(len(layers) * _SINGLED_OUT))
    depth = len(layers)

    def cost(layer: int, rounded: Sequence[Matrix]) -> float:
        return _cost(model, everything, layer, rounded, form, ranges, window)

    whole: dict[int, float] = {}
    for layer in layers:
        whole[layer] = cost(layer, members[layer])
        progress(_WHOLE * (1 - (1 - (layer + 1) / depth) ** 2))
    chosen = sorted(layers, key=lambda layer: -whole[layer])[:count]
    # Behind an early layer there is more left to run than behind a late one.
    work, done = sum(depth - layer for layer in chosen), 0
    costs: dict[str, float] = {}
    shares: dict[str, list[float]] = {}
    for layer in chosen:
        if len(members[layer]) == 1:
            costs[members[layer][0].name] = whole[layer]
            continue
        single: dict[str, float] = {}
        for matrix in members[layer]:
            single[matrix.name] = cost(layer, [matrix])
            progress(
                _WHOLE + (1 - _WHOLE) * (done + (depth - layer) * len(single) / len(members[layer])) / work
            )
        done += depth - layer
        costs |= single
        if (together := sum(single.values())) > 0:
            for name, one in single.items():
                shares.setdefault(_part(name), []).append(one / together)
    for layer in layers:
        for matrix in members[layer]:
            typical = float(np.median(shares.get(_part(matrix.name), [1 / len(members[layer])])))
            costs.setdefault(matrix.name, whole[layer] * typical)
    progress(1.0)
    return costs


def _part(name: str) -> str:
    return name.rpartition(".weight")[0].rpartition(".")[2]


def _cost(
    model: Layerwise,
    everything: Sequence[Matrix],
    layer: int,
    rounded: Sequence[Matrix],
    form: WeightForm,
    ranges: Ranges,
    window: Window,
) -> float:
    names = {matrix.name for matrix in rounded}
    forms: dict[str, WeightForm] = {m.name: form if m.name in names else "float" for m in everything}
    stream = model.rounded(layer, forms, encodings_for(everything, forms, ranges))(window.streams[layer])
    logits = stream[0] if layer == model.arch.layers else model.finish(layer + 1, stream)
    found = model.divergence(window, logits)
    return max(0.0, found.kl / found.positions)
