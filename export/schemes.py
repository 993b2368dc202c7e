"""Decide, tensor by tensor, in which form a matrix is stored. Knows names and kinds, not graphs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgetts.bundle import TensorNote
from edgetts.export.blocks import Affine
from edgetts.export.checkpoint import Checkpoint
from edgetts.export.quantize import nearest, relative_error

Floats = NDArray[np.float32]

QUANTIZE_MODES = ("keep", "int4", "int8", "fp32")
_BLOCK = 32


@dataclass(frozen=True, slots=True)
class Stored:
    """A matrix as it will be written, and what became of it."""

    matrix: Affine | Floats
    note: TensorNote


class Scheme(Protocol):
    """A rule for storing matrices."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of what was done."""
        ...

    def quantize(self, name: str) -> Stored:
        """Read one matrix of the checkpoint and return it in its stored form."""
        ...


def make_scheme(
    mode: str, checkpoint: Checkpoint, tokenizer: Path, progress: Callable[[float], None]
) -> Scheme:
    """Return the scheme of that name; one that learns from activations runs the model on a text first."""
    if mode == "fp32":
        return FloatScheme(checkpoint)
    if mode == "int4":
        from edgetts.export.int4 import Int4Scheme

        return Int4Scheme(checkpoint, tokenizer, progress)
    return KeepScheme(checkpoint, requantize=mode == "int8")


def dense(checkpoint: Checkpoint, name: str) -> Stored:
    """Store a matrix in float32, which loses nothing."""
    weights = checkpoint.load(name)
    return Stored(weights, TensorNote(checkpoint.kind(name), "fp32", weights.nbytes, 0.0))


def integer(checkpoint: Checkpoint, name: str, affine: Affine, error: float) -> Stored:
    """Store a matrix as integers, with a note that says in what form."""
    parts = [f"int{affine.bits}", f"block {affine.block}"]
    parts += ["zero points"] if affine.zeros is not None else []
    parts += ["offsets"] if affine.offsets is not None else []
    return Stored(affine, TensorNote(checkpoint.kind(name), ", ".join(parts), affine.stored_bytes, error))


class FloatScheme:
    """Everything in float32."""

    notes: tuple[str, ...] = ()

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint

    def quantize(self, name: str) -> Stored:
        return dense(self._checkpoint, name)


class KeepScheme:
    """Keep GGUF's integers as they are; round everything else to 8 bits in blocks of 32.

    With `requantize`, integers of fewer bits are turned into 8 as well, which is rounding.
    """

    def __init__(self, checkpoint: Checkpoint, *, requantize: bool) -> None:
        self._checkpoint = checkpoint
        self._requantize = requantize
        self._dense: list[str] = []

    @property
    def notes(self) -> tuple[str, ...]:
        if not self._dense:
            return ()
        return (
            f"stored in fp32, as their rows do not divide into blocks of {_BLOCK}: {', '.join(self._dense)}",
        )

    def quantize(self, name: str) -> Stored:
        kept = self._checkpoint.blocks(name)
        if kept is not None and not (self._requantize and (kept.bits < 8 or kept.offsets is not None)):
            return integer(self._checkpoint, name, kept, 0.0)
        if self._checkpoint.shape(name)[1] % _BLOCK:
            self._dense.append(name)
            return dense(self._checkpoint, name)
        weights = self._checkpoint.load(name)
        rounded = nearest(weights, 8, _BLOCK)
        return integer(self._checkpoint, name, rounded, relative_error(weights, rounded))
