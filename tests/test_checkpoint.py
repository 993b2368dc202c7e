from __future__ import annotations

import dataclasses
import json
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import (
    hf_name,
    interleave,
    random_blocks,
    tiny_architecture,
    tiny_weights,
    write_safetensors,
    write_tiny_gguf,
    write_tiny_hf,
)

from edgetts.architecture import FAMILIES, Architecture, Family, RopeScaling, rope_tables
from edgetts.errors import CorruptFile, EdgettsError, InvalidInput, ModelNotFound, UnsupportedModel
from edgetts.export.blocks import Affine, affine_from_gguf
from edgetts.export.checkpoint import Checkpoint, open_checkpoint

INTEGER_KINDS = {
    # kind: (bits, block, has offsets)
    "Q4_0": (4, 32, False),
    "Q4_1": (4, 32, True),
    "Q5_0": (8, 32, False),
    "Q5_1": (8, 32, True),
    "Q8_0": (8, 32, False),
    "Q2_K": (4, 16, True),
    "Q3_K": (4, 16, False),
    "Q4_K": (4, 32, True),
    "Q5_K": (8, 32, True),
    "Q6_K": (8, 16, False),
    "IQ4_NL": (8, 32, False),
    "IQ4_XS": (8, 32, False),
}
LLAMA3 = RopeScaling("llama3", 32.0, 1.0, 4.0, 64)


def rounded(arch: Architecture) -> dict[str, Any]:
    """Return the fields with floats as float32, in which GGUF stores them."""
    values = dataclasses.asdict(arch)
    return {k: float(np.float32(v)) if isinstance(v, float) else v for k, v in values.items()}


def both(tmp_path: Path, arch: Architecture, **options: Any) -> tuple[Checkpoint, Checkpoint]:
    write_tiny_gguf(tmp_path / "m.gguf", arch=arch)
    write_tiny_hf(tmp_path / "m", arch=arch, **options)
    return open_checkpoint(tmp_path / "m.gguf"), open_checkpoint(tmp_path / "m")


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_gguf_and_hugging_face_load_the_same_model(tmp_path: Path, family: Family, shards: int) -> None:
    arch = tiny_architecture(family)
    weights = tiny_weights(arch)
    from_gguf, from_hf = both(tmp_path, arch, shards=shards)
    with from_gguf, from_hf:
        assert rounded(from_gguf.architecture) == rounded(from_hf.architecture) == rounded(arch)
        assert set(from_gguf.names) == set(weights)
        assert from_gguf.names == from_hf.names
        for name, expected in weights.items():
            for checkpoint in (from_gguf, from_hf):
                assert checkpoint.shape(name) == expected.shape
                loaded = checkpoint.load(name)
                assert loaded.dtype == np.float32
                np.testing.assert_array_equal(loaded, expected, err_msg=name)
                np.testing.assert_array_equal(checkpoint.load(name, slice(3, 7)), expected[3:7], err_msg=name)
        assert from_gguf.directory is None
        assert from_gguf.metadata["tokenizer.ggml.model"] == "gpt2"
        assert (from_gguf.source_name, from_gguf.licence) == (f"Tiny {family}", "apache-2.0")
        assert from_hf.directory == tmp_path / "m"
        assert from_hf.metadata == {}
        assert (from_hf.source_name, from_hf.licence) == ("m", None)


@pytest.mark.parametrize(
    "arch",
    [
        tiny_architecture("llama", tied_embeddings=True),
        tiny_architecture("qwen2", tied_embeddings=False),
        tiny_architecture("llama", head_dim=32),
        tiny_architecture("llama", rope_scaling=RopeScaling("linear", 4.0)),
        tiny_architecture("llama", sliding_window=16, sliding_layers=(0, 1, 2, 3)),
        tiny_architecture("gemma3", rope_scaling=RopeScaling("linear", 8.0)),
    ],
)
def test_variants_of_a_family_load_the_same_from_both(tmp_path: Path, arch: Architecture) -> None:
    from_gguf, from_hf = both(tmp_path, arch)
    with from_gguf, from_hf:
        assert rounded(from_gguf.architecture) == rounded(from_hf.architecture) == rounded(arch)
        for name in from_gguf.names:
            np.testing.assert_array_equal(from_gguf.load(name), from_hf.load(name))


