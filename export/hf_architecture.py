"""Turn a Hugging Face config.json into an Architecture. Knows transformers' keys and its defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgetts.architecture import Activation, Architecture, Family, RopeScaling
from edgetts.export.families import (
    FAMILY_TRAITS,
    FamilyTraits,
    all_layers_but,
    embedding_scale,
    inverse_root,
)
from edgetts.export.mapped_file import shorten
from edgetts.export.settings import Settings

# Settings that change what a model computes in ways edgetts does not; harmless where they are 0 or false.
_HF_REFUSED = (
    "mlp_bias",
    "num_local_experts",
    "final_logit_softcapping",
    "attn_logit_softcapping",
    "quantization_config",
    "use_bidirectional_attention",
)
_ACTIVATIONS: dict[str, Activation] = {
    "silu": "silu",
    "swish": "silu",
    "gelu_pytorch_tanh": "gelu_tanh",
}


def architecture_from_config(file: str, config: Mapping[str, Any]) -> tuple[Architecture, FamilyTraits]:
    """Read a Hugging Face config.json. Raises as `architecture_from_gguf` does."""
    outer = Settings(file, config)
    model_type = outer.text("model_type", "")
    traits = next((t for t in FAMILY_TRAITS if model_type in t.model_types), None)
    if traits is None:
        outer.unsupported(f"its model_type is {shorten(model_type)}")
    text = outer.get("text_config", {})
    if not isinstance(text, dict):
        outer.corrupt("text_config", text, "an object")
    # A model that also sees states its text part's sizes inside, and how it is quantised outside.
    values = {**dict(traits.defaults), **config, **text}
    s = Settings(file, values)
    for key in _HF_REFUSED:
        if s.get(key) not in (None, 0):
            s.unsupported(f"it sets {key}")
    if traits.family != "qwen2" and s.flag("attention_bias", False):
        s.unsupported("it sets attention_bias, a bias on attention's output")
    key = "hidden_activation" if traits.family == "gemma3" else "hidden_act"
    activation = s.text(key, "silu")
    if _ACTIVATIONS.get(activation) != traits.activation:
        s.unsupported(f"its activation is {shorten(activation)}")
    layers, hidden = s.count("num_hidden_layers"), s.count("hidden_size")
    heads = s.count("num_attention_heads")
    window, sliding = _sliding(s, model_type, traits.family, layers)
    rope = _Rope(s)
    gemma = traits.family == "gemma3"
    architecture = Architecture(
        family=traits.family,
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=s.whole("num_key_value_heads", heads),
        head_dim=s.whole("head_dim", hidden // heads),
        intermediate=s.whole("intermediate_size"),
        vocab=s.whole("vocab_size"),
        context=s.whole("max_position_embeddings"),
        norm_eps=s.number("rms_norm_eps"),
        rope_theta=rope.theta,
        rope_scaling=rope.scaling,
        attention_bias=traits.attention_bias,
        qk_norm=traits.qk_norm,
        post_norms=traits.post_norms,
        activation=traits.activation,
        attention_scale=inverse_root(s.number("query_pre_attn_scalar")) if gemma else None,
        embedding_scale=embedding_scale(traits.family, hidden),
        tied_embeddings=s.flag("tie_word_embeddings", traits.tied_by_default),
        sliding_window=window,
        sliding_layers=sliding,
        rope_theta_local=rope.theta_local if gemma and sliding else None,
    )
    return architecture, traits


def _sliding(s: Settings, model_type: str, family: Family, layers: int) -> tuple[int | None, tuple[int, ...]]:
    window = s.whole("sliding_window", 0)
    qwen = family in ("qwen2", "qwen3")
    if not window or (qwen and not s.flag("use_sliding_window", False)):
        return None, ()
    kinds = s.get("layer_types")
    if kinds is not None:
        allowed = ("sliding_attention", "full_attention")
        if not isinstance(kinds, list) or len(kinds) != layers or any(k not in allowed for k in kinds):
            s.corrupt("layer_types", kinds, f"a list of {' or '.join(allowed)} for every layer")
        sliding = tuple(i for i, kind in enumerate(kinds) if kind == "sliding_attention")
    elif qwen:
        first = s.whole("max_window_layers", 28)
        sliding = tuple(n for n in all_layers_but(0, layers) if n >= first)
    elif family == "gemma3":
        pattern = s.whole("_sliding_window_pattern", s.whole("sliding_window_pattern"))
        if pattern < 1:
            s.corrupt("sliding_window_pattern", pattern, "a whole number greater than zero")
        sliding = all_layers_but(pattern, layers)
    elif model_type == "mistral":
        sliding = all_layers_but(0, layers)
    else:
        sliding = ()
    return (window, sliding) if sliding else (None, ())


class _Rope:
    """Rotary settings as the last versions of transformers wrote them."""

    def __init__(self, s: Settings) -> None:
        given = s.get("rope_parameters", s.get("rope_scaling", {}))
        if not isinstance(given, dict):
            s.corrupt("rope_scaling", given, "an object")
        local: Any = {}
        if "full_attention" in given or "sliding_attention" in given:
            given, local = given.get("full_attention", {}), given.get("sliding_attention", {})
            if not isinstance(given, dict) or not isinstance(local, dict):
                s.corrupt("rope_parameters", given, "an object for every type of attention")
        inner = Settings(s.file, given)
        self.theta = inner.number("rope_theta", s.number("rope_theta", 1e4))
        self.theta_local = Settings(s.file, local).number("rope_theta", s.number("rope_local_base_freq", 1e4))
        self.scaling = self._scaling(s, inner)
        if Settings(s.file, local).text("rope_type", "default") != "default":
            s.unsupported("it scales the rotary embeddings of its sliding layers")
        if inner.number("partial_rotary_factor", s.number("partial_rotary_factor", 1.0)) != 1.0:
            s.unsupported("it rotates only a part of every head")

    def _scaling(self, s: Settings, inner: Settings) -> RopeScaling | None:
        kind = inner.text("rope_type", inner.text("type", "default"))
        if kind == "default":
            return None
        if kind == "linear":
            return RopeScaling("linear", inner.number("factor"))
        if kind == "llama3":
            return RopeScaling(
                "llama3",
                inner.number("factor"),
                inner.number("low_freq_factor"),
                inner.number("high_freq_factor"),
                inner.whole("original_max_position_embeddings", s.whole("max_position_embeddings")),
            )
        return s.unsupported(f"its rotary embeddings are scaled in the way {shorten(kind)}")
