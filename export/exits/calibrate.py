"""Learn how often a guess of a stated probability is right: isotonic regression, kept as a few knots."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgetts.export.exits.network import Floats

Knots = tuple[tuple[float, float], ...]
_KNOTS = 16


def isotonic(stated: Floats, right: NDArray[np.bool_]) -> Knots:
    """Fit the rising curve that errs least in squares (pool adjacent violators; Zadrozny & Elkan, 2002).

    Returns points (stated, observed), between which the curve is linear; it is flat beyond them.
    """
    if not len(stated):
        return ((0.0, 0.0), (1.0, 1.0))
    order = np.argsort(stated, kind="stable")
    # Blocks of equal size first: what single observations say is noise, and there may be very many.
    groups = np.array_split(order, min(len(order), 8 * _KNOTS))
    blocks: list[tuple[float, float, float]] = []
    for group in groups:
        blocks.append((float(right[group].mean()), float(len(group)), float(stated[group].mean())))
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            (b, m, y), (a, n, x) = blocks.pop(), blocks.pop()
            total = n + m
            blocks.append(((a * n + b * m) / total, total, (x * n + y * m) / total))
    points = [(x, y) for y, _, x in blocks]
    if len(points) > _KNOTS:
        chosen = np.unique(np.linspace(0, len(points) - 1, _KNOTS).round().astype(int))
        points = [points[i] for i in chosen]
    return tuple((round(x, 5), round(y, 5)) for x, y in points)


def expected_error(stated: Floats, right: NDArray[np.bool_], knots: Knots, bins: int = 10) -> float:
    """Return the expected calibration error: the mean gap between calibrated and observed shares, by bins."""
    if not len(stated):
        return 0.0
    xs, ys = zip(*knots, strict=True)
    calibrated = np.interp(stated, xs, ys)
    edges = np.minimum((calibrated * bins).astype(int), bins - 1)
    gaps = [
        abs(float(calibrated[edges == b].mean() - right[edges == b].mean())) * float((edges == b).mean())
        for b in range(bins)
        if (edges == b).any()
    ]
    return sum(gaps)