def test_llama_3_rotates_the_same_from_both(tmp_path: Path) -> None:
    arch = tiny_architecture("llama", rope_scaling=LLAMA3)
    from_gguf, from_hf = both(tmp_path, arch)
    with from_gguf, from_hf:
        assert from_hf.architecture == arch
        assert from_gguf.architecture.rope_factors is not None
        assert len(set(from_gguf.architecture.rope_factors)) > 2
        assert "rope_freqs.weight" not in from_gguf.names
        plain = rope_tables(tiny_architecture("llama"), 200)
        for ours, theirs, unscaled in zip(
            rope_tables(from_gguf.architecture, 200), rope_tables(arch, 200), plain, strict=True
        ):
            np.testing.assert_allclose(ours, theirs, atol=1e-4)
            assert np.abs(ours - unscaled).max() > 0.5


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_half_precision_checkpoints_are_rounded_weights(tmp_path: Path, dtype: str) -> None:
    arch = tiny_architecture("gemma3")
    write_tiny_hf(tmp_path / "m", arch=arch, dtype=dtype)
    weights = tiny_weights(arch)
    with open_checkpoint(tmp_path / "m") as checkpoint:
        assert checkpoint.kind("token_embd.weight") == dtype
        for name in checkpoint.names:
            assert checkpoint.blocks(name) is None
            tolerance = 2.0**-7 if dtype == "BF16" else 2.0**-10
            np.testing.assert_allclose(checkpoint.load(name), weights[name], rtol=tolerance, atol=tolerance)


def stored(kind: str, rows: int, cols: int, seed: int = 0) -> np.ndarray[Any, Any]:
    if kind in ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS"):
        return random_blocks(kind, rows, cols, seed)
    values = np.random.default_rng(seed).standard_normal((rows, cols)).astype(np.float32)
    return gguf.quants.quantize(values, GGMLQuantizationType[kind])


def check_affine(affine: Affine, kind: str, expected: np.ndarray[Any, Any]) -> None:
    bits, block, offsets = INTEGER_KINDS[kind]
    assert (affine.bits, affine.block, affine.offsets is not None, affine.zeros) == (
        bits,
        block,
        offsets,
        None,
    )
    assert (affine.rows, affine.cols) == expected.shape
    assert affine.zero == 1 << (bits - 1)
    assert int(affine.codes.max()) < 1 << bits
    assert affine.scales.shape == (affine.rows, affine.cols // block)
    whole = affine.dequantize()
    # By the definition, in float64.
    by_hand = affine.codes.astype(np.float64) - affine.zero
    by_hand *= np.repeat(affine.scales.astype(np.float64), block, axis=1)
    if affine.offsets is None:
        np.testing.assert_array_equal(whole, expected)
    else:
        by_hand += np.repeat(affine.offsets.astype(np.float64), block, axis=1)
        # One rounding of each offset: relative to the largest sum that passes through it.
        ceiling = np.abs(affine.offsets).max() + 2**bits * np.abs(affine.scales).max()
        np.testing.assert_allclose(whole, expected, rtol=0, atol=ceiling * 2.0**-23)
    np.testing.assert_allclose(by_hand, expected, rtol=1e-6, atol=np.abs(expected).max() * 1e-6)


@pytest.mark.parametrize("kind", INTEGER_KINDS)
def test_integer_form_equals_what_gguf_dequantizes(kind: str) -> None:
    rows, cols = 24, 512
    data = stored(kind, rows, cols)
    affine = affine_from_gguf(data.reshape(-1), kind, (rows, cols))
    assert affine is not None
    check_affine(affine, kind, gguf.quants.dequantize(data, GGMLQuantizationType[kind]))
    order = np.arange(rows)[::-1]
    np.testing.assert_array_equal(affine.select(order).dequantize(), affine.dequantize()[::-1])
    np.testing.assert_array_equal(affine.select(slice(2, 5)).dequantize(), affine.dequantize()[2:5])


@pytest.mark.parametrize("kind", INTEGER_KINDS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_integer_form_reads_any_bits_as_gguf_does(kind: str, seed: int) -> None:
    elements, nbytes = GGML_QUANT_SIZES[GGMLQuantizationType[kind]]
    # Exponents whose values stay finite, codes and packed scales without any limit.
    data = np.random.default_rng(seed).integers(0, 256, (3, 2 * nbytes), dtype=np.uint8)
    template = stored(kind, 1, elements, seed % 7).reshape(1, nbytes)
    scale_bytes = {"Q2_K": (80, 84), "Q3_K": (108, 110), "Q6_K": (208, 210)}.get(
        kind, (0, 4) if kind in ("Q4_1", "Q5_1", "Q4_K", "Q5_K") else (0, 2)
    )
    for block in (0, nbytes):
        at = slice(block + scale_bytes[0], block + scale_bytes[1])
        data[:, at] = template[:, slice(*scale_bytes)]
    affine = affine_from_gguf(data.reshape(-1), kind, (3, 2 * elements))
    assert affine is not None
    check_affine(affine, kind, gguf.quants.dequantize(data, GGMLQuantizationType[kind]))


def test_integer_form_is_only_for_integers_and_needs_all_bytes() -> None:
    assert affine_from_gguf(np.zeros(256, np.uint8), "F32", (2, 32)) is None
    assert affine_from_gguf(np.zeros(256, np.uint8), "BF16", (4, 32)) is None
    for size, cols in ((17, 32), (36, 32), (18, 31)):
        with pytest.raises(CorruptFile, match="cannot take"):
            affine_from_gguf(np.zeros(size, np.uint8), "Q4_0", (1, cols))


def test_integer_form_of_many_rows_is_that_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    data = stored("Q4_K", 50, 256)
    whole = affine_from_gguf(data.reshape(-1), "Q4_K", (50, 256))
    monkeypatch.setattr("edgetts.export.blocks._CHUNK", 7 * 256)
    pieces = affine_from_gguf(data.reshape(-1), "Q4_K", (50, 256))
    assert whole is not None
    assert pieces is not None
    np.testing.assert_array_equal(whole.codes, pieces.codes)
    np.testing.assert_array_equal(whole.dequantize(), pieces.dequantize())


@pytest.mark.parametrize("kind", ["Q4_1", "Q8_0", "Q4_K", "Q6_K"])
@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_blocks_and_load_are_one_matrix(tmp_path: Path, family: Family, kind: str) -> None:
    write_tiny_gguf(tmp_path / "m.gguf", family, quant=kind)
    with open_checkpoint(tmp_path / "m.gguf") as checkpoint:
        for name in checkpoint.names:
            blocks = checkpoint.blocks(name)
            loaded = checkpoint.load(name)
            if loaded.ndim == 1:
                assert blocks is None
                assert checkpoint.kind(name) == "F32"
            else:
                assert blocks is not None
                assert checkpoint.kind(name) == kind
                np.testing.assert_allclose(blocks.dequantize(), loaded, atol=np.abs(loaded).max() * 1e-6)
                np.testing.assert_array_equal(checkpoint.load(name, slice(9, 40)), loaded[9:40])


def test_rows_of_llamas_rotated_matrices_are_put_back_after_dequantizing(tmp_path: Path) -> None:
    arch = write_tiny_gguf(tmp_path / "m.gguf", "llama", quant="Q4_0")
    weights = tiny_weights(arch)
    with open_checkpoint(tmp_path / "m.gguf") as checkpoint:
        for name, heads in (("blk.1.attn_q.weight", arch.heads), ("blk.1.attn_k.weight", arch.kv_heads)):
            in_file = gguf.quants.quantize(interleave(weights[name], heads), GGMLQuantizationType.Q4_0)
            in_file = gguf.quants.dequantize(in_file, GGMLQuantizationType.Q4_0)
            # Pair j of head h: rows 2j and 2j + 1 in the file, j and j + half here.
            half, loaded = arch.head_dim // 2, checkpoint.load(name)
            for h, j in ((0, 0), (0, 3), (heads - 1, half - 1)):
                base = h * arch.head_dim
                np.testing.assert_array_equal(loaded[base + j], in_file[base + 2 * j])
                np.testing.assert_array_equal(loaded[base + j + half], in_file[base + 2 * j + 1])


def test_llama_with_biases_puts_their_rows_back(tmp_path: Path) -> None:
    arch = tiny_architecture("llama", attention_bias=True)
    write_tiny_gguf(tmp_path / "m.gguf", arch=arch)
    with open_checkpoint(tmp_path / "m.gguf") as checkpoint:
        assert checkpoint.architecture.attention_bias
        for name, expected in tiny_weights(arch).items():
            np.testing.assert_array_equal(checkpoint.load(name), expected)


def test_types_may_be_mixed(tmp_path: Path) -> None:
    quants = {"token_embd.weight": "F16", "output.weight": "Q8_0", "blk.0.ffn_up.weight": "MXFP4"}
    write_tiny_gguf(tmp_path / "m.gguf", "llama", quant="Q4_0", quants=quants)
    with open_checkpoint(tmp_path / "m.gguf") as checkpoint:
        assert {name: checkpoint.kind(name) for name in quants} == quants
        assert checkpoint.blocks("token_embd.weight") is None
        assert checkpoint.blocks("blk.0.ffn_up.weight") is None
        assert np.isfinite(checkpoint.load("blk.0.ffn_up.weight")).all()
        with pytest.raises(InvalidInput, match="no tensor 'blk'"):
            checkpoint.load("blk")


GGUF_UNSUPPORTED: dict[str, tuple[dict[str, Any], str]] = {
    "another architecture": ({"general.architecture": "mamba"}, "'mamba'"),
    "experts": ({"llama.expert_count": 8}, "llama.expert_count"),
    "an adapter": ({"general.type": "adapter"}, "'adapter'"),
    "a part": ({"split.count": 3}, "one part of a split model"),
    "yarn": ({"llama.rope.scaling.type": "yarn", "llama.rope.scaling.factor": 4.0}, "'yarn'"),
    "partial rotation": ({"llama.rope.dimension_count": 8}, "only a part of every head"),
    "values of another length": ({"llama.attention.value_length": 8}, "different lengths"),
    "soft capping": ({"llama.final_logit_softcapping": 30.0}, "final_logit_softcapping"),
    "scaled logits": ({"llama.logit_scale": 8.0}, "logit_scale"),
    "layers that differ": ({"llama.attention.head_count_kv": [2, 2, 1, 2]}, "from layer to layer"),
}


@pytest.mark.parametrize("case", GGUF_UNSUPPORTED)
def test_gguf_models_that_are_not_supported_say_why(tmp_path: Path, case: str) -> None:
    metadata, expected = GGUF_UNSUPPORTED[case]
    write_tiny_gguf(tmp_path / "m.gguf", "llama", metadata=metadata)
    with pytest.raises(UnsupportedModel) as error:
        open_checkpoint(tmp_path / "m.gguf")
    assert expected in str(error.value)
    assert error.value.hint


def test_an_unknown_architecture_lists_the_known_ones(tmp_path: Path) -> None:
    write_tiny_gguf(tmp_path / "m.gguf", "llama", metadata={"general.architecture": "rwkv7"})
    with pytest.raises(UnsupportedModel, match="llama, qwen2, qwen3, gemma3"):
        open_checkpoint(tmp_path / "m.gguf")


GGUF_CORRUPT: dict[str, tuple[dict[str, Any], str]] = {
    "a size missing": ({"llama.block_count": None}, "does not state llama.block_count"),
    "a size as text": ({"llama.embedding_length": "64"}, "not a whole number"),
    "more layers than there are": ({"llama.block_count": 5}, "lacks 'blk.4.attn_norm.weight'"),
    "an absurd number of layers": ({"llama.block_count": 4_000_000_000}, "layers is 4000000000"),
    "no heads": ({"llama.attention.head_count": 0}, "head_count, which is not"),
    "another width": ({"llama.feed_forward_length": 128}, "has the shape [96, 64]"),
    "heads that do not divide": ({"llama.attention.head_count_kv": 3}, "kv_heads (3)"),
    "no epsilon": ({"llama.attention.layer_norm_rms_epsilon": 0.0}, "norm_eps is 0.0"),
    "NaN": ({"llama.rope.freq_base": float("nan")}, "not a finite number"),
}


@pytest.mark.parametrize("case", GGUF_CORRUPT)
def test_settings_that_cannot_be_are_refused(tmp_path: Path, case: str) -> None:
    metadata, expected = GGUF_CORRUPT[case]
    write_tiny_gguf(tmp_path / "m.gguf", "llama", metadata=metadata)
    with pytest.raises(CorruptFile) as error:
        open_checkpoint(tmp_path / "m.gguf")
    assert expected in str(error.value)


def test_values_given_per_layer_may_agree(tmp_path: Path) -> None:
    metadata = {"llama.attention.head_count_kv": [2, 2, 2, 2], "llama.feed_forward_length": [96] * 4}
    write_tiny_gguf(tmp_path / "m.gguf", "llama", metadata=metadata)
    with open_checkpoint(tmp_path / "m.gguf") as checkpoint:
        assert (checkpoint.architecture.kv_heads, checkpoint.architecture.intermediate) == (2, 96)


def test_every_tensor_is_needed_and_no_other_is_taken(tmp_path: Path) -> None:
    arch = tiny_architecture("qwen3")
    weights = tiny_weights(arch)
    fewer = {k: v for k, v in weights.items() if k != "blk.2.attn_k_norm.weight"}
    write_tiny_gguf(tmp_path / "m.gguf", arch=arch, weights=fewer)
    with pytest.raises(CorruptFile, match=r"lacks 'blk\.2\.attn_k_norm\.weight'"):
        open_checkpoint(tmp_path / "m.gguf")
    more = weights | {"blk.0.ffn_gate_inp.weight": np.zeros((4, 64), np.float32)}
    write_tiny_gguf(tmp_path / "m.gguf", arch=arch, weights=more)
    with pytest.raises(UnsupportedModel, match=r"ffn_gate_inp"):
        open_checkpoint(tmp_path / "m.gguf")
    ignorable = weights | {"blk.0.attn.rotary_emb.inv_freq": np.zeros(16, np.float32)}
    write_tiny_gguf(tmp_path / "m.gguf", arch=arch, weights=ignorable)
    with open_checkpoint(tmp_path / "m.gguf") as checkpoint:
        assert set(checkpoint.names) == set(weights)


@pytest.mark.parametrize("quant", ["F32", "F16", "Q8_0"])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, quant: str) -> None:
    arch = tiny_architecture("llama")
    weights = tiny_weights(arch)
    name = "blk.3.ffn_down.weight"
    write_tiny_gguf(tmp_path / "m.gguf", arch=arch, weights=weights, quant=quant)
    reader = gguf.GGUFReader(tmp_path / "m.gguf", "r+")
    found = next(t for t in reader.tensors if t.name == name)
    # The first value, or the first block's scale.
    found.data.reshape(-1).view(np.uint8)[: 4 if quant == "F32" else 2] = 0xFF
    reader.data.flush()
    with open_checkpoint(tmp_path / "m.gguf") as checkpoint:
        checkpoint.load("blk.3.ffn_up.weight")
        with pytest.raises(CorruptFile, match=r"blk\.3\.ffn_down\.weight has values that are not finite"):
            checkpoint.load(name)
        if quant == "Q8_0":
            with pytest.raises(CorruptFile, match="not finite"):
                checkpoint.blocks(name)


HF_UNSUPPORTED: dict[str, tuple[Family, dict[str, Any], str]] = {
    "another model": ("llama", {"model_type": "mixtral"}, "'mixtral'"),
    "no model": ("llama", {"model_type": None}, "model_type is ''"),
    "biases everywhere": ("llama", {"attention_bias": True}, "attention_bias"),
    "biases in the middle": ("llama", {"mlp_bias": True}, "mlp_bias"),
    "another activation": ("llama", {"hidden_act": "gelu"}, "'gelu'"),
    "quantised": ("qwen2", {"quantization_config": {"quant_method": "awq"}}, "quantization_config"),
    "yarn": ("qwen2", {"rope_scaling": {"type": "yarn", "factor": 4.0}}, "'yarn'"),
    "dynamic": ("llama", {"rope_scaling": {"rope_type": "dynamic", "factor": 4.0}}, "'dynamic'"),
    "longrope": ("llama", {"rope_parameters": {"rope_type": "longrope"}}, "'longrope'"),
    "partial rotation": ("llama", {"partial_rotary_factor": 0.5}, "only a part of every head"),
    "soft capping": ("gemma3", {"final_logit_softcapping": 30.0}, "final_logit_softcapping"),
    "an embedding model": ("gemma3", {"use_bidirectional_attention": True}, "bidirectional"),
}


@pytest.mark.parametrize("case", HF_UNSUPPORTED)
def test_hugging_face_models_that_are_not_supported_say_why(tmp_path: Path, case: str) -> None:
    family, config, expected = HF_UNSUPPORTED[case]
    write_tiny_hf(tmp_path / "m", family, config=config)
    with pytest.raises(UnsupportedModel) as error:
        open_checkpoint(tmp_path / "m")
    assert expected in str(error.value)
    assert "llama, qwen2, qwen3, gemma3" in error.value.hint


HF_CORRUPT: dict[str, tuple[dict[str, Any], str]] = {
    "a size missing": ({"hidden_size": None}, "does not state hidden_size"),
    "a size as text": ({"hidden_size": "64"}, "not a whole number"),
    "an endless size": ({"hidden_size": 10**300}, "not a whole number"),
    "layers as a truth": ({"num_hidden_layers": True}, "not a whole number"),
    "no heads": ({"num_attention_heads": 0, "head_dim": None}, "heads, which is not"),
    "infinite base": ({"rope_theta": float("inf")}, "not a finite number"),
    "scaling as a number": ({"rope_scaling": 3}, "not an object"),
    "scaling without a factor": ({"rope_scaling": {"rope_type": "linear"}}, "does not state factor"),
    "tied by text": ({"tie_word_embeddings": "yes"}, "not true or false"),
    "another vocabulary": ({"vocab_size": 9}, "has the shape [304, 64]"),
}


@pytest.mark.parametrize("case", HF_CORRUPT)
def test_config_that_cannot_be_is_refused(tmp_path: Path, case: str) -> None:
    config, expected = HF_CORRUPT[case]
    write_tiny_hf(tmp_path / "m", "llama", config=config)
    with pytest.raises(CorruptFile) as error:
        open_checkpoint(tmp_path / "m")
    assert expected in str(error.value)


def architecture(tmp_path: Path, family: Family, config: dict[str, Any]) -> Architecture:
    write_tiny_hf(tmp_path / "m", family, config=config)
    with open_checkpoint(tmp_path / "m") as checkpoint:
        return checkpoint.architecture


def test_newer_configs_state_rotations_in_one_place(tmp_path: Path) -> None:
    theta = {"rope_theta": None, "rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}
    assert architecture(tmp_path, "llama", theta).rope_theta == 5e5
    each = {
        "rope_theta": None,
        "rope_local_base_freq": None,
        "sliding_window_pattern": None,
        "layer_types": ["sliding_attention", "full_attention"] * 3,
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 2e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 3e4},
        },
    }
    gemma = architecture(tmp_path, "gemma3", each)
    assert (gemma.rope_theta, gemma.rope_theta_local) == (2e6, 3e4)
    assert gemma.rope_scaling == RopeScaling("linear", 8.0)
    assert gemma.sliding_layers == (0, 2, 4)


def test_windows_apply_where_the_model_says(tmp_path: Path) -> None:
    given_but_off = {"sliding_window": 32, "use_sliding_window": False, "max_window_layers": 2}
    assert architecture(tmp_path, "qwen2", given_but_off).sliding_layers == ()
    upper = architecture(tmp_path, "qwen2", given_but_off | {"use_sliding_window": True})
    assert (upper.sliding_window, upper.sliding_layers) == (32, (2, 3))
    mistral = architecture(tmp_path, "llama", {"model_type": "mistral", "sliding_window": 16})
    assert (mistral.sliding_window, mistral.sliding_layers) == (16, (0, 1, 2, 3))
    later = architecture(tmp_path, "llama", {"model_type": "mistral", "sliding_window": None})
    assert (later.sliding_window, later.sliding_layers) == (None, ())


def test_a_large_gemma_scales_attention_by_its_width(tmp_path: Path) -> None:
    arch = tiny_architecture("gemma3", layers=62, hidden=32, intermediate=32, sliding_layers=(0,))
    weights = tiny_weights(arch)
    write_tiny_gguf(tmp_path / "m.gguf", arch=arch, weights=weights)
    with open_checkpoint(tmp_path / "m.gguf") as checkpoint:
        assert checkpoint.architecture.scale == pytest.approx((32 / 4) ** -0.5)
        assert checkpoint.architecture.sliding_layers[-2:] == (60, 61)
        assert 59 not in checkpoint.architecture.sliding_layers


