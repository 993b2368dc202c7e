"""The Session contract over llama.cpp. Knows token ids and sequences of one cache."""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
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
    RuntimeFailure,
    Unsupported,
)
from edgetts.runtimes.checks import (
    check_apart,
    check_cut,
    check_fork,
    check_pairs,
    check_prompt,
    check_room,
    check_tokens,
)
from edgetts.runtimes.llamacpp.cells import Cells, SequenceBranch
from edgetts.runtimes.llamacpp.checked_load import check_kind, check_loads
from edgetts.runtimes.llamacpp.context import ABORTED, DONE, FULL
from edgetts.runtimes.llamacpp.library import LOG, library, library_version
from edgetts.runtimes.llamacpp.model import Model
from edgetts.runtimes.llamacpp.options import LlamaCppOptions
from edgetts.runtimes.llamacpp.prefix_file import Origin, read_prefix, write_prefix

# Largest differences of logits between passes of other widths. On tiny float32 models up to 0.003 were
# measured as llama.cpp is set up by default (0.000003 with cache types f32 and without flash attention); on
# SmolLM2-135M in 4 and 8 bits up to 1.4 without flash attention, logits spreading by 7, and none with it.
_TOLERANCE, _TOLERANCE_QUANTIZED = 0.01, 3.0
_NOTHING: NDArray[np.float32] = np.zeros((0, 0), np.float32)


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
        limit = min(options.context or model.trained_context, model.trained_context)
        try:
            self._cells = Cells(model, options, limit)
        except BaseException:
            model.close()
            raise
        self._model = model
        self._recurrent = model.recurrent
        # For sessions that nobody closes. Not at exit, when a thread may be inside a pass.
        self._finalizer = weakref.finalize(self, self._cells.close)
        self._finalizer.atexit = False
        self._lock = threading.RLock()
        self._latest = threading.local()
        self._closed = False
        self._info = SessionInfo(
            runtime="llamacpp",
            model=name,
            vocab=model.vocab,
            end_tokens=model.end_tokens(),
            layers=model.layers,
            context=limit,
            bytes_per_token=self._cells.memory.per_token,
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
        return 0 if self._closed else self._cells.nbytes

    def prefill(self, tokens: Sequence[int], cancel: Cancellation | None = None) -> tuple[Branch, Logits]:
        with self._lock:
            self._check_tokens(tokens)
            check_prompt(self._info, len(tokens))
            self._cells.make_room(len(tokens))
            [branch] = self._cells.new(1)
        try:
            logits = self._read(branch, tokens, cancel)
        except BaseException:
            with self._lock:
                if branch.owner is not None and not self._closed:
                    self._cells.release(branch)
            raise
        return branch, logits

    def read(self, branch: Branch, tokens: Sequence[int], cancel: Cancellation | None = None) -> Logits:
        with self._lock:
            own = self._own(branch)
            self._check_tokens(tokens)
            check_room(self._info, own.length + len(tokens))
        return self._read(own, tokens, cancel)

    def fork(self, branch: Branch, n: int) -> list[Branch]:
        with self._lock:
            parent = self._own(branch)
            check_fork(n)
            children = self._cells.new(n)
            for child in children:
                for sequence in child.sequences:
                    self._cells.context.share(parent.sequence, sequence, -1, -1)
                child.tokens, child.floor = list(parent.tokens), parent.floor
            return list(children)

    def step(self, branches: Sequence[Branch], tokens: Sequence[int]) -> Logits:
        with self._lock:
            check_pairs(branches, tokens)
            self._check_tokens(tokens)
            own = [self._own(branch) for branch in branches]
            check_apart(own)
            check_room(self._info, max(b.length for b in own) + 1)
            return self._pass(own, tokens, len(tokens))

    def extend(self, branch: Branch, tokens: Sequence[int]) -> Logits:
        with self._lock:
            own = self._own(branch)
            self._check_tokens(tokens)
            check_room(self._info, own.length + len(tokens))
            width = min(self._cells.context.size.batch, self._cells.context.size.outputs)
            if len(tokens) <= width:
                return self._pass([own], tokens, len(tokens))
            return self._extend_in_parts(own, tokens, width)

    def advance(self, branch: Branch, tokens: Sequence[int], cut: int) -> Features:
        with self._lock:
            own = self._own(branch)
            check_room(self._info, own.length + len(tokens))
            raise Unsupported(f"llama.cpp runs all layers of a model: a pass cannot stop at layer {cut}.")

    def complete(self, branch: Branch, tokens: Sequence[int] = ()) -> Logits:
        with self._lock:
            own = self._own(branch)
            check_room(self._info, own.length + len(tokens))
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
            check_cut(own.length, length)
            if 0 < length < own.floor:
                self._read_again(own, length)
            else:
                self._cells.cut(own, length)

    def free(self, branch: Branch) -> None:
        with self._lock:
            self._cells.release(self._own(branch))

    def save(self, branch: Branch, path: Path) -> None:
        """Write what a branch holds to a file, from which `load` makes the branch again without reading it.

        The file holds the text as token ids, and is readable by its owner alone. Raises StorageError.
        """
        with self._lock:
            own = self._own(branch)
            if not own.tokens:
                raise InvalidInput("The branch is empty: there is nothing to save.")
            state = self._cells.context.sequence_state(own.sequence)
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
            check_room(self._info, len(tokens))
            self._cells.make_room(len(tokens))
            [branch] = self._cells.new(1)
            try:
                while not self._cells.context.restore_sequence(branch.sequence, state):
                    held = sum(b.length for b in self._cells.branches) + len(tokens)
                    if self._cells.context.size.cells >= held:
                        raise CorruptFile(
                            f"llama.cpp refuses the state in {path.name}.", hint="Save it again."
                        )
                    self._cells.more_cells(len(tokens))
                if self._cells.context.last_position(branch.sequence) != len(tokens) - 1:
                    raise CorruptFile(f"{path.name} is damaged: its state is not of its tokens.")
                self._cells.guard(branch, 0, len(tokens))
                branch.tokens = tokens
                if (first := self._cells.context.first_position(branch.sequence)) > 0:
                    branch.floor = first + self._model.sliding_window - 1
            except BaseException:
                self._cells.release(branch)
                raise
            return branch

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._cells.branches.clear()
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
                code := self._cells.context.decode(
                    tokens, positions, sequences, wanted, flag=flag, features=features
                )
            ) == FULL:
                self._cells.more_cells(len(tokens))
        if code != DONE:
            lost = [branch for branch in branches if not self._cells.cut(branch, branch.length)]
            for branch in lost:
                self._cells.release(branch)
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
            self._cells.guard(branch, branch.length, branch.length + len(added))
            branch.tokens.extend(added)
        if features:
            self._latest.features = self._cells.context.features(wanted, self._model.hidden)
        return self._cells.context.logits(wanted, self._info.vocab) if wanted else _NOTHING

    def _read(self, branch: SequenceBranch, tokens: Sequence[int], cancel: Cancellation | None) -> Logits:
        """Append tokens in chunks; return the last one's logits."""
        read, logits = 0, _NOTHING
        while read < len(tokens):
            # Other threads' passes may run between the chunks of a long prompt.
            with self._lock:
                if cancel is not None and cancel.requested:
                    raise Cancelled
                self._own(branch)
                part = tokens[read : read + self._cells.context.size.batch]
                last = read + len(part) == len(tokens)
                if last and self._options.hidden_states and len(part) > 1:
                    # llama.cpp keeps hidden states of all tokens of a pass, and computes all their logits.
                    part, last = part[:-1], False
                logits = self._pass([branch], part, 1 if last else 0, cancel)
                read += len(part)
        row: Logits = logits[0]
        return row

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
                self._cells.cut(branch, start)
            else:
                self._cells.adopt(branch, kept)
            raise
        if kept is not None:
            self._cells.release(kept)
        if states:
            self._latest.features = np.concatenate(states)
        return np.concatenate(rows)

    def _read_again(self, branch: SequenceBranch, length: int) -> None:
        """Cut a branch whose cells do not allow it, by reading its first tokens into other ones."""
        [fresh] = self._cells.new(1)
        try:
            while fresh.length < length:
                width = self._cells.context.size.batch
                self._pass([fresh], branch.tokens[fresh.length : min(length, fresh.length + width)], 0)
        except BaseException:
            self._cells.release(fresh)
            raise
        self._cells.adopt(branch, fresh)

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
        if not isinstance(branch, SequenceBranch) or not self._cells.owns(branch):
            raise InvalidInput("The branch was freed, or belongs to another session.")
        return branch

    def _check_open(self) -> None:
        if self._closed:
            raise InvalidInput("The session is closed.")

    def _check_tokens(self, tokens: Sequence[int]) -> None:
        self._check_open()
        check_tokens(self._info, tokens)


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


def _state_of(file: Path) -> tuple[int, int, int]:
    found = file.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino
