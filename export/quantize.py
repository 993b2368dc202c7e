"""Turn float matrices into integers with scales, losing little. Knows arrays only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgetts.export.blocks import Affine

Floats = NDArray[np.float32]

# Rows quantised at a time: temporaries stay near this many elements, whatever the matrix.
_CHUNK = 1 << 22


def nearest(weights: Floats, bits: int, block: int) -> Affine:
    """Round to the nearest of 2**bits symmetric levels, the block's largest value at the end of the range.

    The range has one more negative level than positive ones; the sign of the scale puts that level
    where the largest magnitude is.
    """
    rows, cols = weights.shape
    codes = np.empty((rows, cols), np.uint8)
    scales = np.empty((rows, cols // block), np.float32)
    half = 1 << (bits - 1)
    step = max(1, _CHUNK // cols)
    for at in range(0, rows, step):
        part = weights[at : at + step].reshape(-1, cols // block, block)
        largest = np.take_along_axis(part, np.abs(part).argmax(axis=-1)[..., None], axis=-1)[..., 0]
        scale = np.asarray(largest / -half, np.float32)
        inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale != 0)
        rounded = np.clip(np.rint(part * inverse[..., None]) + half, 0, 2 * half - 1)
        codes[at : at + step] = rounded.reshape(-1, cols).astype(np.uint8)
        scales[at : at + step] = scale
    return Affine(bits, block, codes, scales)


def relative_error(weights: Floats, affine: Affine) -> float:
    """Return the root mean square of what was lost, relative to that of the weights."""
    step = max(1, _CHUNK // affine.cols)
    lost = total = 0.0
    for at in range(0, affine.rows, step):
        rows = slice(at, at + step)
        part = weights[rows]
        difference = affine.select(rows).dequantize() - part
        lost += float(np.vdot(difference, difference))
        total += float(np.vdot(part, part))
    return float(np.sqrt(lost / total)) if total else 0.0
