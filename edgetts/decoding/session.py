"""The contract between decoding and runtimes, in token ids.

A session holds one model. Branches are token prefixes that live in its cache; they never see each
other. All calls may come from any thread; a session does one pass at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]
Features = NDArray[np.float32]


class Cancelled(Exception):
    """A pass was abandoned because its `Cancellation` was set. The branches it touched are as before."""


class Cancellation:
    """Ask work under way in another thread to stop. Set once, stays set."""

    def __init__(self) -> None:
        self._set = False
        # A signal handler may request it while this very thread registers a pass, or requests it.
        self._lock = threading.RLock()
        self._interrupts: list[Callable[[], None]] = []

    @property
    def requested(self) -> bool:
        return self._set

    def request(self) -> None:
        """Set it, and interrupt the passes that are registered now."""
        with self._lock:
            self._set = True
            interrupts = list(self._interrupts)
        for interrupt in interrupts:
            interrupt()

    def register(self, interrupt: Callable[[], None]) -> None:
        """Have `interrupt` called, from any thread, when it is set; at once if it is set already."""
        with self._lock:
            self._interrupts.append(interrupt)
            now = self._set
        if now:
            interrupt()

    def unregister(self, interrupt: Callable[[], None]) -> None:
        with self._lock:
            self._interrupts.remove(interrupt)


class Branch(Protocol):
    """A token prefix held in a session's cache. Opaque, but for its length."""

    @property
    def length(self) -> int:
        """Tokens in the cache, pending ones included."""
        ...

    @property
    def pending(self) -> int:
        """Of them, the last ones that have not been through all layers; see `Session.advance`."""
        ...


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """What a session runs: sizes in tokens and layers, end tokens as ids."""

    runtime: str
    model: str
    vocab: int
    end_tokens: frozenset[int]
    layers: int
    context: int
    cuts: tuple[int, ...] = ()
    """Layer boundaries at which the network is cut, ascending, without 0 and the depth."""
    bytes_per_token: int = 0
    """Cache bytes one token takes in one branch."""
    whole_cache: bool = False
    """Whether a branch takes the cache of the whole context from the start, and every pass reads all of it."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a session can do beyond prefill, step and free."""

    fork: bool = True
    extend: bool = True
    truncate: bool = True
    parallel: bool = True
    """`step` takes several branches in one pass; otherwise they run one after the other."""
    exits: tuple[int, ...] = ()
    """Layers before which a pass may stop: `advance` and `complete` work there."""
    hidden_states: bool = False
    """`features` returns what the last logits were made of."""
    tolerance: float = 1e-4
    """Largest difference between logits of the same tokens computed in passes of other widths."""
    widest: int | None = None
    """Tokens one pass can verify; None is any number. More are run all the same, in several passes."""


@runtime_checkable
class Session(Protocol):
    """Run one model. Logits are float32; `V` is the vocabulary.

    Errors: PromptTooLong where tokens do not fit the context; InvalidInput for a freed or foreign
    branch, no tokens, or an id outside the vocabulary; OutOfMemory; Unsupported.
    """

    @property
    def info(self) -> SessionInfo: ...

    @property
    def capabilities(self) -> Capabilities: ...

    def prefill(self, tokens: Sequence[int], cancel: Cancellation | None = None) -> tuple[Branch, Logits]:
        """Read a prompt into a new branch; return it with the last position's logits [V].

        Raises Cancelled, with nothing left behind, soon after `cancel` is requested.
        """
        ...

    def read(self, branch: Branch, tokens: Sequence[int], cancel: Cancellation | None = None) -> Logits:
        """Append T tokens to one branch as `prefill` reads them; return the last one's logits [V], the caller's own.

        Raises Cancelled soon after `cancel` is requested: the branch then holds what was read by then, some of the
        tokens or none.
        """
        ...

    def fork(self, branch: Branch, n: int) -> list[Branch]:
        """Make n branches that continue from `branch`, which stays; nothing is prefilled again."""
        ...

    def step(self, branches: Sequence[Branch], tokens: Sequence[int]) -> Logits:
        """Append one token to each of B different branches in one pass; return logits [B, V].

        The array may be the session's own buffer: it is valid until the calling thread's next call.
        """
        ...

    def extend(self, branch: Branch, tokens: Sequence[int]) -> Logits:
        """Append T tokens to one branch; return the logits [T, V] of every one of them.

        As with `step`, the array is valid until the calling thread's next call.
        """
        ...

    def advance(self, branch: Branch, tokens: Sequence[int], cut: int) -> Features:
        """Append tokens, perhaps none, and bring every token of the branch through layers [0, cut).

        Returns the residual stream [n, hidden] at the cut, of those tokens that came there only now. They
        are pending until `complete`; before that the branch can be advanced, to any cut, truncated or
        freed, and nothing else. Raises Unsupported where `capabilities.exits` has no such cut.
        """
        ...

    def complete(self, branch: Branch, tokens: Sequence[int] = ()) -> Logits:
        """Append T tokens, perhaps none, and bring the pending ones and them through all remaining layers.

        Returns the logits [pending + T, V], as `extend` would have. Each layer sees each token once.
        """
        ...

    def features(self) -> Features:
        """Return the hidden states [rows, hidden] that the calling thread's last logits were made of.

        Row by row as the logits, normalised for the head; valid until the thread's next call. Raises
        Unsupported where `capabilities.hidden_states` is false.
        """
        ...

    def truncate(self, branch: Branch, length: int) -> None:
        """Forget all but the first `length` tokens, exactly."""
        ...

    def free(self, branch: Branch) -> None:
        """Give the branch's memory back. Freeing twice is an error."""
        ...

    def close(self) -> None:
        """Release the model and every branch. Closing twice does nothing."""
        ...
