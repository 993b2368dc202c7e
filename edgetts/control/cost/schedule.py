"""Which samples run at which pass, in many scenarios at once: samples end at different lengths, and others begin."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

SCENARIOS = 64


def first_to_last(
    passes: Floats, width: int, rounds: Sequence[int], drawn: npt.NDArray[np.int64]
) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
    """Return the pass at which each sample begins, at which it ends, and whether it does begin, [scenarios, samples].

    passes: how many each would take, [scenarios, samples]. At most `width` run at once; one begins where another ends,
    or, with `rounds` (samples in all after each), not before those of the rounds before have ended.
    drawn: samples after whose end everything stops, [scenarios].
    """
    import numpy as np

    scenarios, samples = passes.shape
    begins, ends = np.zeros_like(passes), np.zeros_like(passes)
    free = np.zeros((scenarios, min(width, samples)))
    rows = np.arange(scenarios)
    boundaries = set(rounds[:-1])
    for sample in range(samples):
        if sample in boundaries:
            free[:] = free.max(axis=1, keepdims=True)
        place = np.argmin(free, axis=1)
        begins[:, sample] = free[rows, place]
        ends[:, sample] = begins[:, sample] + passes[:, sample]
        free[rows, place] = ends[:, sample]
    last = np.sort(ends, axis=1)[rows, drawn - 1][:, None]
    kept = np.ones_like(begins, dtype=bool)
    if rounds:
        # A rule is asked after whole rounds.
        kept = np.arange(samples)[None, :] < drawn[:, None]
        last = np.where(kept, ends, 0.0).max(axis=1, keepdims=True)
    begun = kept & ((begins < last) | (ends <= last))
    return np.minimum(begins, last), np.minimum(ends, last), begun


def seconds_of(begins: Floats, ends: Floats, table: Floats) -> Floats:
    """Sum what the passes take, [scenarios]: `table` holds the seconds of a pass by how many samples run."""
    import numpy as np

    scenarios, samples = begins.shape
    moments = np.concatenate((begins, ends), axis=1)
    changes = np.concatenate((np.ones((scenarios, samples)), -np.ones((scenarios, samples))), axis=1)
    order = np.argsort(moments, axis=1, kind="stable")
    moments = np.take_along_axis(moments, order, axis=1)
    running = np.cumsum(np.take_along_axis(changes, order, axis=1), axis=1)
    took = np.diff(moments, axis=1)
    # Where one ends as another begins, nothing passes meanwhile; the order there does not matter.
    widths = np.clip(running[:, :-1], 0, len(table) - 1).astype(np.int64)
    return np.asarray((took * table[widths]).sum(axis=1))


def stopping(samples: int, rounds: Sequence[int], expected: float | None) -> npt.NDArray[np.int64]:
    """Return how many samples are drawn in each scenario: all, or what a rule leaves, `expected` on average.

    As if after each round (each sample from the second on, without rounds) it stopped with the same chance.
    """
    import numpy as np

    if expected is None or expected >= samples:
        return np.full(SCENARIOS, samples)
    looks = np.array(rounds or range(min(2, samples), samples + 1), dtype=float)
    if expected <= looks[0]:
        return np.full(SCENARIOS, int(looks[0]))
    low, high = 0.0, 1.0  # the chance of going on
    for _ in range(40):
        on = (low + high) / 2
        shares = _shares(on, len(looks))
        low, high = (on, high) if float(shares @ looks) < expected else (low, on)
    upto = np.cumsum(_shares(low, len(looks)))
    at = np.searchsorted(upto, (np.arange(SCENARIOS) + 0.5) / SCENARIOS)
    counts = looks[np.minimum(at, len(looks) - 1)].astype(np.int64)
    # Not in the order of the scenarios of anything else.
    return np.asarray(counts[_shuffled(11)])


def _shares(on: float, looks: int) -> Floats:
    """Return the chance of stopping at each look where each is followed by another with the chance `on`."""
    import numpy as np

    shares = on ** np.arange(looks) * (1 - on)
    shares[-1] = on ** (looks - 1)
    return np.asarray(shares)


def _shuffled(seed: int) -> list[int]:
    """Return the scenarios in an order of their own. NumPy's generators take long to import."""
    return random.Random(seed).sample(range(SCENARIOS), SCENARIOS)  # noqa: S311 - scenarios, not secrets


@lru_cache(maxsize=64)
def ranks(samples: int, shared_percent: int) -> Any:
    """Return ranks of lengths, [SCENARIOS, samples], each column a permutation; rows are alike as far as is shared."""
    import numpy as np

    generator = random.Random(7)  # noqa: S311 - scenarios, not secrets
    shared = shared_percent / 100
    # A column a sample: plans of fewer samples see the same ones.
    columns = [[generator.gauss(0, 1) for _ in range(SCENARIOS)] for _ in range(samples + 1)]
    drawn = np.array(columns).T
    normal = np.sqrt(shared) * drawn[:, :1] + np.sqrt(1 - shared) * drawn[:, 1:]
    found = np.argsort(np.argsort(normal, axis=0), axis=0)
    found.setflags(write=False)
    return found


@lru_cache(maxsize=8)
def deviates(stream: int) -> Any:
    """Return SCENARIOS equally likely standard normal values in a fixed order."""
    from statistics import NormalDist

    import numpy as np

    normal = NormalDist()
    values = np.array([normal.inv_cdf((i + 0.5) / SCENARIOS) for i in range(SCENARIOS)])
    values = values[_shuffled(100 + stream)]
    values.setflags(write=False)
    return values
