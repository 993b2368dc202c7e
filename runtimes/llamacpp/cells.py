"""Hold branches as sequences of llama.cpp's one cache, and move it into a larger one when it is full.

Knows branches, cells and bytes; sends nothing through the model but to measure it.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

import psutil

from edgetts.errors import OutOfMemory, RuntimeFailure
from edgetts.runtimes.llamacpp.context import DONE, Context
from edgetts.runtimes.llamacpp.library import LOG, library
from edgetts.runtimes.llamacpp.memory import CELLS, ContextSize, MemoryModel, rounded
from edgetts.runtimes.llamacpp.model import Model
from edgetts.runtimes.llamacpp.options import LlamaCppOptions

# Rows of logits that one pass computes; more are asked for in several.
_OUTPUTS = 64
# Branches that a first context has room for (measuring takes two), and tokens beyond its first prompt.
_BRANCHES = 8
_SLACK = 256
# Of a cell in a saved state, besides keys and values: position, number of sequences, sequence.
_CELL_NOTES = 12


@dataclass(eq=False, slots=True)
class SequenceBranch:
    """A prefix that is a sequence of the session's cache; `owner` is None once it is freed."""

    owner: object | None
    sequence: int
    guard: int | None
    """A second sequence of the same cells. llama.cpp overwrites cells outside of a sliding window that
    belong to one sequence alone, even where free ones are left; rolling back would find them gone."""
    tokens: list[int] = field(default_factory=list)
    floor: int = 0
    """The least length, but for none, to which its cells can be cut: a saved state lacks those outside of a
    sliding window."""
    pending: int = 0

    @property
    def length(self) -> int:
        return len(self.tokens)

    @property
    def sequences(self) -> tuple[int, ...]:
        return (self.sequence,) if self.guard is None else (self.sequence, self.guard)


