"""Say how far a figure may be off, by drawing the examples anew; knows no examples."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

from edgetts.errors import InvalidInput
from edgetts.interval import Interval

DRAWS = 2_000


def bootstrap(
    figure: Callable[[Sequence[int]], float | None],
    n: int,
    *,
    draws: int = DRAWS,
    level: float = 0.95,
    seed: int = 0,
) -> Interval | None:
    """Return a percentile interval of a figure over n examples, redrawn with replacement.

    figure gets positions from 0 to n - 1, with repeats, and returns None where they allow no figure (those draws are
    left out). For a paired comparison let it return the difference of two figures at the same positions.
    None where the figure of all examples is None. Source: "Bootstrap Methods: Another Look at the Jackknife".
    """
    if n < 1 or draws < 1 or not 0 < level < 1:
        raise InvalidInput(
            f"A bootstrap needs examples and draws, and a level within 0 to 1: {n}, {draws}, {level}."
        )
    value = figure(range(n))
    if value is None:
        return None
    rng = random.Random(seed)  # noqa: S311  # not for secrets
    found = sorted(
        one
        for one in (figure([int(rng.random() * n) for _ in range(n)]) for _ in range(draws))
        if one is not None
    )
    edge = (1 - level) / 2
    return Interval(value, quantile(found or [value], edge), quantile(found or [value], 1 - edge), level)


def quantile(ordered: Sequence[float], share: float) -> float:
    """Read a quantile of ordered values, linear between two of them."""
    if not ordered or not 0 <= share <= 1:
        raise InvalidInput(f"There is no quantile {share} of {len(ordered)} values.")
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    if ordered[low] == ordered[high]:
        return ordered[low]
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
