"""What a decoder-only transformer is made of, as numbers: shared by export, which builds it, and runtimes, which run it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from edgetts.errors import CorruptFile

Family = Literal["llama", "qwen2", "qwen3", "gemma3"]
FAMILIES: tuple[Family, ...] = ("llama", "qwen2", "qwen3", "gemma3")


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """Frequency scaling of rotary embeddings.

    `linear` divides positions by `factor`; `llama3` is Llama 3.1's smooth scaling by wavelength
    (arguments named as in Hugging Face's config.json).
    """

    kind: Literal["linear", "llama3"]
    factor: float
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_context: int = 8192


@dataclass(frozen=True, slots=True)
class Architecture:
    """Sizes and constants of one model. Lengths are counts; `head_dim` is per head.

    Rotary embeddings are always the half-split (NeoX) form here: a loader that reads interleaved
    weights (GGUF's llama family) permutes their rows once.
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
    qk_norm: bool = False
    post_norms: bool = False
    activation: Literal["silu", "gelu_tanh"] = "silu"
    attention_scale: float | None = None
    embedding_scale: float | None = None
    tied_embeddings: bool = False
    sliding_window: int | None = None
    sliding_layers: tuple[int, ...] = ()
    rope_theta_local: float | None = None

    @property
    def scale(self) -> float:
        return self.attention_scale if self.attention_scale is not None else self.head_dim**-0.5

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Architecture:
        known = {f.name for f in fields(cls)}
        if unknown := set(data) - known:
            raise CorruptFile(f"The manifest's architecture has unknown fields: {', '.join(sorted(unknown))}.")
        try:
            values = dict(data)
            if values.get("rope_scaling") is not None:
                values["rope_scaling"] = RopeScaling(**values["rope_scaling"])
            values["sliding_layers"] = tuple(values.get("sliding_layers", ()))
            return cls(**values)
        except TypeError as error:
            raise CorruptFile(f"The manifest's architecture is incomplete: {error}.") from error
