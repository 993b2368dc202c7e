"""End samples much longer than those that ended; knows lengths in tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgetts.errors import InvalidInput
from edgetts.selection.confidence.bootstrap import quantile
from edgetts.selection.stopping.rule import Running
from edgetts.selection.stopping.settings import spell


@dataclass(frozen=True, slots=True)
class TooLong:
    """End a sample longer than `slack` times the `share` quantile of the lengths of those that ended, once `warmup` did.

    Those that end first are the short ones: with a small warm-up keep the slack well above 1.
    """

    share: float = 0.9
    slack: float = 1.5
    warmup: int = 4

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise InvalidInput(f"share is {self.share}, but it must be from 0 to 1.")
        if not (math.isfinite(self.slack) and self.slack >= 1):
            raise InvalidInput(f"slack is {self.slack}, but it must be 1 or greater.")
        if self.warmup < 1:
            raise InvalidInput("A warm-up needs one finished sample at least.")

    @property
    def name(self) -> str:
        return spell("too-long", self)

    def prune(self, running: Sequence[Running], ended: Sequence[Running]) -> frozenset[int]:
        if len(ended) < self.warmup:
            return frozenset()
        limit = self.slack * quantile(sorted(len(one.tokens) for one in ended), self.share)
        return frozenset(one.sample for one in running if len(one.tokens) > limit)
