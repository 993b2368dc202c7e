"""Make tiny seeded checkpoints: the same weights as GGUF and as a Hugging Face directory.

Written from the formats' own conventions, without edgetts.export, so that both can be compared.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from numpy.typing import NDArray

from edgetts.architecture import Architecture, Family, RopeScaling

Weights = dict[str, NDArray[np.float32]]

END, START, END_OF_TEXT = "<|im_end|>", "<|im_start|>", "<|endoftext|>"
SPECIALS = (END_OF_TEXT, START, END)
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_MERGE_LIST = (
    "Ġ t|h e|i n|r e|o n|e r|a n|Ġ a|Ġt he|o r|Ġ s|a t|i s|i t|Ġ o|Ġo f|n d|Ġa nd|in g|e n|Ġt o|e s|Ġ w"
    "|Ġ i|Ġi s|a l|a r|o u|Ġ c|Ġ b|Ġ m|e d|Ġ f|Ġ p|Ġ h|s t|Ġ d|l e|Ġs t|l l|Ċ Ċ|Ġ 1|Ġw h|Ġwh at|1 0"
)
_MERGES = tuple(_MERGE_LIST.split("|"))

# Where GGUF's blocks hold their float16 scale and minimum, and the minimum that centres random codes
# at zero, in scales. gguf cannot quantise to these, so tests make random blocks.
_RANDOM_BLOCKS: dict[str, tuple[int, int | None, float]] = {
    "Q2_K": (80, 82, 1.5),
    "Q3_K": (108, None, 0.0),
    "Q4_K": (0, 2, 7.5),
    "Q5_K": (0, 2, 15.5),
    "Q6_K": (208, None, 0.0),
    "IQ4_NL": (0, None, 0.0),
    "IQ4_XS": (0, None, 0.0),
}


def tiny_architecture(family: Family = "llama", **changes: Any) -> Architecture:
    """Return a small architecture of the family; `changes` replace its fields."""
    base = Architecture(
        family=family,
        layers=4,
        hidden=64,
        heads=4,
        kv_heads=2,
        head_dim=16,
        intermediate=96,
        vocab=len(vocabulary()),
        context=256,
        norm_eps=1e-5,
        rope_theta=10_000.0,
    )
    if family == "qwen2":
        base = replace(base, attention_bias=True, tied_embeddings=True, norm_eps=1e-6, rope_theta=1e6)
    if family == "qwen3":
        base = replace(base, qk_norm=True, head_dim=32, norm_eps=1e-6, rope_theta=1e6)
    if family == "gemma3":
        # Six layers: the last of every six attends to everything.
        base = replace(
            base,
            layers=6,
            head_dim=32,
            norm_eps=1e-6,
            rope_theta=1e6,
            rope_theta_local=1e4,
            qk_norm=True,
            post_norms=True,
            activation="gelu_tanh",
            attention_scale=32**-0.5,
            embedding_scale=64**0.5,
            tied_embeddings=True,
            sliding_window=8,
            sliding_layers=(0, 1, 2, 3, 4),
        )
    arch = replace(base, **changes)
    if family == "gemma3":
        arch = replace(
            arch,
            embedding_scale=changes.get("embedding_scale", arch.hidden**0.5),
            attention_scale=changes.get("attention_scale", arch.head_dim**-0.5),
        )
    return arch


def tiny_weights(arch: Architecture, seed: int = 0) -> Weights:
    """Draw weights in edgetts' own convention: half-split rotary pairs, norm weights near 1."""
    rng = np.random.default_rng(seed)

    def matrix(rows: int, cols: int) -> NDArray[np.float32]:
        return (rng.standard_normal((rows, cols)) / cols**0.5).astype(np.float32)

    def norm(length: int) -> NDArray[np.float32]:
        # In steps of 1/256, so that adding and taking away 1 is exact.
        return (1 + rng.integers(-64, 65, length) / 256).astype(np.float32)

    q, kv = arch.heads * arch.head_dim, arch.kv_heads * arch.head_dim
    weights: Weights = {"token_embd.weight": matrix(arch.vocab, arch.hidden)}
    for n in range(arch.layers):
        layer: Weights = {
            "attn_norm.weight": norm(arch.hidden),
            "attn_q.weight": matrix(q, arch.hidden),
            "attn_k.weight": matrix(kv, arch.hidden),
            "attn_v.weight": matrix(kv, arch.hidden),
            "attn_output.weight": matrix(arch.hidden, q),
            "ffn_norm.weight": norm(arch.hidden),
            "ffn_gate.weight": matrix(arch.intermediate, arch.hidden),
            "ffn_up.weight": matrix(arch.intermediate, arch.hidden),
            "ffn_down.weight": matrix(arch.hidden, arch.intermediate),
        }
        if arch.attention_bias:
            for name, length in (("q", q), ("k", kv), ("v", kv)):
                layer[f"attn_{name}.bias"] = rng.standard_normal(length).astype(np.float32)
        if arch.qk_norm:
            layer |= {f"attn_{name}_norm.weight": norm(arch.head_dim) for name in "qk"}
        if arch.post_norms:
            layer |= {
                f"{name}.weight": norm(arch.hidden) for name in ("post_attention_norm", "post_ffw_norm")
            }
        weights |= {f"blk.{n}.{name}": tensor for name, tensor in layer.items()}
    weights["output_norm.weight"] = norm(arch.hidden)
    if not arch.tied_embeddings:
        weights["output.weight"] = matrix(arch.vocab, arch.hidden)
    return weights


