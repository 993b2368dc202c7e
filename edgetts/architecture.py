"""What a decoder-only transformer is made of, as numbers.

Shared by export, which builds it, and runtimes, which run it. Knows no files and no tensors.
"""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar, get_args

from edgetts.errors import CorruptFile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Family = Literal["llama", "qwen2", "qwen3", "gemma3"]
FAMILIES: tuple[Family, ...] = ("llama", "qwen2", "qwen3", "gemma3")
Activation = Literal["silu", "gelu_tanh"]
ScalingKind = Literal["linear", "llama3"]
_Made = TypeVar("_Made", "RopeScaling", "Architecture", "Sizes")
_FAMILY_NAME = re.compile(r"[A-Za-z0-9_.-]{1,60}")

# Several times what the largest models have: more is a damaged file, and would only exhaust memory.
LARGEST = {
    "layers": 1024,
    "hidden": 1 << 17,
    "heads": 1024,
    "kv_heads": 1024,
    "head_dim": 1024,
    "intermediate": 1 << 20,
    "vocab": 1 << 23,
    "context": 1 << 28,
    "sliding_window": 1 << 28,
    "rope_scaling.original_context": 1 << 28,
}


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """Frequency scaling of rotary embeddings. Raises CorruptFile for values that cannot be.

    `linear` divides positions by `factor`; `llama3` is Llama 3.1's smooth scaling by wavelength
    (arguments named as in Hugging Face's config.json).
    """

    kind: ScalingKind
    factor: float
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_context: int = 8192

    def __post_init__(self) -> None:
        _one_of("rope_scaling.kind", self.kind, get_args(ScalingKind))
        for name in ("factor", "low_freq_factor", "high_freq_factor"):
            _positive(f"rope_scaling.{name}", getattr(self, name))
        _count("rope_scaling.original_context", self.original_context)
        if self.high_freq_factor <= self.low_freq_factor:
            _wrong("rope_scaling.high_freq_factor", self.high_freq_factor, "greater than low_freq_factor")


@dataclass(frozen=True, slots=True)
class Architecture:
    """Sizes and constants of one model. Lengths are counts; `head_dim` is per head.

    Rotary embeddings are always the half-split (NeoX) form here: a loader that reads interleaved
    weights (GGUF's llama family) permutes their rows once. Norm weights are what the normalised
    values are multiplied with. Raises CorruptFile for values that cannot be: they come from files.
    """

    family: Family
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    context: int
    norm_eps: float
    rope_theta: float
    rope_scaling: RopeScaling | None = None
    attention_bias: bool = False
    """Whether the query, key and value projections have biases."""
    qk_norm: bool = False
    post_norms: bool = False
    """Whether attention's and the feed-forward's outputs are normalised before they are added."""
    activation: Activation = "silu"
    attention_scale: float | None = None
    embedding_scale: float | None = None
    tied_embeddings: bool = False
    sliding_window: int | None = None
    """Positions a token of a sliding layer attends to, its own among them."""
    sliding_layers: tuple[int, ...] = ()
    rope_theta_local: float | None = None
    """Base of the rotary embeddings in sliding layers, which are never scaled; None: as in the others."""
    rope_factors: tuple[float, ...] | None = None
    """Divisors of the head_dim / 2 rotary frequencies, where a file states them one by one."""

    def __post_init__(self) -> None:
        _one_of("family", self.family, FAMILIES)
        _one_of("activation", self.activation, get_args(Activation))
        for name in ("layers", "hidden", "heads", "kv_heads", "head_dim", "intermediate", "vocab", "context"):
            _count(name, getattr(self, name))
        if self.heads % self.kv_heads:
            _wrong("heads", self.heads, f"a multiple of kv_heads ({self.kv_heads})")
        if self.head_dim % 2:
            _wrong("head_dim", self.head_dim, "even")
        for name in ("norm_eps", "rope_theta"):
            _positive(name, getattr(self, name))
        for name in ("attention_scale", "embedding_scale", "rope_theta_local"):
            if getattr(self, name) is not None:
                _positive(name, getattr(self, name))
        for name in ("attention_bias", "qk_norm", "post_norms", "tied_embeddings"):
            if not isinstance(getattr(self, name), bool):
                _wrong(name, getattr(self, name), "true or false")
        scaling: object = self.rope_scaling
        if scaling is not None and not isinstance(scaling, RopeScaling):
            _wrong("rope_scaling", scaling, "a scaling of rotary embeddings")
        self._check_sliding()
        self._check_factors()

    def _check_sliding(self) -> None:
        layers: object = self.sliding_layers
        if self.sliding_window is not None:
            _count("sliding_window", self.sliding_window)
        if not isinstance(layers, tuple) or not all(type(n) is int and 0 <= n < self.layers for n in layers):
            _wrong("sliding_layers", layers, f"a list of layers from 0 to {self.layers - 1}")
        elif list(layers) != sorted(set(layers)):
            _wrong("sliding_layers", layers, "in ascending order, each layer once")
        if (self.sliding_window is None) != (not layers):
            _wrong("sliding_window", self.sliding_window, "given exactly where there are sliding_layers")

    def _check_factors(self) -> None:
        if self.rope_factors is None:
            return
        if not isinstance(self.rope_factors, tuple) or len(self.rope_factors) != self.head_dim // 2:
            _wrong("rope_factors", self.rope_factors, f"a list of {self.head_dim // 2} numbers")
        for factor in self.rope_factors:
            _positive("rope_factors", factor)

    @property
    def scale(self) -> float:
        return self.attention_scale if self.attention_scale is not None else self.head_dim**-0.5

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Architecture:
        """Rebuild from a manifest. Raises CorruptFile for anything that is not what `to_json` wrote."""
        values = _known("architecture", cls, data)
        if values.get("rope_scaling") is not None:
            scaling = _known("rope_scaling", RopeScaling, values["rope_scaling"])
            values["rope_scaling"] = _make("rope_scaling", RopeScaling, scaling)
        for name in ("sliding_layers", "rope_factors"):
            if isinstance(values.get(name), list):
                values[name] = tuple(values[name])
        return _make("architecture", cls, values)


