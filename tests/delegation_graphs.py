"""Small graphs of which it is known, from their shapes alone, what each operator reads and multiplies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

ROWS, WIDE = 4, 8


def weights(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def model(
    nodes: Sequence[NodeProto],
    constants: dict[str, NDArray[np.generic]],
    *,
    rows: int | str = ROWS,
    wide: int = WIDE,
    out: int = WIDE,
    kind: int = TensorProto.FLOAT,
    shape: tuple[int | str, ...] | None = None,
) -> onnx.ModelProto:
    """Return a model from x [1, rows, wide] to y [1, rows, out]."""
    x = helper.make_tensor_value_info("x", kind, [1, rows, wide] if shape is None else shape)
    y = helper.make_tensor_value_info("y", kind, [1, rows, out] if shape is None else None)
    graph = helper.make_graph(
        nodes, "graph", [x], [y], [numpy_helper.from_array(value, name) for name, value in constants.items()]
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def one_not_taken() -> onnx.ModelProto:
    """Return a product, an operator of Microsoft's domain, a Det, and a product without a name behind them."""
    return model(
        [
            helper.make_node("MatMul", ["x", "w"], ["a"], name="before"),
            helper.make_node("BiasGelu", ["a", "b"], ["g"], name="odd", domain="com.microsoft"),
            helper.make_node("Det", ["g"], ["d"], name="determinant"),
            helper.make_node("Mul", ["g", "d"], ["m"], name="scaled"),
            helper.make_node("MatMul", ["m", "v"], ["y"]),
        ],
        {"w": weights(8, 8), "b": weights(8), "v": weights(8, 8)},
        rows=8,
    )


def rounded() -> onnx.ModelProto:
    """Return a product in integers between rounding of its own, in the form that QNN fuses.

    x is quantised (q.x, an operator of its own), multiplied as integers (dx, dw, product, q.a), and what comes is
    dequantised for the output (last, an operator of its own).
    """
    step, zero = np.array(0.05, np.float32), np.array(128, np.uint8)
    codes = np.random.default_rng(0).integers(-127, 128, (WIDE, WIDE)).astype(np.int8)
    return model(
        [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["qx"], name="q.x"),
            helper.make_node("DequantizeLinear", ["qx", "s", "z"], ["fx"], name="dx"),
            helper.make_node("DequantizeLinear", ["w", "ws"], ["fw"], name="dw"),
            helper.make_node("MatMul", ["fx", "fw"], ["a"], name="product"),
            helper.make_node("QuantizeLinear", ["a", "s", "z"], ["qa"], name="q.a"),
            helper.make_node("DequantizeLinear", ["qa", "s", "z"], ["y"], name="last"),
        ],
        {"s": step, "z": zero, "w": codes, "ws": np.array(0.01, np.float32)},
    )
