"""End samples that go round in a circle; knows token ids alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgetts.errors import InvalidInput
from edgetts.selection.stopping.rule import Running
from edgetts.selection.stopping.settings import spell


def cycle(tokens: Sequence[int], longest: int) -> tuple[int, int]:
    """Return the period of the end of a text, at most `longest`, and how many tokens repeat the period before them.

    Of several periods the one whose repeats reach farthest back, then the shortest; (0, 0) where nothing repeats.
    """
    best = (0, 0)
    for period in range(1, min(longest, len(tokens) - 1) + 1):
        at = len(tokens) - 1
        while at >= period and tokens[at] == tokens[at - period]:
            at -= 1
        repeated = len(tokens) - 1 - at
        if repeated > best[1]:
            best = (period, repeated)
    return best


@dataclass(frozen=True, slots=True)
class Repetition:
    """End a sample whose end is one phrase, `times` times over and `tokens` tokens long at least.

    `longest`: tokens of the longest phrase looked for. Both bounds must hold, so that neither a row of zeros
    in a number nor a table of two equal lines is taken for a circle.
    """

    times: int = 4
    tokens: int = 48
    longest: int = 64

    def __post_init__(self) -> None:
        if self.times < 2 or self.tokens < 2 or self.longest < 1:
            raise InvalidInput("A circle is one token at least, twice over at least.")

    @property
    def name(self) -> str:
        return spell("repetition", self)

    def prune(self, running: Sequence[Running], ended: Sequence[Running]) -> frozenset[int]:  # noqa: ARG002  # the protocol's
        return frozenset(one.sample for one in running if self._circles(one.tokens))

    def _circles(self, tokens: Sequence[int]) -> bool:
        period, repeated = cycle(tokens[-max(self.tokens, self.times * self.longest) :], self.longest)
        length = period + repeated
        return period > 0 and length >= self.tokens and length >= self.times * period
