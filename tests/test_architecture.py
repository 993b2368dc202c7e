from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from tiny import tiny_architecture

from edgetts.architecture import FAMILIES, Architecture, RopeScaling, rope_tables
from edgetts.errors import CorruptFile

VARIANTS = (
    *(tiny_architecture(family) for family in FAMILIES),
    tiny_architecture("llama", rope_scaling=RopeScaling("llama3", 8.0, 1.0, 4.0, 64)),
    tiny_architecture("llama", rope_factors=(1.0, 1.0, 1.5, 2.0, 4.0, 8.0, 8.0, 8.0)),
    tiny_architecture("gemma3", rope_scaling=RopeScaling("linear", 8.0)),
)


@pytest.mark.parametrize("arch", VARIANTS)
def test_survives_a_manifest(arch: Architecture) -> None:
    assert Architecture.from_json(json.loads(json.dumps(arch.to_json()))) == arch


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("family", "mamba"),
        ("family", ["llama"]),
        ("activation", "relu"),
        *((name, value) for name in ("layers", "hidden", "heads", "vocab", "context", "intermediate")
          for value in (0, -1, True, 4.0, "4", None, 1 << 62)),
        ("kv_heads", 3),
        ("head_dim", 15),
        ("norm_eps", 0.0),
        ("norm_eps", float("nan")),
        ("norm_eps", "1e-5"),
        ("rope_theta", float("inf")),
        ("rope_theta", -1e4),
        ("rope_theta", 10**400),
        ("attention_scale", 0),
        ("embedding_scale", float("nan")),
        ("rope_theta_local", True),
        ("attention_bias", 1),
        ("tied_embeddings", None),
        ("rope_scaling", 8.0),
        ("rope_scaling", {"kind": "yarn", "factor": 2.0}),
        ("rope_scaling", {"kind": "linear", "factor": -2.0}),
        ("rope_scaling", {"kind": "linear"}),
        ("rope_scaling", {"kind": "linear", "factor": 2.0, "beta": 1}),
        ("rope_scaling", {"kind": "llama3", "factor": 2.0, "low_freq_factor": 4.0, "high_freq_factor": 4.0}),
        ("rope_scaling", {"kind": "llama3", "factor": 2.0, "original_context": 0}),
        ("sliding_window", 8),
        ("sliding_layers", [0]),
        ("sliding_layers", [4]),
        ("sliding_layers", [-1]),
        ("sliding_layers", [1, 0]),
        ("sliding_layers", [1, 1]),
        ("sliding_layers", "01"),
        ("rope_factors", [1.0] * 7),
        ("rope_factors", [1.0] * 7 + [0.0]),
        ("rope_factors", 1.0),
        ("surprise", 1),
    ],
)  # fmt: skip
def test_refuses_a_hostile_manifest(field: str, value: Any) -> None:
    with pytest.raises(CorruptFile) as error:
        Architecture.from_json(tiny_architecture("llama").to_json() | {field: value})
    assert field in str(error.value)


def test_refuses_an_incomplete_manifest() -> None:
    with pytest.raises(CorruptFile, match="missing"):
        Architecture.from_json({"family": "llama"})
    with pytest.raises(CorruptFile, match="no object"):
        Architecture.from_json([1])  # type: ignore[arg-type]


def angles(arch: Architecture, positions: int = 300, *, local: bool = False) -> np.ndarray[Any, Any]:
    cos, sin = rope_tables(arch, positions, local)
    assert cos.shape == sin.shape == (positions, arch.head_dim // 2)
    assert cos.dtype == sin.dtype == np.float32
    np.testing.assert_allclose(cos**2 + sin**2, 1, atol=1e-6)
    return np.unwrap(np.arctan2(sin, cos).astype(np.float64), axis=0)


def test_plain_rotations_are_those_of_the_paper() -> None:
    arch = tiny_architecture("llama", rope_theta=1e4)
    found = angles(arch)
    for p, i in ((0, 0), (1, 0), (1, 5), (299, 2), (299, 7)):
        assert found[p, i] == pytest.approx(p * 1e4 ** (-2 * i / 16), abs=1e-5)


def test_linear_scaling_divides_positions_of_global_layers_only() -> None:
    plain = tiny_architecture("gemma3")
    scaled = tiny_architecture("gemma3", rope_scaling=RopeScaling("linear", 8.0))
    np.testing.assert_allclose(angles(scaled)[::8], angles(plain)[: 300 // 8 + 1], atol=1e-5)
    np.testing.assert_array_equal(angles(scaled, local=True), angles(plain, local=True))
    local = angles(tiny_architecture("qwen3", rope_theta=1e4))
    np.testing.assert_array_equal(angles(plain, local=True), local)


def test_layers_without_their_own_base_rotate_alike() -> None:
    arch = tiny_architecture("llama", rope_scaling=RopeScaling("linear", 2.0))
    np.testing.assert_array_equal(angles(arch, local=True), angles(arch))


def test_factors_divide_frequencies_one_by_one() -> None:
    factors = (1.0, 2.0, 1.0, 1.0, 4.0, 1.0, 1.0, 8.0)
    found = angles(tiny_architecture("llama", rope_factors=factors))
    np.testing.assert_allclose(found, angles(tiny_architecture("llama")) / np.array(factors), atol=1e-5)


def test_llama3_scaling_leaves_fast_slows_slow_and_blends_between() -> None:
    context, factor = 512, 8.0
    scaling = RopeScaling("llama3", factor, 1.0, 4.0, context)
    found = angles(tiny_architecture("llama", rope_scaling=scaling))[1]
    plain = angles(tiny_architecture("llama"))[1]
    rotations = context * plain / (2 * np.pi)
    assert (rotations > 4).sum() >= 2
    assert (rotations < 1).sum() >= 2
    between = (rotations >= 1) & (rotations <= 4)
    assert between.any()
    np.testing.assert_allclose(found[rotations > 4], plain[rotations > 4], rtol=1e-6)
    np.testing.assert_allclose(found[rotations < 1], plain[rotations < 1] / factor, rtol=1e-6)
    assert (found[between] < plain[between]).all()
    assert (found[between] > plain[between] / factor).all()
