"""Say how llama.cpp runs a model: threads, cache, memory, batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgetts.errors import InvalidInput

CACHE_TYPES: dict[str, int] = {
    "f32": 0,
    "f16": 1,
    "bf16": 30,
    "q8_0": 8,
    "q5_1": 7,
    "q5_0": 6,
    "q4_1": 3,
    "q4_0": 2,
    "iq4_nl": 20,
}
"""What keys and values may be stored as, by the numbers that GGUF gives the types."""

FLASH_ATTENTION: dict[str, int] = {"auto": -1, "off": 0, "on": 1}

_PLAIN = ("f32", "f16", "bf16")


@dataclass(frozen=True, slots=True)
class LlamaCppOptions:
    """How llama.cpp runs. Lengths in tokens. Raises InvalidInput for values that cannot be.

    threads: of passes over one token; None is one per physical core. threads_batch: of wider passes; None is
    as many as `threads`. flash_attention: "auto" is on wherever llama.cpp has it; it sums attention in
    half precision, so passes of other widths differ more than with "off". cache_type_k, cache_type_v: what
    keys and values are stored as; quantised values need flash attention. context: limit of a branch's
    length; None is what the model was trained for. batch: tokens of a prompt in one pass. gpu_layers: layers
    kept on a GPU, where the library was built with one; -1 is all. memory_bytes: limit of the cache of all
    branches. mmap: map the file instead of reading it. hidden_states: keep what logits were made
    of for `features`; the last token of a prompt is then a pass of its own. verbose: let llama.cpp's log
    through to stderr, for the whole process.
    """

    threads: int | None = None
    threads_batch: int | None = None
    flash_attention: Literal["auto", "on", "off"] = "auto"
    cache_type_k: str = "f16"
    cache_type_v: str = "f16"
    context: int | None = None
    batch: int = 512
    gpu_layers: int = 0
    memory_bytes: int | None = None
    mmap: bool = True
    hidden_states: bool = False
    verbose: bool = False

    def __post_init__(self) -> None:
        _between("threads", self.threads, 1, 1024)
        _between("threads_batch", self.threads_batch, 1, 1024)
        _between("context", self.context, 1, 1 << 28)
        _between("batch", self.batch, 1, 8192)
        _between("gpu_layers", self.gpu_layers, -1, 1 << 16)
        _between("memory_bytes", self.memory_bytes, 1, 1 << 62)
        _one_of("flash_attention", self.flash_attention, FLASH_ATTENTION)
        _one_of("cache_type_k", self.cache_type_k, CACHE_TYPES)
        _one_of("cache_type_v", self.cache_type_v, CACHE_TYPES)
        if self.flash_attention == "off" and self.cache_type_v not in _PLAIN:
            raise InvalidInput(
                f"Values stored as {self.cache_type_v} need flash attention.",
                hint=f"Leave it on, or store them as one of: {', '.join(_PLAIN)}.",
            )


def _between(name: str, value: int | None, least: int, most: int) -> None:
    if value is not None and not least <= value <= most:
        raise InvalidInput(f"{name} is {value}, but it must be between {least} and {most}.")


def _one_of(name: str, value: str, choices: dict[str, int]) -> None:
    if value not in choices:
        raise InvalidInput(f"{name} is {value!r}, but it must be one of: {', '.join(choices)}.")
