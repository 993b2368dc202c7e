"""Own a context of llama.cpp: its cells, its sequences, and the batch that is sent through the model."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetts.errors import InvalidInput, OutOfMemory
from edgetts.runtimes.hardware import physical_cores
from edgetts.runtimes.llamacpp.library import LOG, assign, is_set, library
from edgetts.runtimes.llamacpp.memory import ContextSize
from edgetts.runtimes.llamacpp.options import CACHE_TYPES, FLASH_ATTENTION, LlamaCppOptions

DONE, FULL, ABORTED = 0, 1, 2
"""What `decode` returns; below zero is a failure."""

_NO_POOLING = 0


class Context:
    """Cells of one cache that all sequences share. Not for two threads at once.

    Sequences are numbered from 0; a cell may belong to many, so copying one is not copying its cells.
    """

    def __init__(self, model: Any, size: ContextSize, options: LlamaCppOptions) -> None:
        self._lib = library()
        self.size = size
        threads = options.threads or physical_cores()
        params = self._lib.llama_context_default_params()
        assign(
            params,
            n_ctx=size.cells,
            n_batch=size.batch,
            # A pass is never split: cells of a sliding window could be overwritten between its parts.
            n_ubatch=size.batch,
            n_seq_max=size.sequences,
            n_outputs_max=size.outputs,
            n_threads=threads,
            n_threads_batch=options.threads_batch or threads,
            pooling_type=_NO_POOLING,
            flash_attn_type=FLASH_ATTENTION[options.flash_attention],
            type_k=CACHE_TYPES[options.cache_type_k],
            type_v=CACHE_TYPES[options.cache_type_v],
            # Apart, the context would be divided between the sequences, and forks would copy.
            kv_unified=True,
            # Cells outside of a sliding window are kept, so that sequences can be rolled back.
            swa_full=True,
            no_perf=True,
        )
        with LOG.listening():
            self._pointer = self._lib.llama_init_from_model(model, params)
            if not self._pointer:
                reason = LOG.reason()
                error = OutOfMemory if "alloc" in reason else InvalidInput
                raise error(
                    f"llama.cpp cannot open a context of {size.cells} tokens: {reason}.",
                    hint="See the options cache_type_k, cache_type_v, flash_attention and batch.",
                )
        self._memory = self._lib.llama_get_memory(self._pointer)
        self._features = False
        self._prepare_batch()

    def _prepare_batch(self) -> None:
        n = self.size.batch
        self._tokens = np.zeros(n, np.int32)
        self._positions = np.zeros(n, np.int32)
        self._sequences = np.zeros(n, np.int32)
        self._one = np.ones(n, np.int32)
        self._wanted = np.zeros(n, np.int8)
        # Where each token's list of sequences lies, which is one number.
        self._lists = self._sequences.ctypes.data + 4 * np.arange(n, dtype=np.uintp)
        arrays: dict[str, NDArray[Any]] = {
            "token": self._tokens,
            "pos": self._positions,
            "n_seq_id": self._one,
            "seq_id": self._lists,
            "logits": self._wanted,
        }
        self._batch = self._lib.llama_batch()
        kinds = {name: kind for name, kind, *_ in self._batch._fields_}
        assign(
            self._batch,
            **{name: ctypes.cast(array.ctypes.data, kinds[name]) for name, array in arrays.items()},
        )

    def decode(
        self,
        tokens: Sequence[int],
        positions: Sequence[int],
        sequences: Sequence[int] | int,
        wanted: int,
        *,
        flag: Any = None,
        features: bool = False,
    ) -> int:
        """Send tokens through the model in one pass; logits of the last `wanted` ones are kept.

        flag: a buffer that holds "0", and "1" as soon as the pass shall be abandoned. Returns DONE, FULL
        (nothing has changed), ABORTED, or less than zero; what is left of the last two the caller removes.
        """
        n = len(tokens)
        self._tokens[:n] = tokens
        self._positions[:n] = positions
        self._sequences[:n] = sequences
        self._wanted[:n] = 0
        self._wanted[n - wanted : n] = 1
        self._batch.n_tokens = n
        if features != self._features:
            self._lib.llama_set_embeddings(self._pointer, features)
            self._features = features
        if flag is None:
            return int(self._lib.llama_decode(self._pointer, self._batch))
        self._lib.llama_set_abort_callback(self._pointer, is_set(), ctypes.cast(flag, ctypes.c_void_p))
        try:
            return int(self._lib.llama_decode(self._pointer, self._batch))
        finally:
            self._lib.llama_set_abort_callback(self._pointer, self._lib.ggml_abort_callback(), None)

    def logits(self, rows: int, vocab: int) -> NDArray[np.float32]:
        """Copy the logits [rows, vocab] of the last pass."""
        return self._copied(self._lib.llama_get_logits(self._pointer), (rows, vocab))

    def features(self, rows: int, hidden: int) -> NDArray[np.float32]:
        """Copy what the logits of the last pass were made of [rows, hidden], if it kept that."""
        return self._copied(self._lib.llama_get_embeddings(self._pointer), (rows, hidden))

    def share(self, source: int, target: int, start: int, end: int) -> None:
        """Let the cells of [start, end) of one sequence belong to another one too."""
        self._lib.llama_memory_seq_cp(self._memory, source, target, start, end)

    def remove(self, sequence: int, start: int) -> bool:
        """Forget a sequence from a position on; False where its state cannot be rolled back."""
        return bool(self._lib.llama_memory_seq_rm(self._memory, sequence, start, -1))

    def last_position(self, sequence: int) -> int:
        """Return a sequence's last position; -1 where it is empty."""
        return int(self._lib.llama_memory_seq_pos_max(self._memory, sequence))

    def first_position(self, sequence: int) -> int:
        """Return a sequence's first position that all layers hold; -1 where it is empty."""
        return int(self._lib.llama_memory_seq_pos_min(self._memory, sequence))

    def clear(self) -> None:
        self._lib.llama_memory_clear(self._memory, True)

    def state(self) -> NDArray[np.uint8]:
        """Return what all cells hold and which sequences they belong to."""
        size = self._lib.llama_state_get_size(self._pointer)
        data = np.empty(size, np.uint8)
        return data[: self._lib.llama_state_get_data(self._pointer, _bytes(data), size)]

    def restore(self, data: NDArray[np.uint8]) -> bool:
        """Take over what `state` of another context of this model returned; False where it does not fit."""
        return int(self._lib.llama_state_set_data(self._pointer, _bytes(data), len(data))) == len(data)

    def sequence_bytes(self, sequence: int) -> int:
        return int(self._lib.llama_state_seq_get_size(self._pointer, sequence))

    def sequence_state(self, sequence: int) -> NDArray[np.uint8]:
        """Return what the cells of one sequence hold."""
        data = np.empty(self.sequence_bytes(sequence), np.uint8)
        return data[: self._lib.llama_state_seq_get_data(self._pointer, _bytes(data), len(data), sequence)]

    def restore_sequence(self, sequence: int, data: NDArray[np.uint8]) -> bool:
        """Fill a sequence with what `sequence_state` returned; False where it is refused or does not fit."""
        done = int(self._lib.llama_state_seq_set_data(self._pointer, _bytes(data), len(data), sequence))
        return done == len(data)

    def close(self) -> None:
        """Free it. Closing twice does nothing."""
        if self._pointer:
            self._lib.llama_free(self._pointer)
            self._pointer = None

    @staticmethod
    def _copied(pointer: Any, shape: tuple[int, int]) -> NDArray[np.float32]:
        rows: NDArray[np.float32] = np.ctypeslib.as_array(pointer, shape).copy()
        return rows


def _bytes(data: NDArray[np.uint8]) -> Any:
    return ctypes.cast(data.ctypes.data, ctypes.POINTER(ctypes.c_uint8))
