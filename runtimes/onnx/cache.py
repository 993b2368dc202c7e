"""Hold key-value caches of branches in rows that a batched pass can bind without copying.

An arena is one block per layer, [rows, kv_heads, capacity, head_dim], keys and values apart. Rows
that are next to each other can be bound as a batch; branches that are not are moved first. Nothing
is written beyond a branch's length but by the pass that makes it longer, so rolling back is a
smaller length.
"""

from __future__ import annotations

import math
import mmap
import sys
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgetts.errors import OutOfMemory
from edgetts.runtimes.onnx.depths import Depths

_STEP = 64
_SLACK = 256


@dataclass(frozen=True, slots=True)
class CacheShape:
    """Sizes of the cache of one model; bytes are for float32."""

    layers: int
    kv_heads: int
    head_dim: int
    context: int

    @property
    def bytes_per_token(self) -> int:
        return 2 * self.layers * self.kv_heads * self.head_dim * 4


@dataclass(eq=False, slots=True)
class CachedBranch:
    """A prefix in a row of an arena; `arena` is None once it is freed."""

    arena: Arena | None
    row: int
    length: int
    depths: Depths | None = None
    """Set while tokens may be pending."""

    @property
    def pending(self) -> int:
        """Of the branch's tokens, the last ones that have not been through all layers."""
        return 0 if self.depths is None else self.depths.pending


@dataclass(slots=True)
class CacheLimit:
    """Bytes that all arenas of a session may take together; None is no limit."""

    limit: int | None
    used: int = 0
    arenas: set[Arena] = field(default_factory=set)
    """Those that hold memory now."""

    def take(self, nbytes: int) -> None:
        if self.limit is not None and self.used + nbytes > self.limit:
            raise OutOfMemory(
                f"The cache needs {(self.used + nbytes) / 1e6:.0f} MB, but only {self.limit / 1e6:.0f} MB are allowed.",
                hint="Ask for fewer samples, a shorter prompt, or allow more memory.",
            )
        self.used += nbytes

    def give(self, nbytes: int) -> None:
        self.used -= nbytes


