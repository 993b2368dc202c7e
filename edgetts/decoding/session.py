"""The contract between decoding and runtimes, in token ids.

A session holds one model. Branches are token prefixes that live in its cache; they never see each
other. All calls may come from any thread; a session does one pass at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]


class Branch(Protocol):
    """A token prefix held in a session's cache. Opaque, but for its length."""

    @property
    def length(self) -> int:
        """Tokens in the cache."""
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


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a session can do beyond prefill, step and free."""

    fork: bool = True
    extend: bool = True
    truncate: bool = True
    parallel: bool = True
    """`step` takes several branches in one pass; otherwise they run one after the other."""
    exits: tuple[int, ...] = ()
    hidden_states: bool = False
    tolerance: float = 1e-4
    """Largest difference between logits of the same tokens computed in passes of other widths."""


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

    def prefill(self, tokens: Sequence[int]) -> tuple[Branch, Logits]:
        """Read a prompt into a new branch; return it with the last position's logits [V]."""
        ...

    def fork(self, branch: Branch, n: int) -> list[Branch]:
        """Make n branches that continue from `branch`, which stays; nothing is prefilled again."""
        ...

    def step(self, branches: Sequence[Branch], tokens: Sequence[int]) -> Logits:
        """Append one token to each of B different branches in one pass; return logits [B, V].

        The array may be the session's own buffer: it is valid until the next call.
        """
        ...

    def extend(self, branch: Branch, tokens: Sequence[int]) -> Logits:
        """Append T tokens to one branch; return the logits [T, V] of every one of them."""
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
