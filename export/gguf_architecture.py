"""Turn a GGUF file's metadata into an Architecture. Knows llama.cpp's keys and what it assumes unsaid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgetts.architecture import Architecture, Family, RopeScaling
from edgetts.errors import CorruptFile, UnsupportedModel
from edgetts.export.families import FAMILY_TRAITS, all_layers_but, embedding_scale, inverse_root
from edgetts.export.mapped_file import shorten
from edgetts.export.settings import Settings

# Settings that change what a model computes in ways edgetts does not; harmless where they are 0 or false.
_GGUF_REFUSED = (
    "expert_count",
    "logit_scale",
    "residual_scale",
    "embedding_scale",
    "final_logit_softcapping",
    "attn_logit_softcapping",
    "attention.clamp_kqv",
    "attention.max_alibi_bias",
    "rope.scaling.attn_factor",
)
# llama.cpp slides no others, whatever their metadata says; Mistral is of the family llama.
_WINDOWED = ("llama", "gemma3")
_GEMMA_PATTERN = 6
# The largest Gemma 3 scales attention by another width than its heads'; GGUF tells it by its depth.
_GEMMA_27B_LAYERS = 62


def architecture_from_gguf(
    file: str,
    metadata: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    rope_factors: tuple[float, ...] | None,
) -> Architecture:
    """Read a GGUF file's metadata. `shapes` are its tensors'; `rope_factors` its rope_freqs.weight.

    Raises UnsupportedModel for other families and for settings edgetts does not compute, and
    CorruptFile for values that cannot be.
    """
    general = Settings(file, metadata, "general.")
    if general.text("type", "model") != "model":
        general.unsupported(f"it is of type {shorten(general.text('type', 'model'))} and not a whole model")
    if Settings(file, metadata, "split.").whole("count", 1) > 1:
        raise UnsupportedModel(
            f"{file} is one part of a split model.", hint="Join the parts with llama-gguf-split --merge."
        )
    name = general.text("architecture", "")
    traits = next((t for t in FAMILY_TRAITS if name in t.gguf_names), None)
    if traits is None:
        general.unsupported(f"its architecture is {shorten(name)}")
    s = Settings(file, metadata, f"{name}.")
    for key in _GGUF_REFUSED:
        neutral = 1 if key.endswith(("_scale", "_factor")) else 0
        if s.get(key) not in (None, 0, neutral):
            s.unsupported(f"it sets {name}.{key}")
    layers, hidden = s.count("block_count"), s.count("embedding_length")
    heads = s.count("attention.head_count")
    head_dim = s.whole("attention.key_length", hidden // heads)
    if s.whole("attention.value_length", head_dim) != head_dim:
        s.unsupported("its keys and values have different lengths")
    if s.whole("rope.dimension_count", head_dim) != head_dim:
        s.unsupported("it rotates only a part of every head")
    embedding = shapes.get("token_embd.weight", ())
    if len(embedding) != 2:
        raise CorruptFile(f"{file} has no embedding matrix token_embd.weight.")
    gemma = traits.family == "gemma3"
    scale = s.number("attention.scale", 0.0) or None
    if gemma and scale is None:
        scale = inverse_root(hidden // heads if layers == _GEMMA_27B_LAYERS else head_dim)
    window = s.whole("attention.sliding_window", 0) if traits.family in _WINDOWED else 0
    return Architecture(
        family=traits.family,
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=s.whole("attention.head_count_kv", heads),
        head_dim=head_dim,
        intermediate=s.whole("feed_forward_length"),
        vocab=embedding[0],
        context=s.whole("context_length"),
        norm_eps=s.number("attention.layer_norm_rms_epsilon"),
        rope_theta=s.number("rope.freq_base", 1e6 if gemma else 1e4),
        rope_scaling=_scaling(s),
        attention_bias=traits.attention_bias or "blk.0.attn_q.bias" in shapes,
        qk_norm=traits.qk_norm,
        post_norms=traits.post_norms,
        activation=traits.activation,
        attention_scale=scale,
        embedding_scale=embedding_scale(traits.family, hidden),
        tied_embeddings="output.weight" not in shapes,
        sliding_window=window or None,
        sliding_layers=_sliding_layers(s, traits.family, layers) if window else (),
        rope_theta_local=s.number("rope.freq_base_swa", 1e4) if gemma and window else None,
        rope_factors=rope_factors,
    )


def _sliding_layers(s: Settings, family: Family, layers: int) -> tuple[int, ...]:
    if family != "gemma3":
        return all_layers_but(0, layers)
    pattern = s.get("attention.sliding_window_pattern", _GEMMA_PATTERN)
    if isinstance(pattern, list):
        if len(pattern) != layers or not all(isinstance(v, bool) for v in pattern):
            s.corrupt("attention.sliding_window_pattern", pattern, "one truth value a layer")
        return tuple(i for i, slides in enumerate(pattern) if slides)
    if type(pattern) is not int or pattern < 1:
        s.corrupt("attention.sliding_window_pattern", pattern, "a whole number greater than zero")
    return all_layers_but(int(pattern), layers)


def _scaling(s: Settings) -> RopeScaling | None:
    factor = s.number("rope.scaling.factor", s.number("rope.scale_linear", 1.0))
    kind = s.text("rope.scaling.type", "linear")
    if kind not in ("none", "linear"):
        s.unsupported(f"its rotary embeddings are scaled in the way {shorten(kind)}")
    return RopeScaling("linear", factor) if kind == "linear" and factor != 1.0 else None
