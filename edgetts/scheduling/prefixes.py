"""Keep what was read for questions that ended, so that others that begin alike need not read it again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgetts.decoding.session import Branch, Session
from edgetts.errors import RuntimeFailure

# Shorter ones are read in less time than they take to be looked after.
_LEAST = 16


@dataclass(frozen=True, slots=True)
class Held:
    """A branch and the tokens it holds."""

    branch: Branch
    tokens: list[int]


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many first tokens two texts share."""
    low, high = 0, min(len(one), len(other))
    # Slices are compared in C: bisecting them beats a loop over thousands of tokens.
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def longest(tokens: Sequence[int], candidates: Iterable[Held], *, cuts: bool) -> tuple[Held, int] | None:
    """Return the branch that shares most first tokens with a prompt, and how many; at least one is left to be read.

    cuts: whether a copy of a branch can be cut to them; otherwise only whole branches count.
    """
    found: tuple[Held, int] | None = None
    for held in candidates:
        if held.branch.pending:
            continue
        shared = min(common(tokens, held.tokens), len(tokens) - 1, held.branch.length)
        if shared < _LEAST or (not cuts and shared < held.branch.length):
            continue
        if found is None or (shared, -len(held.tokens)) > (found[1], -len(found[0].tokens)):
            found = held, shared
    return found


class Prefixes:
    """Branches of a session that nobody uses now, those used longest ago first; `limit` bytes of them at most.

    Not safe by itself: the scheduler calls it under its lock of branches.
    """

    def __init__(self, session: Session, limit: int) -> None:
        self.limit = limit
        self._session = session
        self._kept: OrderedDict[int, Held] = OrderedDict()

    @property
    def held(self) -> list[Held]:
        return list(self._kept.values())

    @property
    def nbytes(self) -> int:
        return sum(self._size(held.tokens) for held in self.held)

    def touch(self, held: Held) -> None:
        """Note that a branch was of use."""
        if id(held.branch) in self._kept:
            self._kept.move_to_end(id(held.branch))

    def put(self, held: Held) -> None:
        """Keep a branch, or free it where it is not worth keeping."""
        size = self._size(held.tokens)
        if len(held.tokens) < _LEAST or size > self.limit or held.branch.pending:
            self._session.free(held.branch)
            return
        for other in self.held:
            shared = common(held.tokens, other.tokens)
            if shared == len(held.tokens):
                self._session.free(held.branch)
                self.touch(other)
                return
            if shared == len(other.tokens):
                self._drop(other)
        self.shrink(self.limit - size)
        try:
            # A copy of its own: where it lies now it may keep the memory of others that ran beside it.
            [own] = self._session.fork(held.branch, 1)
        except RuntimeFailure:  # no memory for it, or it cannot be copied
            self._session.free(held.branch)
            return
        self._session.free(held.branch)
        self._kept[id(own)] = Held(own, held.tokens)

    def shrink(self, limit: int) -> None:
        """Free the branches used longest ago until what is left takes at most `limit` bytes."""
        while self._kept and self.nbytes > limit:
            self._drop(next(iter(self._kept.values())))

    def forget(self) -> None:
        """Let go of all without freeing them: the session is closed, and has freed every branch."""
        self._kept.clear()

    def _drop(self, held: Held) -> None:
        del self._kept[id(held.branch)]
        self._session.free(held.branch)

    def _size(self, tokens: Sequence[int]) -> int:
        info = self._session.info
        return info.bytes_per_token * (info.context if info.whole_cache else len(tokens))
