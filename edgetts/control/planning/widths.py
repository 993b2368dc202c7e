"""Which widths of a pass are cheap for what they yield; knows a curve, and nothing of what is computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

# Where samples end at different lengths a wide pass gets narrower at last, so that a token may cost this much more in
# a narrow one and its samples still end as soon.
_NEARLY = 1.3


def cheap_widths(seconds: Callable[[int], float], most: int) -> tuple[int, ...]:
    """Return the widths up to `most` at which a token costs less than at both neighbours: minima of t(w) / w.

    The widest is one of them where a pass still gets cheaper for a token there.
    """
    cost = [seconds(width) / width for width in range(1, most + 1)]
    found = []
    for i, here in enumerate(cost):
        before = cost[i - 1] if i else float("inf")
        after = cost[i + 1] if i + 1 < most else float("inf")
        if here < before and here <= after:
            found.append(i + 1)
    return tuple(found)


def widths_for(
    samples: int, seconds: Callable[[int], float], cheap: Sequence[int], most: int, *, gain: float = 1.0
) -> tuple[int, ...]:
    """Return the widths worth considering for so many samples, the widest first.

    All at once, or as many as `most` at once; and the cheap widths and one at a time, as far as a token may cost less
    there. gain: how many times faster than by passes of its own a sample alone gets.
    """
    widest = min(samples, most)
    costs = _NEARLY * seconds(widest) / widest
    narrower = [width for width in {1, *cheap} if width < widest]
    worth = [w for w in narrower if seconds(w) / (w * (gain if w == 1 else 1.0)) <= costs]
    return tuple(sorted({widest, *worth}, reverse=True))


def rounds_for(samples: int, width: int, cheap: Sequence[int]) -> tuple[int, ...]:
    """Return the samples there are in all after each round, rising to `samples`.

    A round draws about as many as there are already, so that looking at the votes in between costs little and may save
    half. It is as wide as a cheap width near that, where there is one, and never wider than `width`.
    """
    totals: list[int] = []
    total = 0
    while total < samples:
        size = max(1, total)
        near = [one for one in cheap if 1 < one <= size] or [one for one in cheap if size < one <= 2 * size]
        if near:
            size = near[-1] if near[-1] <= size else near[0]
        total = min(samples, total + min(size, width))
        totals.append(total)
    return tuple(totals)