class Cells:
    """The cells of a model's branches: a context of llama.cpp that is replaced as a whole when it must grow.

    limit: the longest a branch can become. Raises OutOfMemory before anything is allocated that does not fit.
    """

    def __init__(self, model: Model, options: LlamaCppOptions, limit: int) -> None:
        self._model = model
        self._options = options
        self._limit = limit
        self._per_branch = 2 if model.sliding_window else 1
        least, self._most_cells = _cells_for(limit, model.rope_switches_at())
        self.branches: set[SequenceBranch] = set()
        self._owner = object()
        self.context = Context(model.pointer, self._size(least, _BRANCHES * self._per_branch), options)
        try:
            self.memory = self._measured()
            self.memory.check(self.context.size, options.memory_bytes, self._available())
        except BaseException:
            self.close()
            raise
        self._unused = list(range(self.context.size.sequences))

    @property
    def nbytes(self) -> int:
        return self.memory.cache(self.context.size)

    def owns(self, branch: SequenceBranch) -> bool:
        return branch.owner is self._owner

    def close(self) -> None:
        """Free the cache and the model."""
        self.context.close()
        self._model.close()

    # Sequences and cells

    def new(self, n: int) -> list[SequenceBranch]:
        """Make empty branches, in a larger context where sequences have run out."""
        missing = n * self._per_branch - len(self._unused)
        if missing > 0:
            self._more_sequences(missing)
        branches = []
        for _ in range(n):
            ids = [heapq.heappop(self._unused) for _ in range(self._per_branch)]
            branches.append(SequenceBranch(self._owner, ids[0], ids[1] if len(ids) > 1 else None))
        self.branches.update(branches)
        return branches

    def release(self, branch: SequenceBranch) -> None:
        for sequence in branch.sequences:
            self.context.remove(sequence, -1)
            heapq.heappush(self._unused, sequence)
        branch.owner = None
        self.branches.discard(branch)

    def _more_sequences(self, missing: int) -> None:
        size = self.context.size
        most = int(library().llama_max_parallel_sequences())
        if size.sequences + missing > most:
            raise OutOfMemory(
                f"llama.cpp holds {most // self._per_branch} branches at once, and "
                f"{(size.sequences + missing) // self._per_branch} are asked for.",
                hint="Free some, or ask for fewer samples.",
            )
        larger = self._size(size.cells, min(most, max(2 * size.sequences, size.sequences + missing)))
        self.memory.check(larger, self._options.memory_bytes, self._available())
        self._reopen(larger)
        self._unused += range(size.sequences, larger.sequences)

    def make_room(self, length: int) -> None:
        """Open a context in which a prompt fits at all, so that one that never will is refused unread."""
        if self.memory.per_token and length > self.context.size.cells:
            self._grow(rounded(length), rounded(length + _SLACK))

    def more_cells(self, needed: int) -> None:
        """Move into a context with more cells than this one."""
        cells = self.context.size.cells
        # Fewer than are needed may do, since some may be free.
        self._grow(cells + CELLS, max(2 * cells, rounded(cells + needed)))

    def _grow(self, least: int, roomy: int) -> None:
        """Move into a context of `roomy` cells, or as many as fit. Raises OutOfMemory for fewer than `least`."""
        sequences = self.context.size.sequences
        if self._most_cells is not None and least > self._most_cells:
            raise OutOfMemory(
                f"The cache of this model holds {self._most_cells} tokens when its context is "
                f"limited to {self._limit}.",
                hint="Ask for fewer samples, a shorter prompt, or allow a longer context.",
            )
        self.memory.check(self._size(least, sequences), self._options.memory_bytes, self._available())
        self._reopen(self._size(max(least, min(roomy, self._fitting())), sequences))

    def _fitting(self) -> int:
        """Return the cells of the largest context that there is memory for."""
        size = self._size(1 << 30, self.context.size.sequences)
        cells = self.memory.most_cells(size, self._options.memory_bytes, self._available())
        return cells if self._most_cells is None else min(cells, self._most_cells)

    def _available(self) -> int:
        """Return the bytes that a further context may take, next to the present one and a copy of its state."""
        copy = self.memory.cache(self.context.size) if self.branches else 0
        return int(psutil.virtual_memory().available) - copy

    def _reopen(self, size: ContextSize) -> None:
        old = self.context
        state = old.state() if self.branches else None
        new = Context(self._model.pointer, size, self._options)
        if state is not None and not new.restore(state):
            new.close()
            raise RuntimeFailure(f"llama.cpp cannot move its cache into {size.cells} cells: {LOG.reason()}.")
        self.context = new
        old.close()

    def _size(self, cells: int, sequences: int) -> ContextSize:
        # llama.cpp ends the process where a pass is wider than the context, or narrower than the sequences.
        batch = min(max(self._options.batch, sequences), cells)
        return ContextSize(cells, sequences, batch, min(max(_OUTPUTS, sequences), batch))

    def _measured(self) -> MemoryModel:
        """Ask llama.cpp what one token and one sequence take, by the size of their states."""
        context, model = self.context, self._model
        if (code := context.decode([0, 0, 0], [0, 0, 1], [0, 1, 1], 1)) != DONE:
            raise RuntimeFailure(f"llama.cpp cannot run the model (code {code}): {LOG.reason()}.")
        one, two = context.sequence_bytes(0), context.sequence_bytes(1)
        context.clear()
        notes = _CELL_NOTES * (2 if model.sliding_window else 1)
        return MemoryModel(
            per_token=max(0, two - one - notes),
            per_sequence=max(0, 2 * one - two) if self._model.recurrent else 0,
            vocab=model.vocab,
            hidden=model.hidden,
            heads=model.heads if self._options.flash_attention == "off" else 0,
        )

    def cut(self, branch: SequenceBranch, length: int) -> bool:
        """Forget a branch's cells from a length on; False where its state cannot be rolled back."""
        removed = [self.context.remove(sequence, length) for sequence in branch.sequences]
        if not all(removed):
            return False
        del branch.tokens[length:]
        if not length:
            branch.floor = 0
        return True

    def guard(self, branch: SequenceBranch, start: int, end: int) -> None:
        if branch.guard is not None:
            self.context.share(branch.sequence, branch.guard, start, end)

    def adopt(self, branch: SequenceBranch, other: SequenceBranch) -> None:
        """Give a branch, freed or not, what another one holds. The other one is no more."""
        if branch.owner is not None:
            self.release(branch)
        branch.owner, branch.sequence, branch.guard = other.owner, other.sequence, other.guard
        branch.tokens, branch.floor = other.tokens, other.floor
        other.owner = None
        self.branches.discard(other)
        self.branches.add(branch)


def _cells_for(context: int, switch: int | None) -> tuple[int, int | None]:
    """Return how many cells the first context has, and at most any, of a model that rotates by other factors
    from `switch` cells on: all contexts must lie on one side of it."""
    if switch is None:
        return CELLS, None
    if context > switch:
        return rounded(switch + 1), None
    return min(CELLS, switch), max(CELLS, switch // CELLS * CELLS)
