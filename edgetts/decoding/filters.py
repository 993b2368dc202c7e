"""Leave out unlikely tokens: top_k, top_p and min_p, with as few looks at the vocabulary as possible."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgetts.decoding.inversion import Floats
from edgetts.types import SamplingParams


def kept(weights: Floats, params: SamplingParams) -> tuple[NDArray[np.intp], NDArray[np.float64]] | None:
    """Return ids, ascending, and weights of the tokens that the filters leave; None where there is no filter.

    weights: of all tokens that may come, of which the best weighs 1.
    """
    if 0 < params.top_k < len(weights):
        return _among(params, *most_likely(weights, params.top_k))
    if params.top_p == 1 and params.min_p == 0:
        return None
    # All tokens below the second bound together weigh less than 1 - top_p of the whole, so they are beyond
    # the nucleus whatever their order.
    total = float(weights.sum(dtype=np.float64))
    floor = max(params.min_p, (1 - params.top_p) * total / len(weights))
    ids = np.flatnonzero(weights >= np.float32(floor))
    return _among(params, ids, weights[ids], total)


def _among(
    params: SamplingParams, ids: NDArray[np.intp], weights: Floats, total: float | None = None
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return those of a few candidates that the remaining filters leave.

    total: the weight of all tokens; None is that of the candidates.
    """
    exact = weights.astype(np.float64)
    if params.top_p < 1:
        order = np.argsort(-exact, kind="stable")
        before = np.cumsum(exact[order]) - exact[order]
        left = np.sort(order[before < params.top_p * (exact.sum() if total is None else total)])
        ids, exact = ids[left], exact[left]
    if params.min_p > 0:
        left = np.flatnonzero(exact >= params.min_p * exact.max())
        ids, exact = ids[left], exact[left]
    return ids, exact


def most_likely(values: Floats, k: int) -> tuple[NDArray[np.intp], Floats]:
    """Return ids, ascending, and values of the k largest; of equals at the edge, the lower ids."""
    edge = np.partition(values, len(values) - k)[len(values) - k]
    above = np.flatnonzero(values > edge)
    equal = np.flatnonzero(values == edge)[: k - len(above)]
    ids = np.sort(np.concatenate([above, equal]))
    return ids, values[ids]
