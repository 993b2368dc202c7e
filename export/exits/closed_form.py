"""Fit networks by ridge regression: one solve, no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from edgetts.export.exits.network import Floats, Network, rms

_CHUNK = 4096
# Of the mean of the moments' diagonal: what 150,000 tokens of 576 to 1152 columns want.
_RIDGE = 1e-2


def fit_linear(
    inputs: Sequence[Callable[[NDArray[np.intp]], Floats]],
    target: Callable[[NDArray[np.intp]], Floats],
    rows: NDArray[np.intp],
) -> Network:
    """Fit the linear map from normalised inputs to a final hidden state that errs least in squares.

    inputs, target: read rows [n, hidden] by their numbers, so that 16-bit or mapped arrays serve.
    """
    sample = target(rows[:1])
    hidden = sample.shape[1]
    columns = hidden * len(inputs)
    moments = np.zeros((columns, columns), np.float64)
    products = np.zeros((columns, hidden), np.float64)
    for at in range(0, len(rows), _CHUNK):
        part = rows[at : at + _CHUNK]
        x = np.concatenate([rms(read(part).astype(np.float32)) for read in inputs], axis=-1)
        moments += x.T @ x
        products += x.T @ target(part).astype(np.float32)
    moments[np.diag_indices(columns)] += _RIDGE * np.trace(moments) / columns
    solved = np.linalg.solve(moments, products).T.astype(np.float32)
    ones = np.ones(hidden, np.float32)
    return Network(solved, np.zeros((hidden, 0), np.float32), (ones,) * len(inputs), None)
