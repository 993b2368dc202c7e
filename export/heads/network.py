"""Write trained heads as one small ONNX graph, which shares the bundle's embedding table."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgetts.export.heads.fit import Heads
from edgetts.export.heads.tables import Tables
from edgetts.export.quantize import nearest

Floats = NDArray[np.float32]
_CONTRIB = "com.microsoft"
_BLOCK = 32
_EPSILON = 1e-5


class _Network:
    """Collect nodes and constants."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def constant(self, name: str, array: NDArray[np.generic]) -> str:
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def op(self, kind: str, inputs: list[str], *outputs: str, domain: str = "", **attributes: object) -> str:
        self.nodes.append(
            helper.make_node(kind, inputs, list(outputs), name=outputs[0], domain=domain, **attributes)
        )
        return outputs[0]

    def norm(self, x: str, weight: str, out: str) -> str:
        return self.op(
            "SimplifiedLayerNormalization", [x, weight], out, axis=-1, epsilon=_EPSILON, stash_type=1
        )

    def linear(self, name: str, weights: Floats, x: str, out: str) -> str:
        """Multiply by weights [rows, cols] in 8 bits; columns that fill no block are padded with zeros."""
        rows, cols = weights.shape
        if cols % _BLOCK:
            raise ValueError(f"{cols} columns are no multiple of {_BLOCK}")
        affine = nearest(weights, 8, _BLOCK)
        codes = self.constant(f"{name}.codes", affine.codes.reshape(rows, cols // _BLOCK, _BLOCK))
        scales = self.constant(f"{name}.scales", affine.scales)
        return self.op(
            "MatMulNBits", [x, codes, scales], out, domain=_CONTRIB,
            K=cols, N=rows, bits=8, block_size=_BLOCK, accuracy_level=4,
        )  # fmt: skip


def heads_model(heads: Heads, tables: Tables, head_rows: Floats) -> bytes:
    """Build the graph.

    Inputs: `features` float [1, hidden], the state the last token was drawn from, and `token` int64
    [1, 1], that token. Outputs: `features.next` float [1, hidden], `best` int64 [1], a token id, and
    `probability` float [1] of it. The embedding table stays in the bundle's weights file.
    """
    hidden, width = heads.down.shape
    net = _Network()
    nodes, initializers = tables.embedding_nodes()
    net.op("Identity", ["token"], "input_ids")
    net.nodes += nodes
    net.initializers += initializers
    flat = net.constant("heads.flat", np.asarray([1, hidden], np.int64))
    embedded = net.op("Reshape", [tables.embedding_output, flat], "heads.embedded")
    left = net.norm("features", net.constant("heads.norm.features", heads.feature_norm), "heads.left")
    right = net.norm(embedded, net.constant("heads.norm.token", heads.token_norm), "heads.right")
    x = net.op("Concat", [left, right], "heads.in", axis=-1)
    inner = net.linear("heads.inner", heads.inner, x, "heads.inner.out")
    sizes = net.constant("heads.sizes", np.asarray([width, width, hidden], np.int64))
    net.op("Split", [inner, sizes], "heads.gate", "heads.up", "heads.skip", axis=-1)
    active = net.op("QuickGelu", ["heads.gate"], "heads.active", domain=_CONTRIB, alpha=1.0)
    product = net.op("Mul", [active, "heads.up"], "heads.product")
    delta = net.linear("heads.down", heads.down, product, "heads.delta")
    total = net.op("Add", [delta, "heads.skip"], "heads.sum")
    state = net.norm(total, net.constant("heads.norm.out", heads.out_norm), "features.next")
    logits = net.linear("heads.head", head_rows, state, "heads.logits")
    at = net.op("ArgMax", [logits], "heads.at", axis=-1, keepdims=0)
    net.op("Gather", [net.constant("heads.vocabulary", heads.vocabulary), at], "best", axis=0)
    # The probability of the best is one over the sum of exp(logit - best logit).
    axis = net.constant("heads.axis", np.asarray([-1], np.int64))
    top = net.op("ReduceMax", [logits, axis], "heads.top", keepdims=1)
    weights = net.op("Exp", [net.op("Sub", [logits, top], "heads.below")], "heads.weights")
    net.op("Reciprocal", [net.op("ReduceSum", [weights, axis], "heads.total", keepdims=0)], "probability")
    graph = helper.make_graph(
        net.nodes,
        "heads",
        [
            helper.make_tensor_value_info("features", TensorProto.FLOAT, [1, hidden]),
            helper.make_tensor_value_info("token", TensorProto.INT64, [1, 1]),
        ],
        [
            helper.make_tensor_value_info("features.next", TensorProto.FLOAT, [1, hidden]),
            helper.make_tensor_value_info("best", TensorProto.INT64, [1]),
            helper.make_tensor_value_info("probability", TensorProto.FLOAT, [1]),
        ],
        net.initializers,
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(_CONTRIB, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9, producer_name="edgetts")
    return bytes(model.SerializeToString())
