"""Store matrices in 4 bits with the least change to what the model computes, without a training framework.

Knows a checkpoint's layers and which matrices are sensitive; the rounding itself is `quantize`'s.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetts.errors import CorruptFile
from edgetts.export.blocks import Affine
from edgetts.export.calibration import CalibrationPass, calibration_tokens
from edgetts.export.checkpoint import Checkpoint
from edgetts.export.mapped_file import DAMAGED_HINT
from edgetts.export.quantize import Inputs, compensated, fitted, inputs_seen, nearest, relative_error
from edgetts.export.schemes import Stored, dense, integer

Floats = NDArray[np.float32]

_BLOCK = 32
_TOKENS = 1024
_GROUPS = {
    "attn_qkv": ("attn_q", "attn_k", "attn_v"),
    "attn_output": ("attn_output",),
    "ffn_gate_up": ("ffn_gate", "ffn_up"),
    "ffn_down": ("ffn_down",),
}
_ALLOWANCE = 0.10
"""How much larger than plain 4 bits in blocks the whole may become through zero points and 8 bits."""
_SENSITIVE = ("attn_v", "attn_k")
"""What a byte buys most for, first: few rows that all queries share. Of the mean KL that 4 bits cost,
8 bits here take away 23% and 2% on SmolLM2, 15% and 11% on Qwen2.5-0.5B, for 1.5% and 0.4% more bytes."""
_MASSIVE = 1000.0
"""Inputs of one token that have this many times the typical token's power carry any rounding of their
columns into everything ("Massive Activations in Large Language Models"). SmolLM2 has two such matrices,
of layers 11 and 28, with 246,000 and 2,000 times; the next has 400. 8 bits for the first take away 15%
of the mean KL for 0.5% more bytes."""
_FOUR_BITS = ("Q4_0", "Q3_K")
"""Types of GGUF that hold 4 bits or fewer without an offset."""
_PLAIN_BITS, _ZERO_BITS, _WIDE_BITS = 5.0, 0.125, 9.0
"""Bits a weight in blocks of 32: codes and a float32 scale; a 4-bit zero point; codes of 8 bits."""


class Int4Scheme:
    """4 bits in blocks of 32 with zero points, errors compensated; 8 bits where a byte buys most.

    Layers are quantised one after the other, each with inputs that the layers quantised before it
    give, so ask for matrices in the order of the layers, then for the embedding and the head. What a
    file holds in 4 bits that need no offset is kept as it is.
    """

    def __init__(self, checkpoint: Checkpoint, tokenizer: Path, progress: Callable[[float], None]) -> None:
        self._checkpoint = checkpoint
        arch = checkpoint.architecture
        self._head = "token_embd.weight" if arch.tied_embeddings else "output.weight"
        self._tokens = calibration_tokens(checkpoint, tokenizer, _TOKENS)
        self._pass = CalibrationPass(checkpoint, self._tokens)
        self._progress = progress
        self._layer = 0
        self._ready: dict[str, Stored] = {}
        self._in_8_bits, self._bits_left = self._choose_8_bits()
        self._massive: list[str] = []
        self._kept = 0
        self._dense: list[str] = []

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of what was done."""
        notes = [
            f"4 bits, blocks of {_BLOCK}, integer zero points; each layer's rounding errors compensated on "
            f"{len(self._tokens)} tokens of calibration text that passed the layers quantised before it"
        ]
        if self._in_8_bits:
            notes.append(f"8 bits: {', '.join(self._in_8_bits)} of every layer")
        if self._massive:
            notes.append(f"8 bits, as single tokens dominate the inputs: {', '.join(self._massive)}")
        if self._kept:
            notes.append(f"kept as the source has them, in 4 bits: {self._kept} matrices")
        if self._dense:
            names = ", ".join(self._dense)
            notes.append(f"stored in fp32, as their rows do not divide into blocks of {_BLOCK}: {names}")
        return tuple(notes)

    def quantize(self, name: str) -> Stored:
        if not name.startswith("blk."):
            weights = self._checkpoint.load(name)
            # A table that only embeds is read row by row: its inputs have no moments.
            return self._store(name, weights, self._pass.head_inputs if name == self._head else None)
        while name not in self._ready:
            self._pass.advance(self._replace)
            self._layer += 1
            self._progress(self._layer / self._checkpoint.architecture.layers)
        return self._ready.pop(name)

    def _replace(self, group: str, inputs: Floats, weights: dict[str, Floats]) -> None:
        """Quantise a group of matrices that read the same inputs, and let the pass go on with the result."""
        with np.errstate(over="ignore", invalid="ignore"):
            power = np.einsum("ij,ij->i", inputs, inputs)
        if not np.isfinite(power).all():
            raise CorruptFile(
                f"Layer {self._layer} of {self._checkpoint.source_name} computes values that are not finite.",
                hint=DAMAGED_HINT,
            )
        moments: list[list[Inputs]] = []

        def seen() -> list[Inputs]:
            if not moments:
                moments.append(inputs_seen(inputs, _BLOCK))
            return moments[0]

        for part in _GROUPS[group]:
            name = f"blk.{self._layer}.{part}.weight"
            eight = part in self._in_8_bits
            if not eight and len(_GROUPS[group]) == 1 and _is_massive(power):
                eight = self._afford(name)
            stored = self._store(name, weights[f"{part}.weight"], seen, eight=eight)
            self._ready[name] = stored
            matrix = stored.matrix
            weights[f"{part}.weight"] = matrix if isinstance(matrix, np.ndarray) else matrix.dequantize()

    def _store(
        self,
        name: str,
        weights: Floats,
        inputs: Callable[[], list[Inputs] | Floats] | None,
        *,
        eight: bool = False,
    ) -> Stored:
        if weights.shape[1] % _BLOCK:
            self._dense.append(name)
            return dense(self._checkpoint, name)
        if (kept := self._kept_form(name, eight)) is not None:
            self._kept += kept.bits == 4
            return integer(self._checkpoint, name, kept, 0.0)
        if eight:
            affine = nearest(weights, 8, _BLOCK)
        elif inputs is None:
            affine = fitted(weights, _BLOCK)
        else:
            known = inputs()
            affine = compensated(
                weights, _BLOCK, inputs_seen(known, _BLOCK) if isinstance(known, np.ndarray) else known
            )
        return integer(self._checkpoint, name, affine, relative_error(weights, affine))

    def _kept_form(self, name: str, eight: bool) -> Affine | None:
        """Return what the file holds, if that takes no more bits than are planned and no offsets."""
        if not eight and self._checkpoint.kind(name) not in _FOUR_BITS:
            return None
        kept = self._checkpoint.blocks(name)
        return None if kept is None or kept.offsets is not None else kept

    def _afford(self, name: str) -> bool:
        """Take 8 bits for one matrix out of the allowance, if enough is left."""
        extra = math.prod(self._checkpoint.shape(name)) * (_WIDE_BITS - _PLAIN_BITS)
        if extra > self._bits_left:
            return False
        self._bits_left -= extra
        self._massive.append(name)
        return True

    def _choose_8_bits(self) -> tuple[tuple[str, ...], float]:
        """Return the kinds of matrices that fit into the allowance with 8 bits, in all layers or in none.

        Also returns how many bits of the allowance are left.
        """
        shapes = [self._checkpoint.shape(name) for name in self._checkpoint.names]
        total = sum(math.prod(shape) for shape in shapes if len(shape) == 2)
        left = total * (_PLAIN_BITS * _ALLOWANCE - _ZERO_BITS)
        chosen = []
        for part in _SENSITIVE:
            layers = range(self._checkpoint.architecture.layers)
            size = sum(math.prod(self._checkpoint.shape(f"blk.{layer}.{part}.weight")) for layer in layers)
            if (extra := size * (_WIDE_BITS - _PLAIN_BITS)) <= left:
                left -= extra
                chosen.append(part)
        return tuple(chosen), left


def _is_massive(power: Floats) -> bool:
    return bool(power.max() > _MASSIVE * np.median(power))
