"""Bring a constrained sample to an end that its language allows before a limit of tokens cuts it. Knows no text."""

from __future__ import annotations

from collections.abc import Sequence

from edgetts.decoding.constraint import Constraint, Matcher

# Tokens by which a way out may grow with one token more, such as one that begins an object with much that is required.
_SPARE = 32
LONGEST_WAY = 512
"""Tokens of a way out that is looked for at most."""


class Closings:
    """What is known of the ways out of one language. limit: tokens of a sample."""

    def __init__(self, constraint: Constraint, limit: int) -> None:
        self._limit = limit
        shortest = constraint.start().ending(min(limit, LONGEST_WAY))
        self._length = None if shortest is None else len(shortest)

    @property
    def passes(self) -> int:
        """Tokens in which a text should come to its end from wherever it is; 0 where no way out is known."""
        return 0 if self._length is None else _SPARE + self._length

    def of(self) -> Closing | None:
        """Return the watch over one sample; None where no way out was found at the beginning."""
        return None if self._length is None else Closing(self._length, self._limit)


class Closing:
    """Watch over one sample. The way out is looked for only where it may be due, as that takes as long as some draws.

    With what is left beyond it half used up, it is looked for again: one that grows by no more than a token with each token
    is never too long by then.
    """

    def __init__(self, shortest: int, limit: int) -> None:
        self._limit = limit
        self._look_at = self._next(limit, shortest)

    def near(self, drawn: int, ahead: int) -> bool:
        """Whether a way out may be due within `ahead` more tokens."""
        return self._limit - drawn <= self._look_at + ahead

    def due(self, drawn: int, matcher: Matcher) -> Sequence[int] | None:
        """Return the tokens to end by, perhaps none, where it is time for that after `drawn` tokens; None otherwise."""
        left = self._limit - drawn
        if left > self._look_at:
            return None
        way = matcher.ending(min(left, LONGEST_WAY))
        if way is None:
            return None
        if left - len(way) <= _SPARE:
            return way
        self._look_at = self._next(left, len(way))
        return None

    @staticmethod
    def _next(left: int, way: int) -> int:
        return left - max(1, (left - way - _SPARE) // 2)