@dataclass(eq=False, slots=True)
class Arena:
    """Rows of equal capacity. `version` changes whenever the blocks are other arrays than before."""

    shape: CacheShape
    limit: CacheLimit
    rows: list[CachedBranch | None]
    capacity: int
    version: int = 0
    keys: list[NDArray[np.float32]] = field(default_factory=list)
    values: list[NDArray[np.float32]] = field(default_factory=list)

    @classmethod
    def create(cls, shape: CacheShape, limit: CacheLimit, rows: int, length: int) -> Arena:
        """Make an arena for `rows` branches of `length` tokens, with room to grow where the limit allows it."""
        arena = cls(shape, limit, [None] * rows, 0)
        arena._allocate(length)
        limit.arenas.add(arena)
        return arena

    @property
    def nbytes(self) -> int:
        return len(self.rows) * self.capacity * self.shape.bytes_per_token

    @property
    def empty(self) -> bool:
        return all(branch is None for branch in self.rows)

    def place(self, length: int) -> CachedBranch:
        """Take the first free row for a branch of `length` tokens that the caller writes."""
        row = self.rows.index(None)
        branch = CachedBranch(self, row, length)
        self.rows[row] = branch
        return branch

    @property
    def free_rows(self) -> int:
        return self.rows.count(None)

    def adopt(self, branch: CachedBranch) -> None:
        """Move a branch of another arena into the first free row."""
        source, old_row = branch.arena, branch.row
        if source is None:
            raise ValueError("a freed branch cannot be moved")
        row = self.rows.index(None)
        self.copy_from(source, old_row, row, branch.length)
        source.release(branch)
        branch.arena, branch.row = self, row
        self.rows[row] = branch

    def copy_from(self, source: Arena, source_row: int, row: int, length: int) -> None:
        """Copy the first `length` tokens of a row."""
        for mine, theirs in ((self.keys, source.keys), (self.values, source.values)):
            for to, of in zip(mine, theirs, strict=True):
                to[row, :, :length] = of[source_row, :, :length]

    def reserve(self, length: int) -> None:
        """Grow until every row holds `length` tokens."""
        if length <= self.capacity:
            return
        old = (self.keys, self.values, self.capacity, self.nbytes)
        self.keys, self.values = [], []
        self.limit.give(old[3])
        try:
            self._allocate(length, wanted=max(length + _SLACK, self.capacity * 3 // 2))
        except OutOfMemory:
            self.keys, self.values, self.capacity = old[0], old[1], old[2]
            self.limit.used += old[3]
            raise
        for mine, theirs in ((self.keys, old[0]), (self.values, old[1])):
            for to, of in zip(mine, theirs, strict=True):
                for branch in self.rows:
                    if branch is not None:
                        to[branch.row, :, : branch.length] = of[branch.row, :, : branch.length]

    def release(self, branch: CachedBranch) -> None:
        """Free a row; with the last one, the arena's memory."""
        self.rows[branch.row] = None
        branch.arena = None
        if self.empty:
            self.limit.give(self.nbytes)
            self.limit.arenas.discard(self)
            self.keys, self.values = [], []
            self.capacity = 0
            self.version += 1

    def release_all(self) -> None:
        """Free every row."""
        for branch in [branch for branch in self.rows if branch is not None]:
            self.release(branch)

    def gather(self, branches: list[CachedBranch]) -> int:
        """Move branches of this arena into adjacent rows, with as few copies as possible; return the first row."""
        wanted = sorted(branch.row for branch in branches)
        if wanted == list(range(wanted[0], wanted[0] + len(wanted))):
            return wanted[0]
        members = set(wanted)
        outside = [b for b in branches if b.row >= len(branches)]
        for row in range(len(branches)):
            if row in members:
                continue
            self._swap(outside.pop(), row)
        return 0

    def _swap(self, branch: CachedBranch, row: int) -> None:
        other = self.rows[row]
        if other is None:
            self.copy_from(self, branch.row, row, branch.length)
        else:
            for blocks in (self.keys, self.values):
                for block in blocks:
                    kept = block[row, :, : other.length].copy()
                    block[row, :, : branch.length] = block[branch.row, :, : branch.length]
                    block[branch.row, :, : other.length] = kept
            other.row = branch.row
        self.rows[branch.row], self.rows[row] = other, branch
        branch.row = row

    def _allocate(self, length: int, wanted: int | None = None) -> None:
        context, rows = self.shape.context, len(self.rows)
        sizes = [min(context, -(-size // _STEP) * _STEP) for size in (wanted or length + _SLACK, length)]
        for size in sizes:
            try:
                self.limit.take(rows * size * self.shape.bytes_per_token)
            except OutOfMemory:
                if size == sizes[-1]:
                    raise
                continue
            block = (rows, self.shape.kv_heads, size, self.shape.head_dim)
            try:
                blocks = _zeros(2 * self.shape.layers, block)
            except (MemoryError, OSError) as error:
                self.limit.give(rows * size * self.shape.bytes_per_token)
                raise OutOfMemory(
                    f"There are no {rows * size * self.shape.bytes_per_token / 1e6:.0f} MB for the cache.",
                    hint="Ask for fewer samples or a shorter prompt.",
                ) from error
            self.keys, self.values = blocks[: self.shape.layers], blocks[self.shape.layers :]
            self.capacity = size
            self.version += 1
            return


def _zeros(count: int, shape: tuple[int, ...]) -> list[NDArray[np.float32]]:
    """Return so many arrays of zeros, in pages that are only mapped once they are written, and given back when all are gone.

    They hold no NaN for a kernel to read. An allocator would keep them once it has seen some go, and clear them at once.
    """
    size = math.prod(shape)
    nbytes = max(1, count * size * 4)
    if sys.platform == "win32":
        whole = np.zeros(count * size, np.float32)
    else:
        pages = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        whole = np.frombuffer(pages, np.float32, count * size)
    return [whole[i * size : (i + 1) * size].reshape(shape) for i in range(count)]