def random_blocks(kind: str, rows: int, cols: int, seed: int = 0, spread: float = 0.1) -> NDArray[np.uint8]:
    """Return random bytes [rows, n] of a GGUF type that make finite values of about `spread`."""
    rng = np.random.default_rng(seed)
    qtype = GGMLQuantizationType[kind]
    elements, nbytes = GGML_QUANT_SIZES[qtype]
    scale_at, minimum_at, centre = _RANDOM_BLOCKS[kind]
    blocks = rng.integers(0, 256, (rows * cols // elements, nbytes), dtype=np.uint8)

    def put(at: int, value: float) -> None:
        blocks[:, at : at + 2] = np.array([value], "<f2").view(np.uint8)

    put(scale_at, 1.0)
    if minimum_at is not None:
        put(minimum_at, centre)
    found = float(gguf.quants.dequantize(blocks, qtype).std())
    put(scale_at, spread / found)
    if minimum_at is not None:
        put(minimum_at, centre * spread / found)
    return blocks.reshape(rows, -1)


def write_tiny_gguf(
    path: Path,
    family: Family = "llama",
    *,
    quant: str = "F32",
    quants: Mapping[str, str] | None = None,
    arch: Architecture | None = None,
    weights: Weights | None = None,
    seed: int = 0,
    tokenizer: bool = True,
    metadata: Mapping[str, Any] | None = None,
) -> Architecture:
    """Write a GGUF file as llama.cpp's converter would, matrices stored as `quant` (`quants`: by name).

    `metadata` adds or replaces entries; None takes one away.
    """
    if arch is None:
        wide = GGML_QUANT_SIZES[GGMLQuantizationType[quant]][0] == 256
        arch = tiny_architecture(
            family, **({"hidden": 256, "intermediate": 256, "head_dim": 64} if wide else {})
        )
    weights = tiny_weights(arch, seed) if weights is None else weights
    entries = _gguf_settings(arch) | (_gguf_tokenizer() if tokenizer else {})
    entries |= metadata or {}
    writer = gguf.GGUFWriter(path, str(entries.pop("general.architecture")))
    for key, value in entries.items():
        if value is not None:
            _add(writer, key, value)
    if arch.rope_scaling is not None and arch.rope_scaling.kind == "llama3":
        writer.add_tensor("rope_freqs.weight", _llama3_factors(arch, arch.rope_scaling))
    elif arch.rope_factors is not None:
        writer.add_tensor("rope_freqs.weight", np.array(arch.rope_factors, np.float32))
    for index, (name, tensor) in enumerate(weights.items()):
        if family_interleaves(arch) and name.endswith(("attn_q.weight", "attn_q.bias")):
            tensor = interleave(tensor, arch.heads)
        if family_interleaves(arch) and name.endswith(("attn_k.weight", "attn_k.bias")):
            tensor = interleave(tensor, arch.kv_heads)
        kind = (quants or {}).get(name, quant if tensor.ndim == 2 else "F32")
        if kind == "F32":
            writer.add_tensor(name, tensor)
        elif kind in _RANDOM_BLOCKS:
            rows, cols = tensor.shape
            stored = random_blocks(kind, rows, cols, seed + index, float(tensor.std()))
            writer.add_tensor(name, stored, raw_dtype=GGMLQuantizationType[kind])
        else:
            qtype = GGMLQuantizationType[kind]
            writer.add_tensor(name, gguf.quants.quantize(tensor, qtype), raw_dtype=qtype)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return arch


def write_tiny_hf(
    directory: Path,
    family: Family = "llama",
    *,
    arch: Architecture | None = None,
    weights: Weights | None = None,
    seed: int = 0,
    dtype: str = "F32",
    shards: int = 1,
    config: Mapping[str, Any] | None = None,
) -> Architecture:
    """Write config.json, safetensors and tokenizer files; `config` adds, replaces or takes away entries."""
    directory.mkdir(parents=True, exist_ok=True)
    arch = tiny_architecture(family) if arch is None else arch
    weights = tiny_weights(arch, seed) if weights is None else weights
    settings = _hf_config(arch) | dict(config or {})
    (directory / "config.json").write_text(json.dumps({k: v for k, v in settings.items() if v is not None}))
    tensors = {}
    for name, tensor in weights.items():
        shift = 1 if arch.family == "gemma3" and "norm" in name else 0
        tensors[hf_name(arch, name)] = tensor - np.float32(shift)
    if shards == 1:
        write_safetensors(directory / "model.safetensors", tensors, dtype)
    else:
        names, places = list(tensors), {}
        for n in range(shards):
            file = f"model-{n + 1:05}-of-{shards:05}.safetensors"
            write_safetensors(directory / file, {name: tensors[name] for name in names[n::shards]}, dtype)
            places |= dict.fromkeys(names[n::shards], file)
        index = {"metadata": {}, "weight_map": places}
        (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    _write_hf_tokenizer(directory)
    return arch


def write_safetensors(path: Path, tensors: Mapping[str, NDArray[np.float32]], dtype: str = "F32") -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    body = b""
    for name, tensor in tensors.items():
        if dtype == "BF16":
            data = (tensor.view(np.uint32) >> 16).astype("<u2").tobytes()
        else:
            data = tensor.astype({"F32": "<f4", "F16": "<f2"}[dtype]).tobytes()
        spans = [len(body), len(body) + len(data)]
        header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": spans}
        body += data
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def family_interleaves(arch: Architecture) -> bool:
    return arch.family == "llama"


def interleave(tensor: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Put rotary pairs side by side, as llama.cpp's converter does for the llama family."""
    rows = tensor.shape[0]
    split = tensor.reshape(heads, 2, rows // heads // 2, *tensor.shape[1:])
    return np.ascontiguousarray(split.swapaxes(1, 2).reshape(tensor.shape))


def hf_name(arch: Architecture, name: str) -> str:
    """Return what transformers calls a tensor."""
    top = {
        "token_embd.weight": "model.embed_tokens.weight",
        "output_norm.weight": "model.norm.weight",
        "output.weight": "lm_head.weight",
    }
    if name in top:
        return top[name]
    _, layer, part, ending = name.split(".")
    gemma = arch.family == "gemma3"
    parts = {
        "attn_norm": "input_layernorm",
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "attn_q_norm": "self_attn.q_norm",
        "attn_k_norm": "self_attn.k_norm",
        "post_attention_norm": "post_attention_layernorm",
        "ffn_norm": "pre_feedforward_layernorm" if gemma else "post_attention_layernorm",
        "post_ffw_norm": "post_feedforward_layernorm",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
    }
    return f"model.layers.{layer}.{parts[part]}.{ending}"


@lru_cache
def vocabulary() -> tuple[str, ...]:
    """Return the tokens in the order of their ids: 256 bytes, merged pairs, special tokens."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    letters = {b: chr(b) for b in printable} | {b: chr(256 + n) for n, b in enumerate(others)}
    return (*(letters[b] for b in range(256)), *(m.replace(" ", "") for m in _MERGES), *SPECIALS)


def token_id(token: str) -> int:
    return vocabulary().index(token)


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def _gguf_settings(arch: Architecture) -> dict[str, Any]:
    name = arch.family
    entries: dict[str, Any] = {
        "general.architecture": name,
        "general.type": "model",
        "general.name": f"Tiny {name}",
        "general.license": "apache-2.0",
        f"{name}.block_count": arch.layers,
        f"{name}.context_length": arch.context,
        f"{name}.embedding_length": arch.hidden,
        f"{name}.feed_forward_length": arch.intermediate,
        f"{name}.attention.head_count": arch.heads,
        f"{name}.attention.head_count_kv": arch.kv_heads,
        f"{name}.attention.layer_norm_rms_epsilon": arch.norm_eps,
        f"{name}.rope.freq_base": arch.rope_theta,
    }
    if name == "llama":
        entries |= {f"{name}.rope.dimension_count": arch.head_dim, f"{name}.vocab_size": arch.vocab}
    if arch.head_dim * arch.heads != arch.hidden:
        entries |= dict.fromkeys(
            (f"{name}.attention.key_length", f"{name}.attention.value_length"), arch.head_dim
        )
    if arch.sliding_window is not None:
        entries[f"{name}.attention.sliding_window"] = arch.sliding_window
    if arch.rope_scaling is not None and arch.rope_scaling.kind == "linear":
        entries |= {
            f"{name}.rope.scaling.type": "linear",
            f"{name}.rope.scaling.factor": arch.rope_scaling.factor,
        }
    return entries


def _gguf_tokenizer() -> dict[str, Any]:
    normal, control = 1, 3
    tokens = vocabulary()
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.tokens": list(tokens),
        "tokenizer.ggml.token_type": [control if t in SPECIALS else normal for t in tokens],
        "tokenizer.ggml.merges": list(_MERGES),
        "tokenizer.ggml.bos_token_id": token_id(END_OF_TEXT),
        "tokenizer.ggml.eos_token_id": token_id(END),
        "tokenizer.ggml.padding_token_id": token_id(END_OF_TEXT),
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": CHAT_TEMPLATE,
    }


def _llama3_factors(arch: Architecture, scaling: RopeScaling) -> NDArray[np.float32]:
    """Return the frequency divisors that llama.cpp's converter writes for Llama 3."""
    factors = []
    for i in range(arch.head_dim // 2):
        wavelength = 2 * np.pi * arch.rope_theta ** (2 * i / arch.head_dim)
        if wavelength < scaling.original_context / scaling.high_freq_factor:
            factors.append(1.0)
        elif wavelength > scaling.original_context / scaling.low_freq_factor:
            factors.append(scaling.factor)
        else:
            smooth = (scaling.original_context / wavelength - scaling.low_freq_factor) / (
                scaling.high_freq_factor - scaling.low_freq_factor
            )
            factors.append(1 / ((1 - smooth) / scaling.factor + smooth))
    return np.array(factors, np.float32)


def _hf_config(arch: Architecture) -> dict[str, Any]:
    names = {
        "llama": ("llama", "LlamaForCausalLM"),
        "qwen2": ("qwen2", "Qwen2ForCausalLM"),
        "qwen3": ("qwen3", "Qwen3ForCausalLM"),
        "gemma3": ("gemma3_text", "Gemma3ForCausalLM"),
    }
    model_type, model_class = names[arch.family]
    config: dict[str, Any] = {
        "architectures": [model_class],
        "model_type": model_type,
        "hidden_size": arch.hidden,
        "intermediate_size": arch.intermediate,
        "num_hidden_layers": arch.layers,
        "num_attention_heads": arch.heads,
        "num_key_value_heads": arch.kv_heads,
        "head_dim": arch.head_dim,
        "vocab_size": arch.vocab,
        "max_position_embeddings": arch.context,
        "rms_norm_eps": arch.norm_eps,
        "rope_theta": arch.rope_theta,
        "tie_word_embeddings": arch.tied_embeddings,
        "eos_token_id": token_id(END),
        "bos_token_id": token_id(END_OF_TEXT),
    }
    if arch.family == "gemma3":
        config |= {
            "hidden_activation": "gelu_pytorch_tanh",
            "query_pre_attn_scalar": arch.scale**-2,
            "rope_local_base_freq": arch.rope_theta_local,
            "sliding_window": arch.sliding_window,
            "sliding_window_pattern": 6,
        }
    else:
        config["hidden_act"] = "silu"
        if arch.sliding_window is not None:
            config |= {"model_type": "mistral", "sliding_window": arch.sliding_window}
    if (scaling := arch.rope_scaling) is not None:
        config["rope_scaling"] = {"rope_type": scaling.kind, "factor": scaling.factor}
        if scaling.kind == "llama3":
            config["rope_scaling"] |= {
                "low_freq_factor": scaling.low_freq_factor,
                "high_freq_factor": scaling.high_freq_factor,
                "original_max_position_embeddings": scaling.original_context,
            }
    return config


def _write_hf_tokenizer(directory: Path) -> None:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    tokens = {token: i for i, token in enumerate(vocabulary())}
    merges = [(left, right) for left, right in (m.split(" ") for m in _MERGES)]
    tokenizer = Tokenizer(models.BPE(vocab=tokens, merges=merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIALS])
    tokenizer.save(str(directory / "tokenizer.json"))
    settings = {
        "chat_template": CHAT_TEMPLATE,
        "eos_token": END,
        "bos_token": END_OF_TEXT,
        "add_bos_token": False,
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    (directory / "generation_config.json").write_text(json.dumps({"eos_token_id": [token_id(END)]}))
