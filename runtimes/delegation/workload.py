"""Say what each operator of an ONNX graph reads and multiplies, by its shapes. Knows no providers and no values.

An operator is a node with the QuantizeLinear and DequantizeLinear nodes that make it one of integers: where all that
it reads, constants aside, is dequantised and all that it writes is quantised, which is how ONNX Runtime groups them.
Other nodes of those two kinds are operators of their own. A Constant node is a weight.

Multiplications are multiply-accumulates of products: MatMul, Gemm, convolutions, and their integer and fused forms.
Where a dimension is not fixed, a product with weights counts for one row; a product of two activations does not count
then. An attention that is one operator never does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto

from edgetts.errors import CorruptFile, ModelNotFound

_Shape = tuple[int | None, ...]
_ROUNDING = ("QuantizeLinear", "DequantizeLinear")
# Of these, several share a byte, or there is no telling.
_BITS = {"UINT4": 4, "INT4": 4, "FLOAT4E2M1": 4, "UINT2": 2, "INT2": 2, "STRING": 0, "UNDEFINED": 0}
_PRODUCTS = {
    "MatMul": 1,
    "MatMulInteger": 1,
    "QLinearMatMul": 3,
    "Gemm": 1,
    "FusedMatMul": 1,
    "FusedGemm": 1,
    "DynamicQuantizeMatMul": 1,
    "MatMulIntegerToFloat": 1,
}
"""At which input the second factor is; so of convolutions."""
_CONVOLUTIONS = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3, "FusedConv": 1, "ConvTranspose": 1}
_PACKED = "MatMulNBits"
# They multiply, but how often is more than shapes of theirs say.
_UNTOLD = {"Attention", "MultiHeadAttention", "GroupQueryAttention", "Einsum", "LSTM", "GRU", "RNN"}


@dataclass(frozen=True, slots=True)
class Work:
    """One operator.

    name: its node's, unique in the graph. type: with the domain, unless it is ONNX's own. rounding: names of the
    nodes beside its own. feeds: operators that read what it writes. weight_bytes: of constants that no operator
    before it reads. macs: None where shapes do not say.
    """

    name: str
    type: str
    rounding: tuple[str, ...]
    feeds: tuple[str, ...]
    weight_bytes: int
    macs: int | None


@dataclass(frozen=True, slots=True)
class Workload:
    """A graph's operators in its order.

    fixed: whether the shapes of all inputs are. renamed: the model with names for all nodes, where not every node
    in the file has one of its own.
    """

    operators: tuple[Work, ...]
    fixed: bool
    renamed: bytes | None


def workload(graph: Path | bytes) -> Workload:
    """Read a graph, but not the files that its weights are in. Raises ModelNotFound or CorruptFile."""
    what = graph.name if isinstance(graph, Path) else "What was given"
    try:
        model = (
            onnx.load_model(graph, load_external_data=False)
            if isinstance(graph, Path)
            else onnx.load_model_from_string(graph)
        )
        if not model.graph.node:
            raise CorruptFile(f"{what} is no ONNX graph: it has no operators.")
        renamed = _name_nodes(model)
        return Workload(tuple(_Reading(model).works()), _is_fixed(model), renamed)
    except FileNotFoundError as error:
        raise ModelNotFound(f"There is no graph {graph!s}.") from error
    except (DecodeError, ValueError) as error:
        raise CorruptFile(f"{what} is no ONNX graph that can be read.") from error


class _Reading:
    """A graph's nodes, with who reads and makes which value."""

    def __init__(self, model: ModelProto) -> None:
        self._nodes = [node for node in model.graph.node if node.op_type != "Constant"]
        self._outputs = {port.name for port in model.graph.output}
        self._makers = {name: node for node in self._nodes for name in node.output if name}
        self._readers: dict[str, list[NodeProto]] = {}
        for node in self._nodes:
            for name in set(filter(None, node.input)):
                self._readers.setdefault(name, []).append(node)
        self._weights = {name: _bytes(tensor) for name, tensor in _tensors(model)}
        self._shapes = _shapes(model)
        self._constants = set(self._weights)
        for node in self._nodes:
            if node.input and self._constants.issuperset(filter(None, node.input)):
                self._constants.update(filter(None, node.output))
        self._units = {node.name for node in self._nodes if self._is_integer(node)}
        # By a node that only rounds, the operator that it counts with.
        self._part_of = {node.name: whole for node in self._nodes if (whole := self._whole(node)) is not None}

    def works(self) -> Iterable[Work]:
        weights, feeds = self._first_reads(), self._feeds()
        rounding: dict[str, list[str]] = {}
        for part, whole in self._part_of.items():
            rounding.setdefault(whole, []).append(part)
        for node in self._nodes:
            if node.name not in self._part_of:
                own = node.domain in ("", "ai.onnx")
                yield Work(
                    node.name,
                    node.op_type if own else f"{node.domain}:{node.op_type}",
                    tuple(rounding.get(node.name, ())),
                    tuple(feeds.get(node.name, ())),
                    weights.get(node.name, 0),
                    self._macs(node),
                )

    def _is_integer(self, node: NodeProto) -> bool:
        """Whether a node reads dequantised values and writes what is quantised, and nothing else."""
        if node.op_type in _ROUNDING:
            return False
        moving = [name for name in node.input if name and name not in self._constants]
        kinds = {self._makers[name].op_type if name in self._makers else None for name in moving}
        read = [self._readers.get(name, []) for name in node.output if name]
        return (
            kinds == {"DequantizeLinear"}
            and self._outputs.isdisjoint(node.output)
            and all(ones and all(one.op_type == "QuantizeLinear" for one in ones) for ones in read)
        )

    def _whole(self, node: NodeProto) -> str | None:
        if node.op_type == "QuantizeLinear":
            maker = self._makers.get(node.input[0]) if node.input else None
            return str(maker.name) if maker is not None and maker.name in self._units else None
        if node.op_type == "DequantizeLinear" and self._outputs.isdisjoint(node.output):
            readers = [one for name in node.output for one in self._readers.get(name, [])]
            if readers and all(one.name in self._units for one in readers):
                return str(readers[0].name)
        return None

    def _first_reads(self) -> dict[str, int]:
        """Return bytes of constants by the operator that reads them first."""
        left, found = dict(self._weights), dict[str, int]()
        for node in self._nodes:
            whole = self._part_of.get(node.name, node.name)
            found[whole] = found.get(whole, 0) + sum(left.pop(name, 0) for name in node.input)
        return found

    def _feeds(self) -> dict[str, dict[str, None]]:
        """Return, in order, the operators that read what an operator writes."""
        found: dict[str, dict[str, None]] = {}
        for name, readers in self._readers.items():
            if name in self._makers:
                maker = self._makers[name].name
                maker = self._part_of.get(maker, maker)
                wholes = (self._part_of.get(one.name, one.name) for one in readers)
                found.setdefault(maker, {}).update((whole, None) for whole in wholes if whole != maker)
        return found

    def _macs(self, node: NodeProto) -> int | None:
        if node.op_type in _UNTOLD:
            return None
        if node.op_type == _PACKED and node.input:
            sizes = {one.name: one.i for one in node.attribute if one.name in ("K", "N")}
            row = prod(sizes.values())
            several = _fixed(self._shapes.get(node.input[0]), row, but=1)
            return row if several is None else several
        place = _PRODUCTS.get(node.op_type, _CONVOLUTIONS.get(node.op_type))
        if place is None:
            return 0
        if len(node.input) <= place or not node.output:
            return None
        first, second, out = (
            self._shapes.get(name) for name in (node.input[0], node.input[place], node.output[0])
        )
        kernel = _fixed(second, 1)
        if kernel is None or not second:
            return None
        if node.op_type in _CONVOLUTIONS:
            of_one = kernel // second[0] if second[0] else 0
            return _fixed(first if node.op_type == "ConvTranspose" else out, of_one)
        turned = any(one.name == "transB" and one.i for one in node.attribute)
        inner = (second[-1] if turned or len(second) == 1 else second[-2]) or 1
        told = _fixed(out, inner)
        if told is None and len(second) == 2:
            told = _fixed(first, kernel // inner)
        return kernel if told is None and node.input[place] in self._constants else told


def _fixed(shape: _Shape | None, times: int, but: int = 0) -> int | None:
    """Return the size of a shape times a factor, the last `but` dimensions aside; None where it is not fixed."""
    if shape is None:
        return None
    sizes = shape[: len(shape) - but]
    return None if None in sizes else times * prod(size for size in sizes if size is not None)


def _is_fixed(model: ModelProto) -> bool:
    return all(None not in (_declared(port) or (None,)) for port in model.graph.input)


def _tensors(model: ModelProto) -> Iterable[tuple[str, TensorProto]]:
    for tensor in model.graph.initializer:
        yield tensor.name, tensor
    for node in model.graph.node:
        if node.op_type == "Constant" and node.output:
            # Those of single numbers have no tensor, and next to no weight.
            given = next((one.t for one in node.attribute if one.name == "value"), TensorProto())
            yield node.output[0], given


def _bytes(tensor: TensorProto) -> int:
    """Return what a tensor takes. Raises ValueError for a type that is none."""
    kind = TensorProto.DataType.Name(tensor.data_type)
    bits = (
        _BITS[kind] if kind in _BITS else 8 * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    )
    return int(prod(tensor.dims) * bits + 7) // 8


def _declared(port: ValueInfoProto) -> _Shape | None:
    kind = port.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return tuple(size.dim_value if size.HasField("dim_value") else None for size in kind.shape.dim)


def _shapes(model: ModelProto) -> Mapping[str, _Shape | None]:
    try:
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, ValueError, RuntimeError):
        graph = model.graph  # what is declared is all there is
    ports = (*graph.value_info, *graph.input, *graph.output)
    shapes: dict[str, _Shape | None] = {port.name: _declared(port) for port in ports}
    return shapes | {name: tuple(tensor.dims) for name, tensor in _tensors(model)}


def _name_nodes(model: ModelProto) -> bytes | None:
    """Give every node a name of its own. Return the model where that changed it."""
    taken: set[str] = {node.name for node in model.graph.node}
    seen: set[str] = set()
    changed = False
    for at, node in enumerate(model.graph.node):
        if not node.name or node.name in seen:
            name = f"{node.op_type}.{at}"
            while name in taken:
                name += "."
            node.name, changed = name, True
            taken.add(name)
        seen.add(node.name)
    return model.SerializeToString() if changed else None
