"""Find which columns of each matrix matter on a text: llama.cpp's importance matrix, by our own runtime.

Knows text, layers and files of arrays; llama.cpp takes the result and knows what to make of it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgetts.errors import InvalidInput, ModelNotFound
from edgetts.export.calibration import CalibrationPass, Replace
from edgetts.export.checkpoint import Checkpoint

if TYPE_CHECKING:
    import tokenizers

Floats = NDArray[np.float32]

_CHUNK = 512
_MOST = 4096
"""Tokens of the text that are looked at."""
_LEAST = 32
_GROUPS = {
    "attn_qkv": ("attn_q", "attn_k", "attn_v"),
    "attn_output": ("attn_output",),
    "ffn_gate_up": ("ffn_gate", "ffn_up"),
    "ffn_down": ("ffn_down",),
}


def text_tokens(path: Path, tokenizer: tokenizers.Tokenizer) -> list[int]:
    """Encode a text file. Raises ModelNotFound, InvalidInput."""
    try:
        with path.open(encoding="utf-8") as file:
            # A few characters make a token: more text than that would be encoded for nothing.
            text = file.read(16 * _MOST)
    except FileNotFoundError:
        raise ModelNotFound(f"There is no text file {path}.") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"{path} is not UTF-8 text.", hint="Name a plain text file.") from None
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.") from error
    tokens: list[int] = tokenizer.encode(text, add_special_tokens=False).ids[:_MOST]
    if len(tokens) < _LEAST:
        raise InvalidInput(
            f"{path} has {len(tokens)} tokens, too few to tell which weights matter.",
            hint="A few thousand words like those the model will meet do well.",
        )
    return tokens


def write_importance(
    path: Path, checkpoint: Checkpoint, tokens: list[int], progress: Callable[[float], None]
) -> None:
    """Write an .npz with the mean squares of every matrix's inputs, by the matrix's name in GGUF.

    The embedding and the head are left out, as llama.cpp's own tool does.
    """
    size = min(_CHUNK, checkpoint.architecture.context)
    chunks = [tokens[at : at + size] for at in range(0, len(tokens), size)]
    layers = checkpoint.architecture.layers
    squares: dict[str, NDArray[np.float64]] = {}

    def observer(layer: int) -> Replace:
        def observe(group: str, inputs: Floats, weights: dict[str, Floats]) -> None:  # noqa: ARG001 - all is kept
            total = np.square(inputs, dtype=np.float64).sum(axis=0)
            for part in _GROUPS[group]:
                name = f"blk.{layer}.{part}.weight"
                squares[name] = squares.get(name, 0.0) + total

        return observe

    for place, chunk in enumerate(chunks):
        run = CalibrationPass(checkpoint, chunk)
        for layer in range(layers):
            run.advance(observer(layer))
            progress((place * layers + layer + 1) / (len(chunks) * layers))
    means = {name: (total / len(tokens)).astype(np.float32) for name, total in squares.items()}
    np.savez(path, **means)  # type: ignore[arg-type]
