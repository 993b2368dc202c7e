"""Predict what a context of llama.cpp takes, so that what does not fit is refused before it is allocated."""

from __future__ import annotations

from dataclasses import dataclass

from edgetts.errors import OutOfMemory

CELLS = 256
"""llama.cpp rounds a context up to a multiple of this."""


def rounded(cells: int) -> int:
    """Return the cells of the smallest context that holds so many."""
    return -(-cells // CELLS) * CELLS


@dataclass(frozen=True, slots=True)
class ContextSize:
    """What a context is opened for. cells: tokens of all branches; outputs: rows of logits in a pass."""

    cells: int
    sequences: int
    batch: int
    outputs: int


@dataclass(frozen=True, slots=True)
class MemoryModel:
    """What a model's contexts take, in bytes.

    per_token: cache of one cell. per_sequence: state that recurrent layers keep. heads: of attention
    where all its scores are held, 0 with flash attention.
    """

    per_token: int
    per_sequence: int
    vocab: int
    hidden: int
    heads: int

    def cache(self, size: ContextSize) -> int:
        return size.cells * self.per_token + size.sequences * self.per_sequence

    def working(self, size: ContextSize) -> int:
        """Estimate a pass's own buffers: rows of logits (computed and kept), masks, scores, activations."""
        attention = size.batch * size.cells * (6 + 4 * self.heads)
        return 2 * size.outputs * self.vocab * 4 + attention + 16 * size.batch * self.hidden * 4

    def most_cells(self, size: ContextSize, allowed: int | None, available: int) -> int:
        """Return the cells of the largest context with otherwise these sizes that fits.

        allowed: bytes of cache; available: bytes that the machine has for the whole context.
        """
        per_cell = size.batch * (6 + 4 * self.heads)
        fixed = self.cache(ContextSize(0, size.sequences, 0, 0))
        base = ContextSize(0, size.sequences, size.batch, size.outputs)
        most = (available - fixed - self.working(base)) // (self.per_token + per_cell)
        if allowed is not None:
            fits = fixed <= allowed
            by_limit = (allowed - fixed) // self.per_token if self.per_token else most
            most = min(most, by_limit) if fits else 0
        return max(0, most) // CELLS * CELLS

    def check(self, size: ContextSize, allowed: int | None, available: int) -> None:
        """Raise OutOfMemory where a context does not fit."""
        most = self.most_cells(size, allowed, available)
        if size.cells <= most:
            return
        limited = allowed is not None and self.cache(size) > allowed
        needs = self.cache(size) if limited else self.cache(size) + self.working(size)
        has, what = (allowed, "allowed") if limited else (available, "free")
        raise OutOfMemory(
            f"A cache of {size.cells} tokens needs {_megabytes(needs)} MB, but {_megabytes(has or 0)} MB are "
            f"{what}, which hold {most} tokens.",
            hint="Ask for fewer samples, a shorter prompt, or allow more memory.",
        )


def _megabytes(nbytes: int) -> str:
    return f"{nbytes / 1e6:.3g}" if nbytes < 1e7 else f"{nbytes / 1e6:.0f}"