@dataclass(frozen=True, slots=True)
class Sizes:
    """What there is to know of a model whose graph says itself how it computes. Raises as Architecture does.

    family: transformers' model_type. kv_heads and head_dim are those of the first layer's keys.
    """

    family: str
    layers: int
    hidden: int
    vocab: int
    context: int
    kv_heads: int
    head_dim: int

    def __post_init__(self) -> None:
        family: object = self.family
        if not isinstance(family, str) or not _FAMILY_NAME.fullmatch(family):
            _wrong("family", family, "a short name")
        for name in ("layers", "hidden", "vocab", "context", "kv_heads", "head_dim"):
            _count(name, getattr(self, name))

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Sizes:
        """Rebuild from a manifest. Raises CorruptFile."""
        return _make("architecture", cls, _known("architecture", cls, data))


def rope_tables(
    arch: Architecture, positions: int, local: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return cosines and sines [positions, head_dim / 2] of the rotary embeddings.

    `local`: those of sliding layers, where they have their own base. Position p turns the pair
    (x[i], x[i + head_dim / 2]) by the angle in row p, column i.
    """
    import numpy as np

    own_base = local and arch.rope_theta_local is not None
    theta = arch.rope_theta_local if own_base and arch.rope_theta_local is not None else arch.rope_theta
    half = arch.head_dim // 2
    frequencies = theta ** (-np.arange(half, dtype=np.float64) / half)
    if not own_base:
        if arch.rope_factors is not None:
            frequencies /= np.array(arch.rope_factors, dtype=np.float64)
        if arch.rope_scaling is not None:
            frequencies = _scaled(frequencies, arch.rope_scaling)
    angles = np.arange(positions, dtype=np.float64)[:, None] * frequencies
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def _scaled(frequencies: NDArray[np.float64], scaling: RopeScaling) -> NDArray[np.float64]:
    if scaling.kind == "linear":
        return frequencies / scaling.factor
    import numpy as np

    # Rotations within the original context decide: few are slowed down by the factor, many are
    # left alone, and between the two it is blended.
    rotations = scaling.original_context * frequencies / (2 * math.pi)
    blend = (rotations - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    blend = np.clip(blend, 0.0, 1.0)
    return np.asarray(frequencies * (blend + (1.0 - blend) / scaling.factor), dtype=np.float64)


def _known(what: str, cls: type[_Made], data: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise CorruptFile(f"The manifest's {what} is no object.")
    if unknown := set(data) - {f.name for f in fields(cls)}:
        raise CorruptFile(
            f"The manifest's {what} has unknown fields: {', '.join(sorted(map(str, unknown)))[:200]}."
        )
    return dict(data)


def _make(what: str, cls: type[_Made], values: dict[str, Any]) -> _Made:
    try:
        return cls(**values)
    except TypeError as error:
        raise CorruptFile(f"The manifest's {what} is incomplete: {error}.") from error


def _wrong(name: str, value: object, what: str) -> NoReturn:
    raise CorruptFile(f"The architecture's {name} is {str(value)[:60]}, but it must be {what}.")


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        _wrong(name, value, f"one of {', '.join(allowed)}")


def _count(name: str, value: object) -> None:
    most = LARGEST[name]
    if type(value) is not int or not 1 <= value <= most:
        _wrong(name, value, f"a whole number from 1 to {most}")


def _positive(name: str, value: object) -> None:
    # The upper bound keeps powers and products finite in float32.
    if type(value) not in (int, float) or not 0 < value < 1e30:  # type: ignore[operator]
        _wrong(name, value, "a finite number greater than zero")
