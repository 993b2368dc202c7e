"""Load a GGUF file by llama.cpp and say what it is. Knows no cache."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

from edgetts.errors import CorruptFile, UnsupportedModel
from edgetts.runtimes.llamacpp.library import LOG, assign, library
from edgetts.runtimes.llamacpp.options import LlamaCppOptions

_READ, _MAP = 0, 1
_ALL_F32, _GUESSED = 0, 1024
_NO_VOCABULARY = 0


class Model:
    """The weights of one file. Raises CorruptFile with llama.cpp's reason, or UnsupportedModel."""

    def __init__(self, file: Path, options: LlamaCppOptions) -> None:
        self._lib = library()
        params = self._lib.llama_model_default_params()
        assign(params, n_gpu_layers=options.gpu_layers, load_mode=_MAP if options.mmap else _READ)
        with LOG.listening():
            self.pointer: Any = self._lib.llama_model_load_from_file(os.fsencode(file), params)
            if not self.pointer:
                raise CorruptFile(
                    f"llama.cpp cannot load {file.name}: {LOG.reason()}.", hint="Fetch or convert it again."
                )
        try:
            self._describe(file.name)
        except BaseException:
            self.close()
            raise

    def _describe(self, file: str) -> None:
        lib, pointer = self._lib, self.pointer
        self._vocabulary = lib.llama_model_get_vocab(pointer)
        self.vocab = int(lib.llama_vocab_n_tokens(self._vocabulary))
        self.layers = int(lib.llama_model_n_layer(pointer))
        self.hidden = int(lib.llama_model_n_embd_out(pointer))
        self.heads = int(lib.llama_model_n_head(pointer))
        self.trained_context = int(lib.llama_model_n_ctx_train(pointer))
        self.sliding_window = int(lib.llama_model_n_swa(pointer))
        # The type of the file, which llama.cpp takes from the tensors where the header does not state it.
        self.quantized = int(lib.llama_model_ftype(pointer)) & ~_GUESSED != _ALL_F32
        self.recurrent = bool(lib.llama_model_is_recurrent(pointer) or lib.llama_model_is_hybrid(pointer))
        for wrong, what in (
            (lib.llama_model_has_encoder(pointer), "has an encoder"),
            (not lib.llama_model_has_decoder(pointer), "has no decoder"),
            (lib.llama_model_is_diffusion(pointer), "is a diffusion model"),
        ):
            if wrong:
                raise UnsupportedModel(
                    f"{file} {what}: edgetts runs models that predict the next token.",
                    hint="Choose another model.",
                )
        for name, value in (("vocabulary", self.vocab), ("context", self.trained_context)):
            if value < 1:
                raise CorruptFile(f"{file} is damaged: it states a {name} of {value} tokens.")

    def end_tokens(self) -> frozenset[int]:
        """Return every token that ends a text or a turn, as llama.cpp sees it."""
        if self._lib.llama_vocab_type(self._vocabulary) == _NO_VOCABULARY:
            return frozenset()
        ends = self._lib.llama_vocab_is_eog
        return frozenset(token for token in range(self.vocab) if ends(self._vocabulary, token))

    def metadata(self, key: str) -> str | None:
        """Return one of the file's entries as text; None where it is missing or an array."""
        buffer = ctypes.create_string_buffer(4096)
        length = self._lib.llama_model_meta_val_str(self.pointer, key.encode(), buffer, len(buffer))
        return None if length < 0 else buffer.value.decode("utf-8", "replace")

    def rope_switches_at(self) -> int | None:
        """Return the context from which on llama.cpp rotates by other factors (LongRoPE), if there is one.

        It goes by the size of the context and not by a text's length, so keys of a smaller context
        would not fit into a larger one.
        """
        name = self.metadata("general.architecture") or ""
        if self.metadata(f"{name}.rope.scaling.type") not in (None, "longrope"):
            return None
        original = self.metadata(f"{name}.rope.scaling.original_context_length")
        return int(original) if original and original.isdigit() else None

    def close(self) -> None:
        """Free it. Closing twice does nothing."""
        if self.pointer:
            self._lib.llama_model_free(self.pointer)
            self.pointer = None
