"""End samples that lost their way, by how sure their tokens are beside finished ones; knows log-probs alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from edgetts.errors import InvalidInput
from edgetts.selection.confidence.bootstrap import quantile
from edgetts.selection.stopping.rule import Running
from edgetts.selection.stopping.settings import spell

_IMPOSSIBLE = 1e4
"""A log-prob of minus infinity counts as this many nats, so that sums stay finite."""


def lowest_group(logprobs: Sequence[float], window: int) -> float | None:
    """Return the lowest mean log-prob, in nats, of `window` tokens in a row; None while there are fewer.

    Source: "Deep Think with Confidence" (lowest group confidence). There a token's confidence is the mean of its
    20 largest log-probs; here it is its own log-prob, which is what a sample carries.
    """
    if window < 1:
        raise InvalidInput(f"A group has at least one token, not {window}.")
    if len(logprobs) < window:
        return None
    sums = [0.0, *accumulate(max(-_IMPOSSIBLE, one) for one in logprobs)]
    return min(sums[end] - sums[end - window] for end in range(window, len(sums))) / window


@dataclass(frozen=True, slots=True)
class LowConfidence:
    """End a sample whose lowest group falls below that of the surest `keep` percent of the first that ended.

    `warmup`: ended samples that set the bar, those of lowest index; before there are so many none is pruned. `window`: tokens
    of a group. keep=90 is the paper's careful setting and 10 its bold one. Its windows are 2,048 tokens for
    texts of tens of thousands; the default here suits answers of a few hundred.
    """

    keep: float = 90.0
    warmup: int = 4
    window: int = 32

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 100:
            raise InvalidInput(f"keep is {self.keep} percent, but it must be above 0 and at most 100.")
        if self.warmup < 1 or self.window < 1:
            raise InvalidInput("A warm-up needs one finished sample at least, and a window one token.")

    @property
    def name(self) -> str:
        return spell("low-confidence", self)

    def bar(self, ended: Sequence[Running]) -> float | None:
        """Return the log-prob below which a group is too low; None while too few have ended."""
        first = sorted(ended, key=lambda one: one.sample)[: self.warmup]
        if len(first) < self.warmup:
            return None
        return quantile(sorted(self._lowest(one) for one in first), 1 - self.keep / 100)

    def prune(self, running: Sequence[Running], ended: Sequence[Running]) -> frozenset[int]:
        bar = self.bar(ended)
        if bar is None:
            return frozenset()
        found = {one.sample: lowest_group(one.logprobs, self.window) for one in running}
        return frozenset(sample for sample, low in found.items() if low is not None and low < bar)

    def _lowest(self, one: Running) -> float:
        """Of an ended sample: one shorter than a window is a group as a whole, and an empty one sets no bar."""
        found = lowest_group(one.logprobs, min(self.window, max(1, len(one.logprobs))))
        return -_IMPOSSIBLE if found is None else found