def test_the_text_part_of_a_gemma_that_sees_is_read(tmp_path: Path) -> None:
    arch = tiny_architecture("gemma3")
    write_tiny_hf(tmp_path / "m", arch=arch)
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    outer = {"model_type": "gemma3", "text_config": config, "vision_config": {"hidden_size": 1152}}
    (tmp_path / "m" / "config.json").write_text(json.dumps(outer))
    weights = tiny_weights(arch)
    for prefix, seeing in (("language_model.", "vision_tower.x"), ("", "model.vision_tower.x")):
        tensors = {}
        for name, tensor in weights.items():
            theirs = hf_name(arch, name)
            theirs = prefix + theirs if prefix else theirs.replace("model.", "model.language_model.", 1)
            tensors[theirs] = tensor - np.float32("norm" in name)
        tensors[seeing] = np.zeros((2, 2), np.float32)
        write_safetensors(tmp_path / "m" / "model.safetensors", tensors)
        with open_checkpoint(tmp_path / "m") as checkpoint:
            assert checkpoint.architecture == arch
            for name, expected in weights.items():
                np.testing.assert_array_equal(checkpoint.load(name), expected)


def test_googles_sparse_config_is_filled_in(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    text = {"model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240,
            "num_hidden_layers": 34, "sliding_window": 1024,
            "rope_scaling": {"factor": 8.0, "rope_type": "linear"}}  # fmt: skip
    (tmp_path / "m" / "config.json").write_text(json.dumps({"model_type": "gemma3", "text_config": text}))
    write_safetensors(tmp_path / "m" / "model.safetensors", {})
    with pytest.raises(CorruptFile, match=r"lacks 'token_embd\.weight', .* more"):
        open_checkpoint(tmp_path / "m")


def test_a_shared_matrix_may_be_stored_twice(tmp_path: Path) -> None:
    arch = tiny_architecture("gemma3")
    weights = tiny_weights(arch)
    write_tiny_hf(
        tmp_path / "m", arch=arch, weights=weights | {"output.weight": weights["token_embd.weight"]}
    )
    with open_checkpoint(tmp_path / "m") as checkpoint:
        assert "output.weight" not in checkpoint.names


def test_unknown_tensors_of_a_hugging_face_model_are_named(tmp_path: Path) -> None:
    write_tiny_hf(tmp_path / "m", "llama")
    tensors = {
        hf_name(tiny_architecture(), name): tensor
        for name, tensor in tiny_weights(tiny_architecture()).items()
    }
    for extra in (
        "model.layers.0.mlp.router.weight",
        "classifier.weight",
        "model.layers.4.mlp.up_proj.weight",
    ):
        write_safetensors(
            tmp_path / "m" / "model.safetensors", tensors | {extra: np.zeros((96, 64), np.float32)}
        )
        with pytest.raises(UnsupportedModel, match=extra):
            open_checkpoint(tmp_path / "m")


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: apache-2.0\ntags:\n- x\n---\n# Hi", "apache-2.0"),
        ("---\r\nlanguage: en\r\nlicense: 'mit'\r\n---\r\n", "mit"),
        ("# No front matter\nlicense: mit\n", None),
        ("---\ntags: x\n---\nlicense: mit\n", None),
        ("---\nlicense: \x1b[31m\n---\n", None),
    ],
)
def test_the_licence_comes_from_the_model_card(tmp_path: Path, card: str, licence: str | None) -> None:
    write_tiny_hf(tmp_path / "m", "qwen2")
    (tmp_path / "m" / "README.md").write_bytes(card.encode())
    with open_checkpoint(tmp_path / "m") as checkpoint:
        assert checkpoint.licence == licence


def test_names_fit_for_a_terminal(tmp_path: Path) -> None:
    metadata = {"general.name": "\x1b[31mred", "general.license": "x" * 1000}
    write_tiny_gguf(tmp_path / "plain.gguf", "qwen2", metadata=metadata)
    with open_checkpoint(tmp_path / "plain.gguf") as checkpoint:
        assert (checkpoint.source_name, checkpoint.licence) == ("plain", None)


def test_what_is_no_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"no config\.json"):
        open_checkpoint(tmp_path)
    write_tiny_hf(tmp_path / "m", "qwen2")
    with pytest.raises(InvalidInput, match="holds only weights"):
        open_checkpoint(tmp_path / "m" / "model.safetensors")
    (tmp_path / "m" / "model.safetensors").unlink()
    with pytest.raises(ModelNotFound, match="neither"):
        open_checkpoint(tmp_path / "m")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[Family, Path]:
    root = tmp_path_factory.mktemp("models")
    for family in FAMILIES:
        write_tiny_hf(root / family, family)
    return {family: root / family for family in FAMILIES}


EXTRA_KEYS = (
    "rope_scaling",
    "rope_parameters",
    "layer_types",
    "text_config",
    "use_sliding_window",
    "sliding_window",
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(family=st.sampled_from(FAMILIES), data=st.data())
def test_any_config_is_understood_or_refused(
    models: dict[Family, Path], family: Family, data: st.DataObject
) -> None:
    path = models[family] / "config.json"
    original = path.read_text()
    config = json.loads(original)
    keys = data.draw(st.lists(st.sampled_from((*config, *EXTRA_KEYS)), min_size=1, max_size=3))
    for key in keys:
        config[key] = data.draw(json_values)
    path.write_text(json.dumps(config))
    try:
        with suppress(EdgettsError):
            open_checkpoint(models[family]).close()
    finally:
        path.write_text(original)


@pytest.mark.parametrize("kind", ["Q4_0", "Q8_0", "F16"])
def test_memory_stays_near_what_is_returned(tmp_path: Path, kind: str) -> None:
    arch = tiny_architecture("qwen2", vocab=1 << 17)
    weights = tiny_weights(tiny_architecture("qwen2")) | {
        "token_embd.weight": np.ones((1 << 17, 64), np.float32)
    }
    write_tiny_gguf(tmp_path / "m.gguf", arch=arch, weights=weights, quants={"token_embd.weight": kind})
    with open_checkpoint(tmp_path / "m.gguf") as checkpoint:
        tracemalloc.start()
        try:
            values = checkpoint.load("token_embd.weight")
            assert tracemalloc.get_traced_memory()[1] < values.nbytes + (20 << 20)
            del values
            checkpoint.load("token_embd.weight", slice(100, 200))
            tracemalloc.reset_peak()
            blocks = checkpoint.blocks("token_embd.weight")
            if blocks is not None:
                assert tracemalloc.get_traced_memory()[1] < 1.25 * blocks.codes.nbytes + (24 << 20)
        finally:
            tracemalloc.stop()
