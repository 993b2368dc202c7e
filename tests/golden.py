"""Say which tiny models, tokens and positions tests/data/golden_logits.npz holds logits of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tiny import Weights, tiny_architecture, tiny_weights

from edgetts.architecture import Architecture, RopeScaling

GOLDEN = Path(__file__).parent / "data" / "golden_logits.npz"

# Longer than the sliding windows of 8 and than the context before Llama 3's scaling, 16.
TOKENS = [(i * i * 7 + 13 * i + 5) % 300 for i in range(48)]
POSITIONS = [0, 1, 7, 8, 9, 24, 40, 47]

TINY_MODELS: dict[str, dict[str, Any]] = {
    "llama": {"family": "llama"},
    "llama-tied": {"family": "llama", "tied_embeddings": True},
    "llama3": {"family": "llama", "rope_scaling": RopeScaling("llama3", 8.0, 1.0, 4.0, 16)},
    "llama-linear": {"family": "llama", "rope_scaling": RopeScaling("linear", 4.0)},
    "mistral": {"family": "llama", "sliding_window": 8, "sliding_layers": (0, 1, 2, 3)},
    "qwen2": {"family": "qwen2"},
    "qwen3": {"family": "qwen3"},
    "gemma3": {"family": "gemma3"},
}
"""What each model is, beyond `tiny_architecture` of its family."""


def model_architecture(name: str, **changes: Any) -> Architecture:
    """Return the architecture of a tiny model by its name in TINY_MODELS."""
    return tiny_architecture(**(TINY_MODELS[name] | changes))


def golden_models() -> Iterator[tuple[str, Architecture, Weights]]:
    for name in TINY_MODELS:
        arch = model_architecture(name)
        yield name, arch, tiny_weights(arch)


def weights_sum(weights: Weights) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return a checksum, so that a NumPy that draws other numbers is told from a wrong model."""
    digest = hashlib.sha256()
    for name, tensor in weights.items():
        digest.update(name.encode() + tensor.tobytes())
    return np.frombuffer(digest.digest()[:8], np.uint8)
