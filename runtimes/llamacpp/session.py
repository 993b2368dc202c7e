"""The Session contract over llama.cpp. Knows token ids and sequences of one cache."""

from __future__ import annotations

import ctypes
import heapq
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from edgetts.checksum import sha256_of
from edgetts.decoding.session import (
    Branch,
    Cancellation,
    Cancelled,
    Capabilities,
    Features,
    Logits,
    SessionInfo,
)
from edgetts.errors import (
    CorruptFile,
    InvalidInput,
    ModelNotFound,
    OutOfMemory,
    PromptTooLong,
    RuntimeFailure,
    Unsupported,
)
from edgetts.runtimes.llamacpp.checked_load import check_kind, check_loads
from edgetts.runtimes.llamacpp.context import ABORTED, DONE, FULL, Context
from edgetts.runtimes.llamacpp.library import LOG, library, library_version
from edgetts.runtimes.llamacpp.memory import CELLS, ContextSize, MemoryModel, rounded
from edgetts.runtimes.llamacpp.model import Model
from edgetts.runtimes.llamacpp.options import LlamaCppOptions
from edgetts.runtimes.llamacpp.prefix_file import Origin, read_prefix, write_prefix

# Rows of logits that one pass computes; more are asked for in several.
_OUTPUTS = 64
# Branches that a first context has room for (measuring takes two), and tokens beyond its first prompt.
_BRANCHES = 8
_SLACK = 256
# Largest differences of logits between passes of other widths. On tiny float32 models up to 0.003 were
# measured as llama.cpp is set up by default (0.000003 with cache types f32 and without flash attention); on
# SmolLM2-135M in 4 and 8 bits up to 1.4 without flash attention, logits spreading by 7, and none with it.
_TOLERANCE, _TOLERANCE_QUANTIZED = 0.01, 3.0
_NOTHING: NDArray[np.float32] = np.zeros((0, 0), np.float32)
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


@dataclass(slots=True)
class _Loaded:
    """What llama.cpp allocated for a session."""

    model: Model
    context: Context

    def close(self) -> None:
        self.context.close()
        self.model.close()


