"""What following a search needs of the samples of one question, whether a model draws them or a record has them."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from edgetts.control.controller import Controller
from edgetts.selection.aggregation import Vote
from edgetts.selection.search.splitter import StepSplitter
from edgetts.selection.search.tree import Grow, Node
from edgetts.types import Event, FinishReason, Sample, StopReason

if TYPE_CHECKING:
    from edgetts.decoding.trace import TokenDrawn


class Drawing(Protocol):
    """What a sample has drawn so far."""

    @property
    def tokens(self) -> Sequence[int]: ...

    @property
    def logprobs(self) -> Sequence[float]: ...


class Decoder(Protocol):
    """Samples that continue one prompt, in lockstep. See `ParallelDecoder` for what each of these does."""

    @property
    def active(self) -> tuple[int, ...]: ...

    @property
    def traces(self) -> Mapping[int, Drawing]: ...

    @property
    def widest(self) -> int: ...

    def start(self, count: int, *, last: bool = False) -> list[TokenDrawn]: ...

    def end(self, sample: int, reason: FinishReason, keep: int | None = None) -> None: ...


class Texts(Protocol):
    """The samples that ended, and what they vote for."""

    @property
    def samples(self) -> Mapping[int, Sample]: ...

    def votes(self) -> list[Vote]: ...


class Run(Protocol):
    """The samples of one question under way. A sample's index is its node's id.

    stop: why everything ended; None while it goes on. detail: what the stopping rule said.
    """

    stop: StopReason | None
    detail: str

    @property
    def texts(self) -> Texts: ...

    @property
    def decoder(self) -> Decoder: ...

    @property
    def controller(self) -> Controller: ...

    @property
    def spent(self) -> int:
        """Tokens drawn, and read to have texts judged."""
        ...

    @property
    def open(self) -> list[int]:
        """Paused samples that can still be continued."""
        ...

    def cancelled(self) -> bool: ...

    @property
    def closing(self) -> int:
        """Passes in which the running samples can be made to state their answers; 0 is never."""
        ...

    def conclude(self, reason: FinishReason) -> None:
        """Have every running sample that has not stated its answer do so in its next passes; it ends for the reason."""
        ...

    def text(self, sample: int) -> str:
        """Return what a running sample says so far; "" where that is not known."""
        ...

    def step(self, most: int | None) -> list[TokenDrawn]:
        """Run one pass over the samples that run; a sample alone may draw at most `most` tokens."""
        ...

    def take(self, drawn: Sequence[TokenDrawn]) -> Iterator[Event]:
        """Take the tokens of one pass; yield text and finished samples."""
        ...

    def close_ended(self) -> Iterator[Event]:
        """Make samples of what ended since the last call."""
        ...

    def grow(self, move: Grow, splitter: StepSplitter, *, scored: bool) -> Generator[Event, None, list[Node]]:
        """Continue nodes by one step, as `growing.grow` does."""
        ...

    def give_up(self, sample: int) -> None:
        """End a partial answer that becomes no sample."""
        ...

    def node(self, sample: int) -> Node:
        """Return what a search sees of a sample that is paused or has ended."""
        ...
