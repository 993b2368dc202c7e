"""Which operators a provider takes, asked of ONNX Runtime's built-in providers, and how their work is counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from delegation_graphs import ROWS, WIDE, model, one_not_taken, rounded, weights
from onnx import helper
from static_bundles import CHUNK, DRAFT_WIDTH, StaticBundle, static_bundle  # noqa: F401 - a fixture

from edgetts.bundle import read_manifest
from edgetts.errors import CorruptFile, ModelNotFound, Unsupported
from edgetts.runtimes.delegation.assignment import trace_options, traced_reasons
from edgetts.runtimes.delegation.table import (
    Delegation,
    Placed,
    Share,
    delegation,
    together,
    without_place,
)
from edgetts.runtimes.delegation.workload import workload
from edgetts.runtimes.providers.finding import Provider, find_provider

CPU = "CPUExecutionProvider"
# It is in every build, and takes an operator of its own alone: whatever is asked of it is left to the CPU.
TAKES_NOTHING = "AzureExecutionProvider"


@pytest.fixture
def cpu() -> Provider:
    return find_provider("cpu")


@pytest.fixture
def taking_nothing() -> Provider:
    if TAKES_NOTHING not in ort.get_available_providers():
        pytest.skip("this build of ONNX Runtime has no provider that takes nothing")
    return find_provider(TAKES_NOTHING)


def placed(found: Delegation) -> dict[str, Placed]:
    return {one.name: one for one in found.placed}


def test_products_are_counted_by_their_shapes_and_weights_once(cpu: Provider) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="wide"),
        helper.make_node("MatMul", ["a", "v"], ["b"], name="narrow"),
        helper.make_node("Transpose", ["b"], ["t"], name="turned", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["b", "t"], ["c"], name="with itself"),
        helper.make_node("MatMul", ["c", "b"], ["d"], name="back"),
        helper.make_node("Add", ["d", "bias"], ["e"], name="shifted"),
        helper.make_node("MatMul", ["e", "w"], ["y"], name="again"),
    ]
    graph = model(nodes, {"w": weights(8, 32), "v": weights(32, 8), "bias": weights(8)}, out=32)
    found = delegation(graph.SerializeToString(), cpu, {})
    assert found.fixed
    assert {one.provider for one in found.placed} == {CPU}
    assert {one.name: one.macs for one in found.placed} == {
        "wide": ROWS * 8 * 32,
        "narrow": ROWS * 32 * 8,
        "turned": 0,
        "with itself": ROWS * 8 * ROWS,
        "back": ROWS * ROWS * 8,
        "shifted": 0,
        "again": ROWS * 8 * 32,
    }
    assert {one.name: one.weight_bytes for one in found.placed if one.weight_bytes} == {
        "wide": 4 * 8 * 32,
        "narrow": 4 * 32 * 8,
        "shifted": 4 * 8,
    }
    assert found.operators == Share(7, 7)


def test_convolutions_and_gemm_are_products_too(cpu: Provider) -> None:
    picture = model(
        [helper.make_node("Conv", ["x", "w"], ["y"], name="conv", group=2, pads=[1, 1, 1, 1])],
        {"w": weights(6, 2, 3, 3)},
        shape=(1, 4, 5, 5),
    )
    assert delegation(picture.SerializeToString(), cpu, {}).macs == Share(6 * 25 * 2 * 9, 6 * 25 * 2 * 9)
    flat = model(
        [helper.make_node("Gemm", ["x", "w"], ["y"], name="gemm", transB=1)],
        {"w": weights(3, 7)},
        shape=(5, 7),
    )
    assert delegation(flat.SerializeToString(), cpu, {}).macs == Share(5 * 7 * 3, 5 * 7 * 3)


def test_products_of_microsofts_domain_count_by_what_they_read(cpu: Provider) -> None:
    nodes = [
        helper.make_node("FusedMatMul", ["x", "w"], ["a"], name="turned", domain="com.microsoft", transB=1),
        helper.make_node("FusedMatMul", ["a", "v"], ["y"], name="plain", domain="com.microsoft", alpha=0.5),
    ]
    constants = {"w": weights(3, 8), "v": weights(3, 8)}
    found = delegation(model(nodes, constants).SerializeToString(), cpu, {})
    assert {one.name: one.macs for one in found.placed} == {"turned": ROWS * 8 * 3, "plain": ROWS * 8 * 3}
    found = delegation(model(nodes, constants, rows="tokens").SerializeToString(), cpu, {})
    assert {one.name: one.macs for one in found.placed} == {"turned": 8 * 3, "plain": 8 * 3}


def test_rounding_that_makes_an_operator_one_of_integers_counts_with_it(cpu: Provider) -> None:
    found = delegation(rounded().SerializeToString(), cpu, {})
    assert set(placed(found)) == {"q.x", "product", "last"}
    assert placed(found)["product"].macs == ROWS * WIDE * WIDE
    # Its weights are what is dequantised for it; scales of one number that q.x reads first are q.x's.
    assert placed(found)["product"].weight_bytes == WIDE * WIDE + 4
    assert placed(found)["q.x"].weight_bytes == 4 + 1
    assert found.operators == Share(3, 3)


def test_an_operator_that_also_reads_floats_is_none_of_integers() -> None:
    graph = rounded()
    [product] = [node for node in graph.graph.node if node.name == "product"]
    product.input[0] = "x"
    found = {one.name: one for one in workload(graph.SerializeToString()).operators}
    assert {"product", "q.a", "dw"} <= set(found)
    assert found["dw"].weight_bytes == WIDE * WIDE + 4


def test_codes_of_four_bits_are_half_a_byte() -> None:
    codes = helper.make_tensor("w", onnx.TensorProto.UINT4, (WIDE, WIDE), np.ones(WIDE * WIDE, np.uint8))
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "ws"], ["fw"], name="codes"),
        helper.make_node("MatMul", ["x", "fw"], ["y"], name="product"),
    ]
    graph = model(nodes, {"ws": np.array(0.1, np.float32)})
    graph.graph.initializer.append(codes)
    found = {one.name: one for one in workload(graph.SerializeToString()).operators}
    assert found["codes"].weight_bytes == WIDE * WIDE // 2 + 4
    assert found["product"].macs == ROWS * WIDE * WIDE


def test_shapes_that_are_not_fixed_count_one_row_of_weights_and_no_products_of_activations(
    cpu: Provider,
) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="weighted"),
        helper.make_node("Transpose", ["a"], ["t"], name="turned", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["a", "t"], ["s"], name="scores"),
        helper.make_node("MatMul", ["s", "a"], ["y"], name="mixed"),
    ]
    found = delegation(model(nodes, {"w": weights(8, 8)}, rows="tokens").SerializeToString(), cpu, {})
    assert not found.fixed
    assert placed(found)["weighted"].macs == 8 * 8
    assert placed(found)["scores"].macs is None
    assert found.uncounted == ("MatMul",)


def test_what_onnx_runtime_fuses_keeps_its_weights_and_products(cpu: Provider) -> None:
    # MatMul and Add become a Gemm of another name before anything is assigned.
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="product"),
        helper.make_node("Add", ["a", "b"], ["c"], name="bias"),
        helper.make_node("Relu", ["c"], ["y"], name="relu"),
    ]
    graph = model(nodes, {"w": weights(7, 3), "b": weights(3)}, shape=(5, 7)).SerializeToString()
    found = delegation(graph, cpu, {})
    assert found.macs == Share(5 * 7 * 3, 5 * 7 * 3)
    assert found.weights == Share(4 * 24, 4 * 24)
    assert [placed(found)[name].provider for name in ("product", "bias", "relu")] == [CPU, CPU, CPU]


def test_what_onnx_runtime_simplifies_away_is_said_to_be(cpu: Provider) -> None:
    nodes = [
        helper.make_node("Identity", ["x"], ["a"], name="nothing"),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Identity", ["b"], ["c"], name="nothing again"),
        helper.make_node("Neg", ["c"], ["y"], name="neg"),
    ]
    found = delegation(model(nodes, {}).SerializeToString(), cpu, {})
    assert found.operators == Share(2, 2)
    [row] = [row for row in found.rows if row.type == "Identity"]
    assert (row.there, row.folded, row.elsewhere) == (0, 2, ())


def test_what_a_provider_does_not_take_is_left_to_the_cpu_and_named(taking_nothing: Provider) -> None:
    graph = one_not_taken().SerializeToString()
    found = delegation(graph, taking_nothing, {})
    assert found.operators == Share(0, 5)
    assert (found.weights.part, found.macs.part, found.macs.whole) == (0, 0, 2 * 8 * 8 * 8)
    rows = {row.type: row for row in found.rows}
    assert rows["MatMul"].elsewhere == ("before", "MatMul.4")
    assert rows["com.microsoft:BiasGelu"].elsewhere == ("odd",)
    assert rows["Det"].reasons == {"": 1}
    left = found.unsupported
    assert {one.name for one in left} == {"before", "odd", "determinant", "scaled", "MatMul.4"}
    said = without_place(taking_nothing.name, left)
    assert said.startswith(f"{TAKES_NOTHING} does not take MatMul (2 of them, such as before), ")
    assert said.endswith(", and 1 type more.")


def test_nodes_without_names_are_told_apart_with_their_weights_in_a_file_beside(
    tmp_path: Path, cpu: Provider
) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Neg", ["a"], ["b"], name="same"),
        helper.make_node("Abs", ["b"], ["c"], name="same"),
        helper.make_node("MatMul", ["c", "w"], ["y"]),
    ]
    file = tmp_path / "graph.onnx"
    onnx.save_model(
        model(nodes, {"w": weights(WIDE, WIDE)}),
        file,
        save_as_external_data=True,
        location="w.bin",
        size_threshold=0,
    )
    before = file.read_bytes()
    found = delegation(file, cpu, {})
    assert {one.name: one.macs for one in found.placed} == {
        "MatMul.0": ROWS * WIDE * WIDE,
        "same": 0,
        "Abs.2": 0,
        "MatMul.3": ROWS * WIDE * WIDE,
    }
    assert found.weights == Share(4 * WIDE * WIDE, 4 * WIDE * WIDE)
    assert file.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == [file, tmp_path / "w.bin"]


@pytest.mark.parametrize("width", [1, DRAFT_WIDTH + 1, CHUNK])
def test_graphs_of_a_static_bundle_sum_to_what_its_architecture_says(
    static_bundle: StaticBundle,  # noqa: F811
    cpu: Provider,
    width: int,
) -> None:
    bundle = static_bundle("llama").bundle
    manifest = read_manifest(bundle)
    assert manifest.static is not None
    files = [graph.file for graph in manifest.static.graphs if graph.width == width]
    found = together(delegation(bundle / file, cpu, {}) for file in files)
    arch = manifest.architecture
    kv = arch.kv_heads * arch.head_dim
    of_layer = arch.hidden * (2 * arch.hidden + 2 * kv + 3 * arch.intermediate)  # type: ignore[union-attr]
    attention = 2 * arch.heads * arch.head_dim * (manifest.context + width)  # type: ignore[union-attr]
    head = arch.hidden * arch.vocab if width != CHUNK else 0
    macs = width * (arch.layers * (of_layer + attention) + head)
    assert found.macs == Share(macs, macs)
    norms = arch.hidden * (2 * arch.layers + bool(head))
    whole = 4 * (arch.layers * of_layer + head + norms)
    assert 0 <= found.weights.whole - whole < 4096  # shapes of reshapes beside them
    assert found.operators.part == found.operators.whole > arch.layers * 20
    assert not found.unsupported


def test_the_table_puts_first_what_is_left_to_the_cpu_and_sums_reasons() -> None:
    found = Delegation(
        "P",
        (
            Placed("a", "MatMul", "P", macs=90, weight_bytes=10),
            Placed("b", "MatMul", CPU, "too large", macs=10),
            Placed("c", "Det", CPU, "unknown"),
            Placed("d", "Det", CPU, "unknown"),
            Placed("e", "Det", CPU, "of rank 4"),
            Placed("f", "Add", "P"),
            Placed("g", "Identity", None),
        ),
    )
    assert [row.type for row in found.rows] == ["Det", "MatMul", "Add", "Identity"]
    assert found.rows[0].reasons == {"unknown": 2, "of rank 4": 1}
    assert (found.rows[1].there, found.rows[1].elsewhere) == (1, ("b",))
    assert (found.operators, found.macs, found.weights) == (Share(2, 6), Share(90, 100), Share(10, 10))
    assert without_place("P", found.unsupported) == (
        "P does not take Det (3 of them, such as c: unknown), MatMul (b: too large)."
    )


def test_files_that_are_no_graphs_are_refused(tmp_path: Path, cpu: Provider) -> None:
    with pytest.raises(ModelNotFound, match="There is no graph"):
        delegation(tmp_path / "none.onnx", cpu, {})
    for content in (b"", b"garbage" * 9, model([], {}).SerializeToString()):
        file = tmp_path / "bad.onnx"
        file.write_bytes(content)
        with pytest.raises(CorruptFile, match=r"bad\.onnx is no ONNX graph"):
            delegation(file, cpu, {})
    cut = one_not_taken().SerializeToString()[:-40]
    with pytest.raises(CorruptFile):
        delegation(cut, cpu, {})


def test_an_onnx_runtime_too_old_to_say_is_named(cpu: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "get_provider_graph_assignment_info"
    monkeypatch.delattr(next(one for one in ort.InferenceSession.__mro__ if name in vars(one)), name)
    with pytest.raises(Unsupported, match=r"does not say where operators run.*onnxruntime>=1\.24"):
        delegation(rounded().SerializeToString(), cpu, {})


def test_a_trace_that_is_none_gives_no_reasons(tmp_path: Path) -> None:
    [directory] = [value for key, value in trace_options(tmp_path).items() if key.endswith("_dir")]
    assert directory == str(tmp_path)
    assert traced_reasons(tmp_path) == {}
    for content in ("", "[]", '{"unsupported_nodes": 3}', '{"unsupported_nodes": [{"op_type": "Det"}]}'):
        (tmp_path / "qnn_op_trace.json").write_text(content)
        assert traced_reasons(tmp_path) == {}
    (tmp_path / "qnn_op_trace.json").write_bytes(b"\xff\xfe")
    assert traced_reasons(tmp_path) == {}
