"""Run a checkpoint over a short text, layer by layer, while its matrices are replaced on the way.

Knows text, tokens and layers; knows nothing of how a matrix is replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetts.export.checkpoint import Checkpoint
from edgetts.export.tokenizer import special_tokens_from_gguf, special_tokens_from_hf
from edgetts.runtimes.reference import Decoder

Floats = NDArray[np.float32]
Replace = Callable[[str, Floats, dict[str, Floats]], None]

TEXT = "calibration.txt"
"""Prose, dialogue, sums, code, lists and a few languages, written for this purpose."""


def calibration_tokens(checkpoint: Checkpoint, tokenizer: Path, most: int) -> list[int]:
    """Return the text's first `most` tokens, fewer where the model's context ends."""
    return text_tokens(checkpoint, tokenizer)[: min(most, checkpoint.architecture.context)]


def text_tokens(checkpoint: Checkpoint, tokenizer: Path) -> list[int]:
    """Encode the text as the model expects one to begin."""
    import tokenizers

    text = files("edgetts.export").joinpath(TEXT).read_text(encoding="utf-8")
    tokens = tokenizers.Tokenizer.from_file(str(tokenizer)).encode(text, add_special_tokens=False).ids
    facts = (
        special_tokens_from_gguf(checkpoint.metadata)
        if checkpoint.directory is None
        else special_tokens_from_hf(checkpoint.directory)
    )
    if facts.add_bos and facts.bos is not None:
        tokens = [facts.bos, *tokens]
    return list(tokens)


class CalibrationPass:
    """One pass over some tokens, a layer at a time; memory holds one layer's weights.

    Every matrix is handed over with its inputs before it is used, so that what replaces it is what
    later inputs come from: they carry the errors made so far, as they will in use.
    """

    def __init__(self, checkpoint: Checkpoint, tokens: Sequence[int]) -> None:
        self._decoder = Decoder(checkpoint.architecture, checkpoint.load, positions=len(tokens))
        self._layer = 0
        unique, places = np.unique(np.asarray(tokens), return_inverse=True)
        rows = [checkpoint.load("token_embd.weight", slice(t, t + 1)) for t in unique.tolist()]
        self._stream = self._decoder.embed(places.tolist(), np.concatenate(rows))

    def advance(self, replace: Replace) -> int:
        """Run the next layer and return its number.

        `replace` is called with a group of matrices (attn_qkv, attn_output, ffn_gate_up, ffn_down),
        their inputs [tokens, cols] and the layer's weights, where it puts what shall be used.
        """
        layer, decoder = self._layer, self._decoder
        weights = decoder.layer_weights(layer)

        def observe(group: str, inputs: Floats) -> None:
            replace(group, inputs, weights)

        self._stream = decoder.layer(layer, weights, self._stream, decoder.empty_cache(), observe)
        self._layer += 1
        return layer

    def head_inputs(self) -> Floats:
        """Return the inputs of the head [tokens, hidden], when all layers have run."""
        return self._decoder.final(self._stream)
