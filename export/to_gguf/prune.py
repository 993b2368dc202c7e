"""Decide which layers of a model may be left out. Knows layers by number; leaving out is llama.cpp's."""

from __future__ import annotations

from collections.abc import Sequence

from edgetts.architecture import Architecture
from edgetts.errors import InvalidInput
from edgetts.export.families import all_layers_but
from edgetts.export.to_gguf.keys import sliding_period


def layers_to_prune(arch: Architecture, layers: Sequence[int]) -> tuple[int, ...]:
    """Return the layers in order, checked. Raises InvalidInput for what would leave no working model."""
    chosen = tuple(sorted(set(layers)))
    if any(not 0 <= layer < arch.layers for layer in chosen):
        raise InvalidInput(
            f"The model's layers are 0 to {arch.layers - 1}, so {_listed(chosen)} cannot all be left out."
        )
    if len(chosen) == arch.layers:
        raise InvalidInput("Leaving out every layer leaves no model.")
    if arch.family == "gemma3" and (period := sliding_period(arch)) is not None:
        # llama.cpp tells by their places which layers see a window only.
        kept = [layer for layer in range(arch.layers) if layer not in chosen]
        sliding = tuple(place for place, layer in enumerate(kept) if layer in arch.sliding_layers)
        if sliding != all_layers_but(period, len(kept)):
            raise InvalidInput(
                f"Without {_listed(chosen)}, llama.cpp would mistake which layers see only a window of the text.",
                hint=f"Leave out runs of {period} layers, such as {_listed(range(period))}.",
            )
    return chosen


def spans(layers: Sequence[int]) -> str:
    """Write ascending layers shortly: 3-5,9."""
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _listed(layers: Sequence[int]) -> str:
    return f"layer{'s' if len(layers) > 1 else ''} {spans(layers)}"