class LlamaCppSession:
    """A GGUF file opened by llama.cpp. See `edgetts.decoding.session.Session`.

    All branches share the cells of one cache. It starts small and moves into a larger one, whole, when
    cells or sequences run out; what does not fit the memory is refused before that.
    """

    def __init__(self, file: Path, name: str, options: LlamaCppOptions) -> None:
        self._options = options
        self._file = file
        self._file_state = _state_of(file)
        self._sha256: str | None = None
        model = Model(file, options)
        try:
            self._model = model
            self._recurrent = model.recurrent
            self._context_limit = min(options.context or model.trained_context, model.trained_context)
            self._least_cells, self._most_cells = _cells_for(self._context_limit, model.rope_switches_at())
            self._per_branch = 2 if model.sliding_window else 1
            context = Context(
                model.pointer, self._size(self._least_cells, _BRANCHES * self._per_branch), options
            )
        except BaseException:
            model.close()
            raise
        self._loaded = _Loaded(model, context)
        # For sessions that nobody closes. Not at exit, when a thread may be inside a pass.
        self._finalizer = weakref.finalize(self, self._loaded.close)
        self._finalizer.atexit = False
        self._lock = threading.RLock()
        self._latest = threading.local()
        self._owner = object()
        self._branches: set[SequenceBranch] = set()
        self._unused = list(range(context.size.sequences))
        self._closed = False
        try:
            self._memory = self._measured()
            self._memory.check(context.size, options.memory_bytes, self._available())
        except BaseException:
            self.close()
            raise
        self._info = SessionInfo(
            runtime="llamacpp",
            model=name,
            vocab=model.vocab,
            end_tokens=model.end_tokens(),
            layers=model.layers,
            context=self._context_limit,
            bytes_per_token=self._memory.per_token,
        )

    @classmethod
    def open(
        cls,
        file: Path,
        *,
        options: LlamaCppOptions | None = None,
        trusted: bool = False,
        name: str | None = None,
        **changes: Any,
    ) -> LlamaCppSession:
        """Load a GGUF file. `changes` are fields of LlamaCppOptions; `name` is what the model is called.

        A file that is not `trusted` is read by a parser with bounds and loaded in a child process first,
        since llama.cpp ends the process on some damaged ones. Raises MissingExtra, ModelNotFound, CorruptFile,
        UnsupportedModel, OutOfMemory, and InvalidInput for options that the model does not allow.
        """
        options = replace(options or LlamaCppOptions(), **changes)
        library()
        LOG.verbose = options.verbose
        if not trusted:
            check_kind(file)
            check_loads(file, options)
        elif not file.is_file():
            raise ModelNotFound(f"There is no file {file}.")
        return cls(file, name or file.stem, options)

    @property
    def info(self) -> SessionInfo:
        return self._info

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            truncate=not self._recurrent,
            hidden_states=self._options.hidden_states,
            tolerance=_TOLERANCE_QUANTIZED if self._model.quantized else _TOLERANCE,
        )

    @property
    def cache_bytes(self) -> int:
        """Bytes that the cache of all branches takes, cells that are free among them."""
        return 0 if self._closed else self._memory.cache(self._loaded.context.size)

    def prefill(self, tokens: Sequence[int], cancel: Cancellation | None = None) -> tuple[Branch, Logits]:
        with self._lock:
            self._check_tokens(tokens)
            if len(tokens) > self._info.context:
                raise PromptTooLong(
                    f"The prompt has {len(tokens)} tokens, but the model's context holds {self._info.context}.",
                    hint="Shorten the prompt.",
                )
            self._make_room(len(tokens))
            [branch] = self._new(1)
        try:
            while branch.length < len(tokens):
                # Other threads' passes may run between the chunks of a long prompt.
                with self._lock:
                    if cancel is not None and cancel.requested:
                        raise Cancelled
                    self._own(branch)
                    part = tokens[branch.length : branch.length + self._loaded.context.size.batch]
                    last = branch.length + len(part) == len(tokens)
                    if last and self._options.hidden_states and len(part) > 1:
                        # llama.cpp keeps hidden states of all tokens of a pass, and computes all their logits.
                        part, last = part[:-1], False
                    logits = self._pass([branch], part, 1 if last else 0, cancel)
        except BaseException:
            with self._lock:
                if branch.owner is not None and not self._closed:
                    self._release(branch)
            raise
        return branch, logits[0]

    def fork(self, branch: Branch, n: int) -> list[Branch]:
        with self._lock:
            parent = self._own(branch)
            if n < 1:
                raise InvalidInput(f"A fork makes at least one branch, not {n}.")
            children = self._new(n)
            for child in children:
                for sequence in child.sequences:
                    self._loaded.context.share(parent.sequence, sequence, -1, -1)
                child.tokens, child.floor = list(parent.tokens), parent.floor
            return list(children)

    def step(self, branches: Sequence[Branch], tokens: Sequence[int]) -> Logits:
        with self._lock:
            if not branches or len(branches) != len(tokens):
                raise InvalidInput(
                    f"A step takes one token for each branch, not {len(tokens)} for {len(branches)}."
                )
            self._check_tokens(tokens)
            own = [self._own(branch) for branch in branches]
            if len({id(b) for b in own}) != len(own):
                raise InvalidInput("A step takes each branch once.")
            self._check_length(max(b.length for b in own) + 1)
            return self._pass(own, tokens, len(tokens))

    def extend(self, branch: Branch, tokens: Sequence[int]) -> Logits:
        with self._lock:
            own = self._own(branch)
            self._check_tokens(tokens)
            self._check_length(own.length + len(tokens))
            width = min(self._loaded.context.size.batch, self._loaded.context.size.outputs)
            if len(tokens) <= width:
                return self._pass([own], tokens, len(tokens))
            return self._extend_in_parts(own, tokens, width)

    def advance(self, branch: Branch, tokens: Sequence[int], cut: int) -> Features:
        with self._lock:
            own = self._own(branch)
            self._check_length(own.length + len(tokens))
            raise Unsupported(f"llama.cpp runs all layers of a model: a pass cannot stop at layer {cut}.")

    def complete(self, branch: Branch, tokens: Sequence[int] = ()) -> Logits:
        with self._lock:
            own = self._own(branch)
            self._check_length(own.length + len(tokens))
            raise Unsupported("llama.cpp runs all layers of a model: nothing is ever pending.")

    def features(self) -> Features:
        if not self._options.hidden_states:
            raise Unsupported("This session keeps no hidden states: open it with hidden_states=True.")
        latest: Features | None = getattr(self._latest, "features", None)
        if latest is None:
            raise InvalidInput("This thread has computed nothing yet.")
        return latest

    def truncate(self, branch: Branch, length: int) -> None:
        with self._lock:
            own = self._own(branch)
            if self._recurrent:
                raise Unsupported("The state of a recurrent model cannot be rolled back.")
            if not 0 <= length <= own.length:
                raise InvalidInput(f"A branch of {own.length} tokens cannot be cut to {length}.")
            if 0 < length < own.floor:
                self._read_again(own, length)
            else:
                self._cut(own, length)

    def free(self, branch: Branch) -> None:
        with self._lock:
            self._release(self._own(branch))

    def save(self, branch: Branch, path: Path) -> None:
        """Write what a branch holds to a file, from which `load` makes the branch again without reading it.

        The file holds the text as token ids, and is readable by its owner alone. Raises StorageError.
        """
        with self._lock:
            own = self._own(branch)
            if not own.tokens:
                raise InvalidInput("The branch is empty: there is nothing to save.")
            state = self._loaded.context.sequence_state(own.sequence)
            tokens, origin = list(own.tokens), self._origin()
        write_prefix(path, origin, tokens, state)

    def load(self, path: Path) -> Branch:
        """Make a branch from a file that `save` wrote, with the same model, library and cache types.

        Raises ModelNotFound, StorageError; CorruptFile for a file of another model or one that has changed.
        """
        with self._lock:
            self._check_open()
            origin = self._origin()
        tokens, state = read_prefix(path, origin)
        if min(tokens) < 0 or max(tokens) >= self._info.vocab:
            raise CorruptFile(f"{path.name} is damaged: a token id lies outside the vocabulary.")
        with self._lock:
            self._check_open()
            self._check_length(len(tokens))
            self._make_room(len(tokens))
            [branch] = self._new(1)
            try:
                while not self._loaded.context.restore_sequence(branch.sequence, state):
                    held = sum(b.length for b in self._branches) + len(tokens)
                    if self._loaded.context.size.cells >= held:
                        raise CorruptFile(
                            f"llama.cpp refuses the state in {path.name}.", hint="Save it again."
                        )
                    self._more_cells(len(tokens))
                if self._loaded.context.last_position(branch.sequence) != len(tokens) - 1:
                    raise CorruptFile(f"{path.name} is damaged: its state is not of its tokens.")
                self._guard(branch, 0, len(tokens))
                branch.tokens = tokens
                if (first := self._loaded.context.first_position(branch.sequence)) > 0:
                    branch.floor = first + self._model.sliding_window - 1
            except BaseException:
                self._release(branch)
                raise
            return branch

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._branches.clear()
            self._finalizer()

    # Passes

    def _pass(
        self,
        branches: list[SequenceBranch],
        tokens: Sequence[int],
        wanted: int,
        cancel: Cancellation | None = None,
    ) -> NDArray[np.float32]:
        """Send one token of each branch, or several of one, through the model; return the last logits."""
        if len(branches) == 1:
            start = branches[0].length
            positions: Sequence[int] = range(start, start + len(tokens))
            sequences: Sequence[int] | int = branches[0].sequence
        else:
            positions, sequences = [b.length for b in branches], [b.sequence for b in branches]
        features = self._options.hidden_states and wanted == len(tokens)
        with _interruptible(cancel) as flag:
            while (
                code := self._loaded.context.decode(
                    tokens, positions, sequences, wanted, flag=flag, features=features
                )
            ) == FULL:
                self._more_cells(len(tokens))
        if code != DONE:
            lost = [branch for branch in branches if not self._cut(branch, branch.length)]
            for branch in lost:
                self._release(branch)
            if code == ABORTED and cancel is not None:
                raise Cancelled
            raise RuntimeFailure(
                f"llama.cpp failed with code {code}: {LOG.reason()}."
                + (
                    f" {len(lost)} branches are lost, since their state cannot be rolled back."
                    if lost
                    else ""
                )
            )
        for i, branch in enumerate(branches):
            added = tokens if len(branches) == 1 else tokens[i : i + 1]
            self._guard(branch, branch.length, branch.length + len(added))
            branch.tokens.extend(added)
        if features:
            self._latest.features = self._loaded.context.features(wanted, self._model.hidden)
        return self._loaded.context.logits(wanted, self._info.vocab) if wanted else _NOTHING

    def _extend_in_parts(self, branch: SequenceBranch, tokens: Sequence[int], width: int) -> Logits:
        # What cannot be rolled back is kept as a branch of its own.
        kept = self._own(self.fork(branch, 1)[0]) if self._recurrent else None
        start, rows, states = branch.length, [], []
        try:
            for at in range(0, len(tokens), width):
                part = tokens[at : at + width]
                rows.append(self._pass([branch], part, len(part)))
                if self._options.hidden_states:
                    states.append(self.features())
        except BaseException:
            if kept is None:
                self._cut(branch, start)
            else:
                self._adopt(branch, kept)
            raise
        if kept is not None:
            self._release(kept)
        if states:
            self._latest.features = np.concatenate(states)
        return np.concatenate(rows)

    def _read_again(self, branch: SequenceBranch, length: int) -> None:
        """Cut a branch whose cells do not allow it, by reading its first tokens into other ones."""
        [fresh] = self._new(1)
        try:
            while fresh.length < length:
                width = self._loaded.context.size.batch
                self._pass([fresh], branch.tokens[fresh.length : min(length, fresh.length + width)], 0)
        except BaseException:
            self._release(fresh)
            raise
        self._adopt(branch, fresh)

    def _adopt(self, branch: SequenceBranch, other: SequenceBranch) -> None:
        """Give a branch, freed or not, what another one holds. The other one is no more."""
        if branch.owner is not None:
            self._release(branch)
        branch.owner, branch.sequence, branch.guard = other.owner, other.sequence, other.guard
        branch.tokens, branch.floor = other.tokens, other.floor
        other.owner = None
        self._branches.discard(other)
        self._branches.add(branch)

    def _cut(self, branch: SequenceBranch, length: int) -> bool:
        """Forget a branch's cells from a length on; False where its state cannot be rolled back."""
        removed = [self._loaded.context.remove(sequence, length) for sequence in branch.sequences]
        if not all(removed):
            return False
        del branch.tokens[length:]
        if not length:
            branch.floor = 0
        return True

    def _guard(self, branch: SequenceBranch, start: int, end: int) -> None:
        if branch.guard is not None:
            self._loaded.context.share(branch.sequence, branch.guard, start, end)

    # Sequences and cells

    def _new(self, n: int) -> list[SequenceBranch]:
        """Make empty branches, in a larger context where sequences have run out."""
        missing = n * self._per_branch - len(self._unused)
        if missing > 0:
            self._more_sequences(missing)
        branches = []
        for _ in range(n):
            ids = [heapq.heappop(self._unused) for _ in range(self._per_branch)]
            branches.append(SequenceBranch(self._owner, ids[0], ids[1] if len(ids) > 1 else None))
        self._branches.update(branches)
        return branches

    def _release(self, branch: SequenceBranch) -> None:
        for sequence in branch.sequences:
            self._loaded.context.remove(sequence, -1)
            heapq.heappush(self._unused, sequence)
        branch.owner = None
        self._branches.discard(branch)

    def _more_sequences(self, missing: int) -> None:
        size = self._loaded.context.size
        most = int(library().llama_max_parallel_sequences())
        if size.sequences + missing > most:
            raise OutOfMemory(
                f"llama.cpp holds {most // self._per_branch} branches at once, and "
                f"{(size.sequences + missing) // self._per_branch} are asked for.",
                hint="Free some, or ask for fewer samples.",
            )
        larger = self._size(size.cells, min(most, max(2 * size.sequences, size.sequences + missing)))
        self._memory.check(larger, self._options.memory_bytes, self._available())
        self._reopen(larger)
        self._unused += range(size.sequences, larger.sequences)

    def _make_room(self, length: int) -> None:
        """Open a context in which a prompt fits at all, so that one that never will is refused unread."""
        if self._memory.per_token and length > self._loaded.context.size.cells:
            self._grow(rounded(length), rounded(length + _SLACK))

    def _more_cells(self, needed: int) -> None:
        """Move into a context with more cells than this one."""
        cells = self._loaded.context.size.cells
        # Fewer than are needed may do, since some may be free.
        self._grow(cells + CELLS, max(2 * cells, rounded(cells + needed)))

    def _grow(self, least: int, roomy: int) -> None:
        """Move into a context of `roomy` cells, or as many as fit. Raises OutOfMemory for fewer than `least`."""
        sequences = self._loaded.context.size.sequences
        if self._most_cells is not None and least > self._most_cells:
            raise OutOfMemory(
                f"The cache of this model holds {self._most_cells} tokens when its context is "
                f"limited to {self._info.context}.",
                hint="Ask for fewer samples, a shorter prompt, or allow a longer context.",
            )
        self._memory.check(self._size(least, sequences), self._options.memory_bytes, self._available())
        self._reopen(self._size(max(least, min(roomy, self._fitting())), sequences))

    def _fitting(self) -> int:
        """Return the cells of the largest context that there is memory for."""
        size = self._size(1 << 30, self._loaded.context.size.sequences)
        cells = self._memory.most_cells(size, self._options.memory_bytes, self._available())
        return cells if self._most_cells is None else min(cells, self._most_cells)

    def _available(self) -> int:
        """Return the bytes that a further context may take, next to the present one and a copy of its state."""
        copy = self._memory.cache(self._loaded.context.size) if self._branches else 0
        return int(psutil.virtual_memory().available) - copy

    def _reopen(self, size: ContextSize) -> None:
        old = self._loaded.context
        state = old.state() if self._branches else None
        new = Context(self._model.pointer, size, self._options)
        if state is not None and not new.restore(state):
            new.close()
            raise RuntimeFailure(f"llama.cpp cannot move its cache into {size.cells} cells: {LOG.reason()}.")
        self._loaded.context = new
        old.close()

    def _size(self, cells: int, sequences: int) -> ContextSize:
        # llama.cpp ends the process where a pass is wider than the context, or narrower than the sequences.
        batch = min(max(self._options.batch, sequences), cells)
        return ContextSize(cells, sequences, batch, min(max(_OUTPUTS, sequences), batch))

    def _measured(self) -> MemoryModel:
        """Ask llama.cpp what one token and one sequence take, by the size of their states."""
        context, model = self._loaded.context, self._model
        if (code := context.decode([0, 0, 0], [0, 0, 1], [0, 1, 1], 1)) != DONE:
            raise RuntimeFailure(f"llama.cpp cannot run {self._file.name} (code {code}): {LOG.reason()}.")
        one, two = context.sequence_bytes(0), context.sequence_bytes(1)
        context.clear()
        notes = _CELL_NOTES * (2 if model.sliding_window else 1)
        return MemoryModel(
            per_token=max(0, two - one - notes),
            per_sequence=max(0, 2 * one - two) if self._recurrent else 0,
            vocab=model.vocab,
            hidden=model.hidden,
            heads=model.heads if self._options.flash_attention == "off" else 0,
        )

    # Checks

    def _origin(self) -> Origin:
        """Say what a saved state is of. The file is hashed when that is first asked for."""
        if _state_of(self._file) != self._file_state:
            raise InvalidInput(
                f"{self._file.name} has changed since it was opened.",
                hint="Close the session and open it again.",
            )
        if self._sha256 is None:
            self._sha256 = sha256_of(self._file)
        options = self._options
        return Origin(
            model_sha256=self._sha256,
            model_bytes=self._file_state[0],
            library=f"llama-cpp-python {library_version()}",
            cache=f"keys {options.cache_type_k}, values {options.cache_type_v}, flash attention {options.flash_attention}",
        )

    def _own(self, branch: Branch) -> SequenceBranch:
        self._check_open()
        if not isinstance(branch, SequenceBranch) or branch.owner is not self._owner:
            raise InvalidInput("The branch was freed, or belongs to another session.")
        return branch

    def _check_open(self) -> None:
        if self._closed:
            raise InvalidInput("The session is closed.")

    def _check_tokens(self, tokens: Sequence[int]) -> None:
        self._check_open()
        if not tokens:
            raise InvalidInput("There are no tokens to run.")
        if min(tokens) < 0 or max(tokens) >= self._info.vocab:
            raise InvalidInput(f"A token id lies outside the vocabulary of {self._info.vocab}.")

    def _check_length(self, length: int) -> None:
        if length > self._info.context:
            raise PromptTooLong(
                f"A branch would reach {length} tokens, but the model's context holds {self._info.context}."
            )


@contextmanager
def _interruptible(cancel: Cancellation | None) -> Iterator[Any]:
    """Lend a buffer that says "1" as soon as `cancel` is requested, for one pass.

    It is the pass's own: a request that comes late must not stop the next one.
    """
    if cancel is None:
        yield None
        return
    flag = ctypes.create_string_buffer(b"0")

    def interrupt() -> None:
        flag.value = b"1"

    cancel.register(interrupt)
    try:
        yield flag
    finally:
        cancel.unregister(interrupt)


def _cells_for(context: int, switch: int | None) -> tuple[int, int | None]:
    """Return how many cells the first context has, and at most any, of a model that rotates by other factors
    from `switch` cells on: all contexts must lie on one side of it."""
    if switch is None:
        return CELLS, None
    if context > switch:
        return rounded(switch + 1), None
    return min(CELLS, switch), max(CELLS, switch // CELLS * CELLS)


def _state_of(file: Path) -> tuple[int, int, int]:
    found = file.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino
