"""Say in GGUF's keys what an Architecture says. Knows what llama.cpp computes from which key, no tensors."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edgetts.architecture import Architecture
from edgetts.errors import UnsupportedModel
from edgetts.export.families import all_layers_but, traits_of

Value = bool | int | float | str | list[str] | list[int] | list[float]
Keys = dict[str, Value]

_GEMMA_27B_LAYERS = 62


def architecture_keys(arch: Architecture) -> tuple[Keys, tuple[str, ...]]:
    """Return the keys that describe a model, and notes on what llama.cpp cannot do of it.

    Raises UnsupportedModel for what no key can say.
    """
    name = traits_of(arch.family).gguf_names[0]
    values: Keys = {
        "block_count": arch.layers,
        "context_length": arch.context,
        "embedding_length": arch.hidden,
        "feed_forward_length": arch.intermediate,
        "attention.head_count": arch.heads,
        "attention.head_count_kv": arch.kv_heads,
        "attention.key_length": arch.head_dim,
        "attention.value_length": arch.head_dim,
        "attention.layer_norm_rms_epsilon": arch.norm_eps,
        "rope.freq_base": arch.rope_theta,
        "rope.dimension_count": arch.head_dim,
        "vocab_size": arch.vocab,
    }
    notes: tuple[str, ...] = ()
    if arch.rope_scaling is not None and arch.rope_scaling.kind == "linear":
        values |= {"rope.scaling.type": "linear", "rope.scaling.factor": arch.rope_scaling.factor}
    if arch.family == "gemma3":
        values |= _gemma(arch)
    elif (context := exact_context(arch)) < arch.context:
        values["context_length"] = context
        notes = (
            f"the context is {context} tokens instead of {arch.context}: beyond that the model's layers see a "
            f"part of the text, and llama.cpp would show them all",
        )
    return {f"{name}.{key}": value for key, value in values.items()}, notes


def exact_context(arch: Architecture) -> int:
    """Return how many tokens llama.cpp can take and still compute what the model does.

    It knows windows of Gemma only; elsewhere layers see everything, which is the same within the window.
    """
    if arch.family == "gemma3" or arch.sliding_window is None:
        return arch.context
    return min(arch.context, arch.sliding_window)


def sliding_period(arch: Architecture) -> int | None:
    """Return p where all layers but each p-th slide, which is all that llama.cpp knows; None where they do not."""
    periods = range(1, arch.layers + 2)
    return next((p for p in periods if all_layers_but(p, arch.layers) == arch.sliding_layers), None)


def rope_factors(arch: Architecture) -> NDArray[np.float32] | None:
    """Return the divisors of the rotary frequencies [head_dim / 2] that are a tensor in GGUF, or None.

    Llama 3's scaling has no keys: llama.cpp divides by what it comes to, frequency by frequency.
    """
    if arch.rope_factors is not None:
        return np.array(arch.rope_factors, np.float32)
    scaling = arch.rope_scaling
    if scaling is None or scaling.kind != "llama3":
        return None
    half = arch.head_dim // 2
    frequencies = arch.rope_theta ** (-np.arange(half, dtype=np.float64) / half)
    rotations = scaling.original_context * frequencies / (2 * math.pi)
    kept = (rotations - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    kept = np.clip(kept, 0.0, 1.0)
    return (1 / (kept + (1 - kept) / scaling.factor)).astype(np.float32)


def _gemma(arch: Architecture) -> Keys:
    wide = arch.hidden // arch.heads if arch.layers == _GEMMA_27B_LAYERS else arch.head_dim
    if not math.isclose(arch.scale, wide**-0.5, rel_tol=1e-6):
        raise UnsupportedModel(
            f"GGUF cannot say that this model's attention is scaled by {arch.scale:.6g}: "
            f"llama.cpp takes {wide**-0.5:.6g} for its size."
        )
    if arch.sliding_window is None:
        return {}
    period = sliding_period(arch)
    if period is None:
        raise UnsupportedModel("GGUF cannot say which layers of this model see only a window of the text.")
    return {
        "attention.sliding_window": arch.sliding_window,
        "attention.sliding_window_pattern": period,
        "rope.freq_base_swa": arch.rope_theta_local or arch.rope_theta,
    }
