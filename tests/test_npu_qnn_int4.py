"""Matrices of 4 bits through Qualcomm's compiler and emulator: taken as they are stored, computed as on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from golden import TOKENS
from onnx import NodeProto, TensorProto, helper
from tiny import tiny_architecture, write_tiny_gguf

from edgetts.bundle import read_manifest
from edgetts.export.static import convert_static
from edgetts.export.static.encoding import Encoding
from edgetts.export.static.tensors import StoredTensors, WeightForm
from edgetts.export.weights import WeightsFile
from edgetts.runtimes.npu import StaticSession
from edgetts.runtimes.providers.catalogue import find_soc
from edgetts.runtimes.providers.finding import find_provider, open_graph, session_options

pytest.importorskip("onnxruntime_qnn")

ROWS, COLUMNS, WIDTH = 129, 65, 6


def product(directory: Path, form: WeightForm, entering: Encoding, leaving: Encoding) -> Path:
    """Write a 1x1 convolution with a matrix of odd sizes, from 16 bits to 16 bits."""
    matrix = np.random.default_rng(0).standard_normal((ROWS, COLUMNS)).astype(np.float32)
    with WeightsFile(directory) as weights:
        parts = list(StoredTensors(weights, {"m": matrix}.__getitem__, form, {}).matrix("m", kernel=True))
    nodes: list[NodeProto] = []
    initializers = [*parts]
    for name, encoding in (("x", entering), ("y", leaving)):
        initializers.append(helper.make_tensor(f"{name}.scale", TensorProto.FLOAT, [], [encoding.scale]))
        initializers.append(helper.make_tensor(f"{name}.zero", TensorProto.UINT16, [], [encoding.zero]))
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "x.scale", "x.zero"], ["x.float"]),
        helper.make_node("DequantizeLinear", [part.name for part in parts], ["m.float"], axis=0),
        helper.make_node("Conv", ["x.float", "m.float"], ["y.float"]),
        helper.make_node("QuantizeLinear", ["y.float", "y.scale", "y.zero"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "product",
        [helper.make_tensor_value_info("x", TensorProto.UINT16, [1, COLUMNS, 1, WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.UINT16, [1, ROWS, 1, WIDTH])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)
    path = directory / "product.onnx"
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("soc", ["sm8550", "sm8650"])
@pytest.mark.parametrize("form", ["int4", "int8"])
def test_a_product_is_computed_as_on_the_cpu(soc: str, form: WeightForm, tmp_path: Path) -> None:
    x = np.random.default_rng(1).standard_normal((1, COLUMNS, 1, WIDTH)).astype(np.float32)
    entering, leaving = Encoding.covering(-4, 4), Encoding.covering(-40, 40)
    path = product(tmp_path, form, entering, leaving)
    feed = {"x": entering.codes(x)}
    provider = find_provider("QNNExecutionProvider")
    emulated = open_graph(path, session_options(provider, find_soc(soc).options), provider)
    [found] = emulated.run(None, feed)
    [expected] = ort.InferenceSession(path).run(None, feed)
    difference = leaving.values(found) - leaving.values(expected)
    # Measured: 0.0003 of the result's size.
    assert np.sqrt(np.square(difference).mean()) < 0.002 * leaving.values(expected).std()


def test_a_model_of_4_bits_says_there_what_it_says_on_the_cpu(tmp_path: Path) -> None:
    write_tiny_gguf(tmp_path / "model.gguf", arch=tiny_architecture("qwen2", layers=2))
    bundle = convert_static(
        tmp_path / "model.gguf",
        tmp_path / "model.edge",
        target="qnn-htp",
        quantize="int4",
        agreement=0.05,
        context=48,
        chunk=16,
    )
    assert {note.stored for note in read_manifest(bundle).tensors.values()} == {"int4 per channel"}
    found = []
    for device, soc in (("cpu", None), ("npu", "sm8650")):
        session = StaticSession.open(bundle, threads=1, device=device, soc=soc)
        try:
            branch, last = session.prefill(TOKENS[:6])
            rows = [last, *session.extend(branch, TOKENS[6:12])]
            rows += [session.step([branch], [token])[0] for token in TOKENS[12:14]]
            found.append(np.stack(rows))
        finally:
            session.close()
    np.testing.assert_allclose(found[1], found[0], rtol=0, atol=0.1)
