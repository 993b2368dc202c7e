"""Say what sets each supported family apart, and how its tensors are called and shaped.

Knows the conventions of GGUF and Hugging Face as data; reads no files. Tensors go by GGUF's names.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from edgetts.architecture import LARGEST, Activation, Architecture, Family


@dataclass(frozen=True, slots=True)
class FamilyTraits:
    """What sets one family apart, beyond its sizes.

    `interleaved_rope`: GGUF stores the rows of q and k for rotary pairs side by side.
    `norm_shift`: what a Hugging Face checkpoint leaves out of its norm weights.
    `defaults`: what config.json may leave out.
    """

    family: Family
    gguf_names: tuple[str, ...]
    model_types: tuple[str, ...]
    activation: Activation = "silu"
    attention_bias: bool = False
    qk_norm: bool = False
    post_norms: bool = False
    interleaved_rope: bool = False
    norm_shift: float = 0.0
    tied_by_default: bool = False
    defaults: tuple[tuple[str, Any], ...] = ()


FAMILY_TRAITS: tuple[FamilyTraits, ...] = (
    FamilyTraits("llama", ("llama",), ("llama", "mistral"), interleaved_rope=True),
    FamilyTraits("qwen2", ("qwen2",), ("qwen2",), attention_bias=True),
    FamilyTraits("qwen3", ("qwen3",), ("qwen3",), qk_norm=True),
    FamilyTraits(
        "gemma3",
        ("gemma3",),
        ("gemma3", "gemma3_text"),
        activation="gelu_tanh",
        qk_norm=True,
        post_norms=True,
        norm_shift=1.0,
        tied_by_default=True,
        # Google's own files for the larger models state only what differs from these.
        defaults=(
            ("vocab_size", 262_208),
            ("hidden_size", 2304),
            ("intermediate_size", 9216),
            ("num_hidden_layers", 26),
            ("num_attention_heads", 8),
            ("num_key_value_heads", 4),
            ("head_dim", 256),
            ("hidden_activation", "gelu_pytorch_tanh"),
            ("max_position_embeddings", 131_072),
            ("rms_norm_eps", 1e-6),
            ("rope_theta", 1e6),
            ("rope_local_base_freq", 1e4),
            ("query_pre_attn_scalar", 256),
            ("sliding_window", 4096),
            ("sliding_window_pattern", 6),
        ),
    ),
)

_HF_TOP = {
    "embed_tokens.weight": "token_embd.weight",
    "norm.weight": "output_norm.weight",
}
_HF_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_HF_POST_NORMS = {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
_HF_NAME = re.compile(r"layers\.(\d{1,4})\.(.+)\.(weight|bias)", re.ASCII)
# A text model inside a model that also sees: its parts for images are left out.
_HF_PREFIXES = ("language_model.model.", "model.language_model.", "model.")
_HF_NOT_TEXT = (
    "vision_tower.",
    "multi_modal_projector.",
    "model.vision_tower.",
    "model.multi_modal_projector.",
)


def traits_of(family: Family) -> FamilyTraits:
    return next(t for t in FAMILY_TRAITS if t.family == family)


def expected_tensors(arch: Architecture) -> dict[str, tuple[int, ...]]:
    """Name every tensor a model of this architecture has, with its shape, rows first."""
    q, kv = arch.heads * arch.head_dim, arch.kv_heads * arch.head_dim
    layer: dict[str, tuple[int, ...]] = {
        "attn_norm.weight": (arch.hidden,),
        "attn_q.weight": (q, arch.hidden),
        "attn_k.weight": (kv, arch.hidden),
        "attn_v.weight": (kv, arch.hidden),
        "attn_output.weight": (arch.hidden, q),
        "ffn_norm.weight": (arch.hidden,),
        "ffn_gate.weight": (arch.intermediate, arch.hidden),
        "ffn_up.weight": (arch.intermediate, arch.hidden),
        "ffn_down.weight": (arch.hidden, arch.intermediate),
    }
    if arch.attention_bias:
        layer |= {"attn_q.bias": (q,), "attn_k.bias": (kv,), "attn_v.bias": (kv,)}
    if arch.qk_norm:
        layer |= {"attn_q_norm.weight": (arch.head_dim,), "attn_k_norm.weight": (arch.head_dim,)}
    if arch.post_norms:
        layer |= {"post_attention_norm.weight": (arch.hidden,), "post_ffw_norm.weight": (arch.hidden,)}
    names: dict[str, tuple[int, ...]] = {"token_embd.weight": (arch.vocab, arch.hidden)}
    for n in range(arch.layers):
        names |= {f"blk.{n}.{name}": shape for name, shape in layer.items()}
    names["output_norm.weight"] = (arch.hidden,)
    if not arch.tied_embeddings:
        names["output.weight"] = (arch.vocab, arch.hidden)
    return names


def gguf_name(traits: FamilyTraits, name: str) -> str | None:
    """Translate a Hugging Face tensor name into GGUF's; None where the family has no such tensor."""
    if name in ("lm_head.weight", "language_model.lm_head.weight"):
        return "output.weight"
    prefix = next((p for p in _HF_PREFIXES if name.startswith(p)), None)
    if prefix is None:
        return None
    inner = name[len(prefix) :]
    if inner in _HF_TOP:
        return _HF_TOP[inner]
    if not (match := _HF_NAME.fullmatch(inner)):
        return None
    layer, part, ending = match.groups()
    table = _HF_LAYER | _HF_POST_NORMS if traits.post_norms else _HF_LAYER
    return f"blk.{int(layer)}.{table[part]}.{ending}" if part in table else None


def ignorable(name: str) -> bool:
    """Say whether a tensor holds nothing that is not known from elsewhere or that text needs."""
    return (
        name == "rope_freqs.weight" or name.endswith("rotary_emb.inv_freq") or name.startswith(_HF_NOT_TEXT)
    )


def supported_hint() -> str:
    names = ", ".join(t.family for t in FAMILY_TRAITS)
    return f"edgetts runs dense models of the families {names}."


def embedding_scale(family: Family, hidden: int) -> float | None:
    """Return what embeddings are multiplied with.

    Unrounded, as in llama.cpp and as transformers computes in float32; in bfloat16 it would be rounded.
    """
    return math.sqrt(hidden) if family == "gemma3" else None


def inverse_root(value: float) -> float:
    """Return value ** -0.5, or NaN, which no architecture accepts, where there is none."""
    return value**-0.5 if value > 0 else math.nan


def all_layers_but(every: int, layers: int) -> tuple[int, ...]:
    """Return all layers but each `every`-th; with 0, all."""
    known = range(min(layers, LARGEST["layers"]))
    return tuple(n for n in known if not every or (n + 1) % every)
