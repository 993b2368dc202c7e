"""The networks that guess, and the small ONNX graph each is written as, which shares the bundle's embedding."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgetts.export.exits.tables import Tables
from edgetts.export.quantize import nearest

Floats = NDArray[np.float32]
_CONTRIB = "com.microsoft"
BLOCK = 32
EPSILON = 1e-5


@dataclass(frozen=True, slots=True)
class Network:
    """Estimate a final hidden state: norm(down(silu(gate x) * up x) + skip x), x = the normalised inputs.

    One formula for all: an exit reads the residual stream at its cut, a parallel head the final hidden
    state, a recurrent one the final hidden state and the last token's embedding. inner: [2 * width +
    hidden, inputs * hidden], gate, up and skip stacked; down: [hidden, width]; width may be 0, which
    leaves a linear map. in_norms: weights [hidden] for each input. out_norm: None leaves the sum as it is.
    """

    inner: Floats
    down: Floats
    in_norms: tuple[Floats, ...]
    out_norm: Floats | None

    @property
    def hidden(self) -> int:
        return int(self.down.shape[0])

    @property
    def width(self) -> int:
        return int(self.down.shape[1])

    def apply(self, *inputs: Floats) -> Floats:
        """Compute in NumPy: inputs [n, hidden] each -> [n, hidden]."""
        parts = [rms(x.astype(np.float32)) * weight for x, weight in zip(inputs, self.in_norms, strict=True)]
        both = np.concatenate(parts, axis=-1) @ self.inner.T
        gate, up, skip = np.split(both, [self.width, 2 * self.width], axis=-1)
        out = skip
        if self.width:
            out = skip + (gate / (1 + np.exp(-gate)) * up) @ self.down.T
        return np.asarray(out if self.out_norm is None else rms(out) * self.out_norm, np.float32)


def rms(x: Floats) -> Floats:
    """Divide rows by their root mean square."""
    return np.asarray(
        x / np.sqrt(np.mean(np.square(x), axis=-1, keepdims=True) + np.float32(EPSILON)), np.float32
    )


class _Graph:
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

    def norm(self, name: str, x: str, weight: Floats, out: str) -> str:
        scale = self.constant(f"{name}.weight", weight)
        return self.op(
            "SimplifiedLayerNormalization", [x, scale], out, axis=-1, epsilon=EPSILON, stash_type=1
        )

    def linear(self, name: str, weights: Floats, x: str, out: str) -> str:
        """Multiply by weights [rows, cols] in 8 bits."""
        rows, cols = weights.shape
        if cols % BLOCK:
            raise ValueError(f"{cols} columns are no multiple of {BLOCK}")
        affine = nearest(weights, 8, BLOCK)
        codes = self.constant(f"{name}.codes", affine.codes.reshape(rows, cols // BLOCK, BLOCK))
        scales = self.constant(f"{name}.scales", affine.scales)
        return self.op(
            "MatMulNBits", [x, codes, scales], out, domain=_CONTRIB,
            K=cols, N=rows, bits=8, block_size=BLOCK, accuracy_level=4,
        )  # fmt: skip

    def network(self, name: str, network: Network, inputs: Sequence[str], out: str) -> str:
        normed = [
            self.norm(f"{name}.in.{i}", x, weight, f"{name}.in.{i}")
            for i, (x, weight) in enumerate(zip(inputs, network.in_norms, strict=True))
        ]
        x = normed[0] if len(normed) == 1 else self.op("Concat", normed, f"{name}.in", axis=-1)
        width = network.width
        total = f"{name}.skip" if width else f"{name}.inner.out"
        both = self.linear(f"{name}.inner", network.inner, x, f"{name}.inner.out")
        if width:
            sizes = self.constant(f"{name}.sizes", np.asarray([width, width, network.hidden], np.int64))
            self.op("Split", [both, sizes], f"{name}.gate", f"{name}.up", f"{name}.skip", axis=-1)
            active = self.op("QuickGelu", [f"{name}.gate"], f"{name}.active", domain=_CONTRIB, alpha=1.0)
            product = self.op("Mul", [active, f"{name}.up"], f"{name}.product")
            delta = self.linear(f"{name}.down", network.down, product, f"{name}.delta")
            total = self.op("Add", [delta, f"{name}.skip"], f"{name}.sum")
        if network.out_norm is None:
            return self.op("Identity", [total], out)
        return self.norm(f"{name}.out", total, network.out_norm, out)


def network_graph(
    networks: Sequence[Network], tables: Tables, head_rows: Floats, vocabulary: NDArray[np.int64]
) -> bytes:
    """Build the graph of one recurrent network, of one exit, or of several parallel heads.

    Inputs: `features` float [1, hidden]; for a network of two inputs also `token` int64 [1, 1], whose
    embedding is the second. Outputs, a row for each network: `features.next` [n, hidden], `logits` [n,
    reduced] of the reduced vocabulary, `best` int64 [n] as token ids, and `probability` [n] of them. The
    metadata `vocabulary` holds the reduced vocabulary's ids, ascending, as base64 of little-endian int32.
    """
    hidden = networks[0].hidden
    net = _Graph()
    inputs = ["features"]
    ports = [helper.make_tensor_value_info("features", TensorProto.FLOAT, [1, hidden])]
    if len(networks[0].in_norms) == 2:
        nodes, initializers = tables.embedding_nodes()
        net.op("Identity", ["token"], "input_ids")
        net.nodes += nodes
        net.initializers += initializers
        flat = net.constant("guess.flat", np.asarray([1, hidden], np.int64))
        inputs.append(net.op("Reshape", [tables.embedding_output, flat], "guess.embedded"))
        ports.append(helper.make_tensor_value_info("token", TensorProto.INT64, [1, 1]))
    count = len(networks)
    if count == 1:
        net.network("guess", networks[0], inputs, "features.next")
    else:
        states = [
            net.network(f"guess.{i}", one, inputs, f"guess.{i}.state") for i, one in enumerate(networks)
        ]
        net.op("Concat", states, "features.next", axis=0)
    net.linear("guess.head", head_rows, "features.next", "logits")
    at = net.op("ArgMax", ["logits"], "guess.at", axis=-1, keepdims=0)
    net.op("Gather", [net.constant("guess.vocabulary", vocabulary), at], "best", axis=0)
    # The probability of the best is one over the sum of exp(logit - best logit).
    axis = net.constant("guess.axis", np.asarray([-1], np.int64))
    top = net.op("ReduceMax", ["logits", axis], "guess.top", keepdims=1)
    weights = net.op("Exp", [net.op("Sub", ["logits", top], "guess.below")], "guess.weights")
    net.op("Reciprocal", [net.op("ReduceSum", [weights, axis], "guess.total", keepdims=0)], "probability")
    outputs = [
        helper.make_tensor_value_info("features.next", TensorProto.FLOAT, [count, hidden]),
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, [count, len(vocabulary)]),
        helper.make_tensor_value_info("best", TensorProto.INT64, [count]),
        helper.make_tensor_value_info("probability", TensorProto.FLOAT, [count]),
    ]
    graph = helper.make_graph(net.nodes, "guesser", ports, outputs, net.initializers)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(_CONTRIB, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9, producer_name="edgetts")
    # Where a runtime can read it without computing anything.
    encoded = base64.b64encode(vocabulary.astype("<i4").tobytes()).decode("ascii")
    helper.set_model_props(model, {"vocabulary": encoded})
    return bytes(model.SerializeToString())
