"""Make a tiny GGUF file of a recurrent model (Mamba), whose state cannot be rolled back."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

VOCAB = 64


def write_tiny_mamba(path: Path, *, layers: int = 2, hidden: int = 32, seed: int = 0) -> None:
    """Write it as llama.cpp's converter would, without a vocabulary."""
    rng = np.random.default_rng(seed)
    inner, state, rank, kernel = 2 * hidden, 8, 4, 4
    writer = gguf.GGUFWriter(path, "mamba")
    writer.add_block_count(layers)
    writer.add_context_length(256)
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(0)
    writer.add_head_count(0)
    writer.add_ssm_conv_kernel(kernel)
    writer.add_ssm_inner_size(inner)
    writer.add_ssm_state_size(state)
    writer.add_ssm_time_step_rank(rank)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(VOCAB)
    writer.add_tokenizer_model("no_vocab")
    shapes = {
        "ssm_in.weight": (2 * inner, hidden),
        "ssm_conv1d.weight": (inner, kernel),
        "ssm_conv1d.bias": (inner,),
        "ssm_x.weight": (rank + 2 * state, inner),
        "ssm_dt.weight": (inner, rank),
        "ssm_dt.bias": (inner,),
        "ssm_d": (inner,),
        "ssm_out.weight": (hidden, inner),
    }
    tensors = {"token_embd.weight": rng.standard_normal((VOCAB, hidden)) / hidden**0.5}
    for layer in range(layers):
        tensors[f"blk.{layer}.attn_norm.weight"] = np.ones(hidden)
        tensors[f"blk.{layer}.ssm_a"] = -rng.uniform(0.5, 2.0, (inner, state))
        for name, shape in shapes.items():
            tensors[f"blk.{layer}.{name}"] = rng.standard_normal(shape) / shape[-1] ** 0.5
    tensors["output_norm.weight"] = np.ones(hidden)
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
