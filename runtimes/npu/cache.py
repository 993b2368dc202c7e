"""Hold the keys and values of one branch each, in arrays that graphs of fixed shapes read in place.

A cache is as large as the context from the start, as the graphs' shapes are: a branch of ten tokens reads as much
as a full one, and where the keys' columns lie apart the first token maps nearly all of their pages. Values are held
as the graphs' ports hold them, and never rounded again. Nothing is written but the rows behind a branch's length, so
rolling back is a smaller length.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import onnxruntime as ort

from edgetts.errors import OutOfMemory
from edgetts.runtimes.npu.ports import Codes, Port
from edgetts.runtimes.onnx.cache import CacheLimit
from edgetts.runtimes.onnx.depths import Depths


@dataclass(frozen=True, slots=True)
class CacheForm:
    """Of one model: the ports at which each layer reads its keys [1, kv, head_dim, C] and values [1, kv, C, head_dim]."""

    keys: tuple[Port, ...]
    values: tuple[Port, ...]

    @property
    def bytes_per_token(self) -> int:
        return self.nbytes // self.keys[0].shape[-1]

    @property
    def nbytes(self) -> int:
        """Bytes of one branch, however short."""
        shapes = ((port.shape, port.dtype.itemsize) for port in (*self.keys, *self.values))
        return sum(a * b * c * d * size for (a, b, c, d), size in shapes)


class HostCache:
    """The cache of one branch. `ports`: what graphs bind, by the name of the port that reads it."""

    def __init__(self, form: CacheForm, limit: CacheLimit) -> None:
        limit.take(form.nbytes)
        try:
            self._keys = [port.empty() for port in form.keys]
            self._values = [port.empty() for port in form.values]
        except MemoryError as error:
            limit.give(form.nbytes)
            raise OutOfMemory(
                f"There are no {form.nbytes / 1e6:.0f} MB for the cache of a branch.",
                hint="Ask for fewer samples, or export the model for a shorter context.",
            ) from error
        arrays = zip((*form.keys, *form.values), (*self._keys, *self._values), strict=True)
        # On the CPU these share the arrays' memory; other devices copy from it what they are given.
        self.ports = {port.name: ort.OrtValue.ortvalue_from_numpy(array) for port, array in arrays}

    def write(self, layer: int, at: int, count: int, key: Codes, value: Codes) -> None:
        """Take in the first `count` new keys [1, kv, head_dim, W] and values [1, kv, W, head_dim] from position `at`."""
        self._keys[layer][..., at : at + count] = key[..., :count]
        self._values[layer][:, :, at : at + count] = value[:, :, :count]

    def copy_from(self, other: HostCache, length: int) -> None:
        """Copy the first `length` tokens."""
        for mine, theirs in zip(self._keys, other._keys, strict=True):
            mine[..., :length] = theirs[..., :length]
        for mine, theirs in zip(self._values, other._values, strict=True):
            mine[:, :, :length] = theirs[:, :, :length]


@dataclass(eq=False, slots=True)
class StaticBranch:
    """A prefix with a cache of its own, which is None once it is freed."""

    limit: CacheLimit
    cache: HostCache | None
    length: int = 0
    depths: Depths | None = field(default=None)
    """Set while tokens may be pending."""

    @property
    def pending(self) -> int:
        """Of the branch's tokens, the last ones that have not been through all layers."""
        return 0 if self.depths is None else self.depths.pending


def cache_form(inputs: Mapping[str, Port], layers: int) -> CacheForm:
    """Return the form of the cache that a model's graphs read."""
    return CacheForm(
        tuple(inputs[f"past_key.{layer}"] for layer in range(layers)),
        tuple(inputs[f"past_value.{layer}"] for layer in range(layers)),
    )
