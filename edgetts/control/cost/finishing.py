"""Which samples are likely to end in the passes that are left, and how many are best run side by side."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

from edgetts.control.cost.lengths import Lengths
from edgetts.control.cost.work import LengthLaw

_POINTS = 64
# A further vote is worth so much of what the one before it was: on gsm_symbolic a first answer is right in 12% of
# cases, and three votes more add 3%.
_WORTH_OF_NEXT = 0.3
# Of laws that do not say: the share of the variation that samples of one question have in common.
_SHARED = 0.25
# Beyond all lengths that a law gives: as long again as half of what it has already.
_TAIL = 0.5


class Finishing:
    """Probabilities from a law of lengths; cap: tokens at which a sample is cut."""

    def __init__(self, law: LengthLaw, cap: int) -> None:
        self._lengths = list(law.quantiles(_POINTS))
        self._cap = cap
        self.shared = law.shared if isinstance(law, Lengths) else _SHARED

    @property
    def typical(self) -> float:
        """The median length, as far as the cap allows."""
        return min(self._lengths[_POINTS // 2], float(self._cap))

    def within(self, begun: int, passes: float) -> float:
        """Return P(a sample of `begun` tokens ends by itself in `passes` more)."""
        until = min(begun + passes, float(self._cap))
        if until <= begun:
            return 0.0
        over = 1 - self._ended(begun)
        if over <= 0.5 / _POINTS:
            rest = until - begun
            return rest / (rest + max(1.0, _TAIL * begun))
        return min(1.0, (self._ended(until) - self._ended(begun)) / over)

    def _ended(self, tokens: float) -> float:
        """Return P(a length is at most so many tokens), linear between the quantiles."""
        at = bisect_right(self._lengths, tokens)
        if at == 0:
            return tokens / self._lengths[0] * 0.5 / _POINTS if self._lengths[0] > 0 else 0.0
        if at == len(self._lengths):
            return 1 - 0.5 / _POINTS
        before, after = self._lengths[at - 1], self._lengths[at]
        part = (tokens - before) / (after - before) if after > before else 0.0
        return (at - 0.5 + part) / _POINTS

    def worth(self, begun: Sequence[int], passes: float) -> float:
        """Return what running samples side by side for so many passes promises, from 0 to 1.

        A first vote counts most. Lengths of one question's samples are alike in part: as far as they are,
        all end or none does.
        """
        if not begun:
            return 0.0
        chances = [self.within(tokens, passes) for tokens in begun]
        none = 1.0
        for chance in chances:
            none *= 1 - (1 - _WORTH_OF_NEXT) * chance
        alike = sum(chances) / len(chances) * (1 - _WORTH_OF_NEXT ** len(chances))
        return float(self.shared * alike + (1 - self.shared) * (1 - none))

    def best_more(self, begun: Sequence[int], most: int, passes: Callable[[int], float], least: float) -> int:
        """Return how many of up to `most` new samples to start; passes: left in time, by how many run.

        least: P(a new one ends) below which it is not started.
        """
        best, chosen = self.worth(begun, passes(len(begun))) if begun else 0.0, 0
        for more in range(1, most + 1):
            left = passes(len(begun) + more)
            if self.within(0, left) < least:
                break
            if (worth := self.worth([*begun, *[0] * more], left)) > best:
                best, chosen = worth, more
        return chosen

    def best_few(self, begun: Sequence[int], passes: Callable[[int], float], gain: float) -> int:
        """Return how many of the running samples, the first ones, to go on with.

        gain: by which share fewer must promise more.
        """
        best, chosen = self.worth(begun, passes(len(begun))) * (1 + gain), len(begun)
        for few in range(len(begun) - 1, 0, -1):
            if (worth := self.worth(begun[:few], passes(few))) > best:
                best, chosen = worth, few
        return chosen
