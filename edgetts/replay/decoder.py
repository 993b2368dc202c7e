"""Draw recorded samples again, token by token, as a decoder draws new ones; knows token counts, and no time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from edgetts.errors import InvalidInput
from edgetts.replay.samples import Recorded
from edgetts.types import FinishReason

if TYPE_CHECKING:
    from edgetts.decoding.trace import TokenDrawn


class Redrawn:
    """One sample under way: the first `drawn` draws of a recorded one, which ends after `limit` of them."""

    __slots__ = ("drawn", "ends", "finish", "limit", "recorded")

    def __init__(self, recorded: Recorded, cap: int) -> None:
        self.recorded = recorded
        self.drawn = 0
        self.finish: FinishReason | None = None
        # Whoever reaches the plan's limit is ended by it, also where the model would have ended next.
        by_cap = recorded.kept >= cap
        self.limit = cap if by_cap else recorded.draws
        self.ends: FinishReason = "length" if by_cap else recorded.finish

    @property
    def count(self) -> int:
        """Tokens it has."""
        return self.drawn if self.drawn < self.limit else min(self.recorded.kept, self.limit)

    @property
    def whole(self) -> bool:
        """Whether all of the recorded text is there, so that what it says is known."""
        return self.drawn >= min(self.recorded.draws, self.recorded.kept)

    @property
    def tokens(self) -> Sequence[int]:
        return self.recorded.record.tokens[: self.count]

    @property
    def logprobs(self) -> Sequence[float]:
        return self.recorded.record.logprobs[: self.count]


class RecordedDecoder:
    """Samples of one problem in lockstep, each a recorded one; see `ParallelDecoder` for the names.

    cap: tokens a sample may have.
    """

    def __init__(self, samples: Sequence[Recorded], cap: int) -> None:
        self._waiting = samples
        self._cap = cap
        self._running: list[Redrawn] = []
        self._active: tuple[int, ...] = ()
        self._index: dict[int, int] = {}
        self._traces: dict[int, Redrawn] = {}
        self.ended: list[int] = []
        """Samples that ended since somebody looked, and emptied it."""
        self.generated = 0
        """Tokens drawn so far, by all samples."""

    @property
    def active(self) -> tuple[int, ...]:
        return self._active

    @property
    def traces(self) -> Mapping[int, Redrawn]:
        return self._traces

    @property
    def widest(self) -> int:
        return len(self._running)

    @property
    def held(self) -> int:
        """Tokens that the running samples hold beside the prompt, together."""
        return sum(trace.drawn for trace in self._running)

    def start(self, count: int, *, last: bool = False) -> list[TokenDrawn]:  # noqa: ARG002  # the protocol's
        """Start the next samples, and draw their first tokens."""
        begun = len(self._traces)
        if begun + count > len(self._waiting):
            raise InvalidInput(
                f"Sample {begun + count} is wanted, but only {len(self._waiting)} were recorded."
            )
        new = [Redrawn(one, self._cap) for one in self._waiting[begun : begun + count]]
        for at, trace in enumerate(new, begun):
            self._traces[at] = trace
            self._index[id(trace)] = at
        self._running += new
        self._draw(new, 1)
        return []

    def draws_left(self) -> int:
        """Return how many passes of a token each there are until the next sample ends."""
        return min(trace.limit - trace.drawn for trace in self._running)

    def step(self, draws: int) -> None:
        """Draw so many tokens for every running sample; none may end before the last of them."""
        self._draw(self._running, draws)

    def end(self, sample: int, reason: FinishReason, keep: int | None = None) -> None:  # noqa: ARG002
        """End a sample; one that has ended stays as it was."""
        trace = self._traces[sample]
        if trace.finish is None:
            trace.finish = reason
            self._evict()

    def _draw(self, traces: Sequence[Redrawn], draws: int) -> None:
        over = False
        for trace in traces:
            before = trace.count
            trace.drawn += draws
            self.generated += trace.count - before
            if trace.drawn >= trace.limit:
                trace.finish = trace.ends
                over = True
        if over or len(self._active) != len(self._running):
            self._evict()

    def _evict(self) -> None:
        running = []
        for trace in self._running:
            if trace.finish is None:
                running.append(trace)
            else:
                self.ended.append(self._index[id(trace)])
        self._running = running
        self._active = tuple(self._index[id(trace)] for trace in running)
