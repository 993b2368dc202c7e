"""Bring a constrained sample to an end that its language allows before a limit of tokens cuts it. Knows no text."""

from __future__ import annotations

from collections.abc import Sequence

from edgetts.decoding.constraint import Constraint, Matcher

# Tokens by which a way out may grow with one token more, beside as many as the shortest text has.
_SPARE = 16
# A way out that is longer is not looked for.
_LONGEST = 512


class Closings:
    """What is known of the ways out of one language. limit: tokens of a sample."""

    def __init__(self, constraint: Constraint, limit: int) -> None:
        self._limit = limit
        shortest = constraint.start().ending(min(limit, _LONGEST))
        self._length = None if shortest is None else len(shortest)

    def of(self) -> Closing | None:
        """Return the watch over one sample; None where no way out was found at the beginning."""
        return None if self._length is None else Closing(self._length, self._limit)


class Closing:
    """Watch over one sample. The way out is looked for only where it may be due, as that takes as long as some draws."""

    def __init__(self, shortest: int, limit: int) -> None:
        self._limit = limit
        self._spare = _SPARE + shortest
        self._look_at = 2 * self._spare + shortest

    def near(self, drawn: int, ahead: int) -> bool:
        """Whether a way out may be due within `ahead` more tokens."""
        return self._limit - drawn <= self._look_at + ahead

    def due(self, drawn: int, matcher: Matcher) -> Sequence[int] | None:
        """Return the tokens to end by, perhaps none, where it is time for that after `drawn` tokens; None otherwise."""
        left = self._limit - drawn
        if left > self._look_at:
            return None
        way = matcher.ending(min(left, _LONGEST))
        if way is None:
            return None
        if left - len(way) <= self._spare:
            return way
        self._look_at = left - max(1, (left - len(way) - self._spare) // 2)
        return None
