"""What rounding a tensor may lose: half a step, and nothing at zero; matrices row by row, in 8 bits and in 4."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper
from tiny import tiny_architecture, tiny_weights

from edgetts.export.static.encoding import Bits, Encoding
from edgetts.export.static.tensors import StoredTensors, WeightForm, folded, per_channel
from edgetts.export.weights import WEIGHTS_FILE, WeightsFile
from edgetts.runtimes.reference import ReferenceSession

Floats = NDArray[np.float32]

LARGEST, TINY = float(np.finfo(np.float32).max), float(np.finfo(np.float32).tiny)
# Half a step, and what float32 adds to a quotient of up to 65,535 whose divisor it rounded too.
HALF = 0.5 + 0.01
ENDS = st.floats(-LARGEST / 2, LARGEST / 2, width=32)
BITS: st.SearchStrategy[Bits] = st.sampled_from((8, 16))
SHARES = st.lists(st.floats(0, 1), min_size=1, max_size=20)


# Tensors


@given(ENDS, ENDS, BITS, SHARES)
@example(0.0, 0.0, 16, [0.0])
@example(1e-45, 1e-45, 16, [1.0])
@example(-1e-40, 1e-40, 8, [0.3, 1.0])
@example(-TINY, 0.0, 16, [0.5])
@example(3.0, 5.0, 16, [0.0, 0.7])
@example(-5.0, -3.0, 8, [0.0, 0.7])
@example(-LARGEST / 2, LARGEST / 2, 16, [0.0, 0.5, 1.0])
def test_a_value_inside_a_range_is_off_by_half_a_step_at_most(
    one: float, other: float, bits: Bits, shares: list[float]
) -> None:
    low, high = sorted((one, other))
    encoding = Encoding.covering(low, high, bits)
    values = np.array([low + share * (high - low) for share in shares], np.float32)
    codes = encoding.codes(values)
    assert codes.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert 0 <= encoding.zero < 1 << bits
    found = encoding.values(codes)
    assert np.all(np.abs(found.astype(float) - values) <= HALF * encoding.scale)
    # Zero is no rounded value: a padded or a masked one must not become something.
    assert encoding.values(encoding.codes(np.zeros(1, np.float32))) == 0
    # Codes stand for what has just that code.
    np.testing.assert_array_equal(encoding.codes(found), codes)


@given(ENDS, ENDS, BITS)
def test_steps_are_no_longer_than_the_range_wants(one: float, other: float, bits: Bits) -> None:
    low, high = min(one, other, 0.0), max(one, other, 0.0)
    encoding = Encoding.covering(one if one <= other else other, max(one, other), bits)
    if high > low:
        assert encoding.scale <= max(TINY, (high - low) / ((1 << bits) - 1) * (1 + 1e-6))
    # Scales that processors take for zero would make everything of nothing.
    assert encoding.scale >= TINY
    assert math.isfinite(encoding.scale)
    assert encoding.scale == float(np.float32(encoding.scale))


@given(st.floats(-1e6, 1e6, width=32), st.floats(2**-10, 1e6, width=32), BITS)
def test_what_lies_outside_of_a_range_becomes_its_end(low: float, length: float, bits: Bits) -> None:
    encoding = Encoding.covering(low, low + length, bits)
    beyond = np.array(
        [-LARGEST, -np.inf, LARGEST, np.inf, min(low, 0) - length, max(low + length, 0) + length]
    )
    codes = encoding.codes(beyond.astype(np.float32))
    most = (1 << bits) - 1
    assert codes.tolist() == [0, 0, most, most, 0, most]


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (math.nan, 1.0),
        (0.0, math.nan),
        (-math.inf, 0.0),
        (0.0, math.inf),
        (-LARGEST, LARGEST),
        (0.0, 1e300),
    ],
)
def test_ranges_that_no_scale_covers_are_refused(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="no scale covers"):
        Encoding.covering(low, high)


def test_what_is_no_number_has_no_code() -> None:
    with pytest.raises(ValueError, match="NaN"):
        Encoding.covering(-1, 1).codes(np.array([0.0, math.nan], np.float32))


@pytest.mark.parametrize("bits", [8, 16])
def test_onnx_runtime_rounds_as_we_do(bits: Bits) -> None:
    # Its QuantizeLinear at the end of a range, and behind it, where integers could wrap around.
    encoding = Encoding.covering(-1.0, 3.0, bits)
    values = np.concatenate(
        [np.linspace(-1.1, 3.1, 997), [-1e30, 1e30, -np.inf, np.inf, 0.0, 65536.0, 2.0**33]]
    ).astype(np.float32)
    kind = TensorProto.UINT8 if bits == 8 else TensorProto.UINT16
    graph = helper.make_graph(
        [helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["y"])],
        "rounding",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [len(values)])],
        [helper.make_tensor_value_info("y", kind, [len(values)])],
        [
            helper.make_tensor("scale", TensorProto.FLOAT, [], [encoding.scale]),
            helper.make_tensor("zero", kind, [], [encoding.zero]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)
    [found] = ort.InferenceSession(model.SerializeToString()).run(None, {"x": values})
    np.testing.assert_array_equal(found, encoding.codes(values))


# Matrices


def matrices(rows: int = 6) -> st.SearchStrategy[Floats]:
    """Draw matrices whose rows are of very different sizes, some of them zero."""
    sizes = st.sampled_from((0.0, 1e-44, 1e-30, 1e-3, 1.0, 300.0, 1e30, LARGEST))
    row = st.tuples(sizes, st.lists(st.floats(-1, 1, width=32), min_size=5, max_size=5))
    drawn = st.lists(row, min_size=1, max_size=rows)
    return drawn.map(lambda pairs: np.array([[s * x for x in xs] for s, xs in pairs], np.float32))


@given(matrices())
def test_a_matrix_in_8_bits_is_off_by_half_a_step_of_its_row(matrix: Floats) -> None:
    codes, scales = per_channel(matrix, 8)
    assert codes.dtype == np.int8
    # Symmetric: the code that has no opposite is not used.
    assert codes.min() >= -127
    assert np.all(scales >= TINY)
    found = codes * scales[:, None].astype(float)
    assert np.all(np.abs(found - matrix) <= HALF * scales[:, None])
    for row, scale in zip(matrix, scales, strict=True):
        if (widest := float(np.abs(row).max())) > 127 * TINY:
            assert scale == pytest.approx(widest / 127, rel=1e-6)
    assert not codes[~matrix.any(axis=1)].any()


@given(matrices())
def test_cutting_off_the_ends_of_rows_never_makes_4_bits_worse(matrix: Floats) -> None:
    codes, scales = per_channel(matrix, 4)
    assert codes.min() >= -7
    assert codes.max() <= 7
    exact = matrix.astype(float)
    found = np.square(codes * scales[:, None].astype(float) - exact).sum(axis=1)
    plain = np.maximum(np.abs(exact).max(axis=1) / 7, TINY)[:, None]
    whole = np.square(np.rint(exact / plain) * plain - exact).sum(axis=1)
    # Float32 sees the two as they are to some 6 digits.
    assert np.all(found <= whole + 1e-5 * np.square(plain[:, 0]) * matrix.shape[1])


def test_cutting_off_the_ends_of_rows_pays_in_4_bits() -> None:
    matrix = np.random.default_rng(0).standard_normal((64, 512)).astype(np.float32)
    codes, scales = per_channel(matrix, 4)
    plain = np.abs(matrix).max(axis=1, keepdims=True) / 7
    whole = np.square(np.rint(matrix / plain) * plain - matrix).mean()
    assert np.square(codes * scales[:, None] - matrix).mean() < 0.8 * whole


def test_large_matrices_are_rounded_as_small_ones_are() -> None:
    # In pieces of so many rows that memory is spared.
    matrix = np.random.default_rng(1).standard_normal((9000, 3)).astype(np.float32)
    bits: Literal[4, 8]
    for bits in (4, 8):
        codes, scales = per_channel(matrix, bits)
        for at in (0, 4095, 4096, 8191, 8192, 8999):
            [row], [scale] = per_channel(matrix[at : at + 1], bits)
            np.testing.assert_array_equal(codes[at], row)
            assert scales[at] == scale


# Storage


def product(directory: Path, matrix: Floats, form: WeightForm, *, kernel: bool, x: Floats) -> Floats:
    """Store a matrix and multiply x [n, columns] by it in ONNX Runtime, from the file."""
    with WeightsFile(directory) as weights:
        tensors = StoredTensors(weights, {"m": matrix}.__getitem__, form, {})
        parts = list(tensors.matrix("m", kernel=kernel))
        assert [part.name for part in tensors.matrix("m", kernel=kernel)] == [part.name for part in parts]
    nodes, held = [], parts[0].name
    if len(parts) > 1:
        held = "held"
        names = [part.name for part in parts]
        nodes.append(helper.make_node("DequantizeLinear", names, [held], axis=0 if kernel else 1))
    nodes.append(helper.make_node("Conv" if kernel else "MatMul", ["x", held], ["y"]))
    image = np.ascontiguousarray(x.T[None, :, None, :]) if kernel else x
    graph = helper.make_graph(
        nodes,
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, image.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        parts,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)
    (directory / "product.onnx").write_bytes(model.SerializeToString())
    settings = ort.SessionOptions()
    # Else inputs of products with 4 bits are rounded to 8.
    settings.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    [y] = ort.InferenceSession(directory / "product.onnx", settings).run(None, {"x": image})
    result: Floats = y[0, :, 0].T if kernel else y
    return result


@pytest.mark.parametrize("kernel", [False, True])
@pytest.mark.parametrize(("rows", "columns"), [(8, 6), (7, 6), (8, 5), (7, 5), (1, 1), (3, 1), (1, 3)])
def test_4_bits_are_stored_two_to_a_byte_and_multiplied_as_8_are(
    tmp_path: Path, kernel: bool, rows: int, columns: int
) -> None:
    rng = np.random.default_rng(rows * 10 + columns)
    matrix = rng.standard_normal((rows, columns)).astype(np.float32)
    x = rng.standard_normal((4, columns)).astype(np.float32)
    codes, scales = per_channel(matrix, 4)
    found = product(tmp_path, matrix, "int4", kernel=kernel, x=x)
    np.testing.assert_allclose(found, x @ (codes * scales[:, None]).T, rtol=1e-5, atol=1e-6)
    # Padding up to the pages that ONNX Runtime maps lies before each tensor; the last are the zero points.
    assert (tmp_path / WEIGHTS_FILE).stat().st_size == 2 * 4096 + (rows + 1) // 2
    stored = (tmp_path / WEIGHTS_FILE).read_bytes()[: (rows * columns + 1) // 2]
    flat = (codes if kernel else codes.T).reshape(-1)
    nibbles = [nibble for byte in stored for nibble in (byte & 15, byte >> 4)][: flat.size]
    assert [n - 16 if n > 7 else n for n in nibbles] == flat.tolist()


@pytest.mark.parametrize("kernel", [False, True])
@pytest.mark.parametrize(("form", "allowed"), [("float", 1e-6), ("int8", 0.02)])
def test_floats_and_8_bits_are_multiplied_as_stored(
    tmp_path: Path, kernel: bool, form: WeightForm, allowed: float
) -> None:
    rng = np.random.default_rng(3)
    matrix, x = (rng.standard_normal((n, 5)).astype(np.float32) for n in (7, 4))
    found = product(tmp_path, matrix, form, kernel=kernel, x=x)
    np.testing.assert_allclose(found, x @ matrix.T, rtol=0, atol=allowed * 5)


def test_a_matrix_can_be_held_in_several_forms_once_each(tmp_path: Path) -> None:
    from dataclasses import replace

    matrix = np.random.default_rng(4).standard_normal((6, 4)).astype(np.float32)
    with WeightsFile(tmp_path) as weights:
        tensors = StoredTensors(weights, {"m": matrix}.__getitem__, "float", {})
        forms: tuple[WeightForm, ...] = ("float", "int8", "int4")
        for form in (*forms, *forms):
            replace(tensors, forms={"m": form}).matrix("m", kernel=True)
        assert len(weights.tensors) == 7
        assert set(tensors.lost) == {("m", form) for form in forms}
        assert tensors.lost["m", "float"] == 0 < tensors.lost["m", "int8"] < tensors.lost["m", "int4"] < 0.2


# The scale of attention


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "gemma3"])
def test_scores_are_the_same_with_their_scale_in_the_queries(
    family: Literal["llama", "qwen2", "qwen3", "gemma3"],
) -> None:
    from dataclasses import replace

    arch = tiny_architecture(family)
    weights = tiny_weights(arch)
    load = folded(arch, weights.__getitem__)
    tokens = [3, 50, 200, 7, 7, 31]
    expected = ReferenceSession(arch, weights.__getitem__, context=16)
    # The reference multiplies scores by a scale: of 1, where queries have it already.
    found = ReferenceSession(replace(arch, attention_scale=1.0), load, context=16)
    assert arch.scale != 1
    np.testing.assert_allclose(found.prefill(tokens)[1], expected.prefill(tokens)[1], rtol=0, atol=1e-4)
