"""Build the ONNX graphs of a static bundle from standard operators only.

Knows an architecture and how its tensors are held; knows nothing of checkpoints or targets.
Every shape is fixed, so that a compiler for an NPU can plan all memory.

A graph of layers [start, stop) takes W tokens at a time of one branch whose cache holds up to C. Inputs:
`stream.start` [1, W, hidden], the residual stream (before the first layer: rows of the embedding table, times its
scale where there is one, which the host looks up); `cos` [1, 1, W, head_dim], the cosines of the W positions'
angles, twice in a row, and `sin` of the same shape, their sines, negative the first time; `mask` [1, 1, G*W, C+W],
what is added to attention scores: zero, or strongly negative for what a token must not see. Its columns are the
cache's positions and then the W tokens, its rows the W tokens once for each of the G query heads of a key head.
`past_key.N` [1, kv_heads, head_dim, C] and `past_value.N` [1, kv_heads, C, head_dim]. Sliding layers read
`mask.local` and, where their angles differ, `cos.local` and `sin.local`. Outputs: `stream.stop`, and the rows that
the host writes into the cache, `new_key.N` [1, kv_heads, head_dim, W] and `new_value.N` [1, kv_heads, W, head_dim].

The head's graph takes `stream.L` [1, n, hidden] and returns `features` [1, n, hidden], the stream normalised, and
`logits` [1, n, vocab].
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

import onnx
from onnx import TensorProto, helper

from edgetts.architecture import Architecture
from edgetts.export.static.encoding import Encoding, Encodings


class Tensors(Protocol):
    """The model's tensors as initializers, each by its own name."""

    def vector(self, name: str, encoding: Encoding | None) -> onnx.TensorProto:
        """Return the weights of a norm or a bias, in integers where there is an encoding."""
        ...

    def matrix(self, name: str, *, kernel: bool) -> Sequence[onnx.TensorProto]:
        """Return a matrix [columns, rows], or as a kernel [rows, columns, 1, 1].

        In floats, or as codes, scales [rows] and zero points [rows].
        """
        ...


# RMSNormalization is a standard operator from here on.
OPSET = 23
_IR_VERSION = 11
_NONE: Encodings = MappingProxyType({})


class StaticGraph:
    """Collect the nodes of one graph; `layers` or `head` closes it.

    encodings: tensors that are rounded where they are made. A port that has one holds integers; inside the graph
    each is quantised and dequantised again, in the form that compilers for NPUs turn into integer arithmetic.
    halves: tensors that are float16 at ports. convolve: write products with matrices as convolutions over one
    position, which some compilers compute exactly where they round inputs of the others.
    """

    def __init__(
        self,
        arch: Architecture,
        tensors: Tensors,
        *,
        width: int,
        context: int,
        encodings: Encodings = _NONE,
        halves: Collection[str] = (),
        convolve: bool = False,
    ) -> None:
        self._arch = arch
        self._tensors = tensors
        self._width, self._context = width, context
        self._encodings = encodings
        self._halves = halves
        self._convolve = convolve
        self._rounded: dict[str, Encoding] = {}
        self.computed: dict[str, str] = {}
        """Every tensor that values are computed for, and the name that its encoding goes by."""
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: dict[str, onnx.TensorProto] = {}
        self._inputs: dict[str, onnx.ValueInfoProto] = {}
        self._outputs: list[onnx.ValueInfoProto] = []

    def layers(self, start: int, stop: int) -> onnx.ModelProto:
        """Build the graph of layers [start, stop)."""
        shape = [1, self._width, self._arch.hidden]
        hidden = self._input(stream_name(start), shape)
        for layer in range(start, stop):
            hidden = self._layer(layer, hidden)
        self._output(stream_name(stop), shape)
        return self._model(f"layers_{start}_{stop}")

    def head(self) -> onnx.ModelProto:
        """Build the graph from the residual stream behind the last layer to logits."""
        arch = self._arch
        hidden = self._input(stream_name(arch.layers), [1, self._width, arch.hidden])
        x = self._norm("output_norm.weight", hidden, "features")
        self._output("features", [1, self._width, arch.hidden])
        self._product(head_name(arch), x, "logits", arch.hidden, arch.vocab)
        self._output("logits", [1, self._width, arch.vocab])
        return self._model("head")

    # Ports, constants and single operators

    def _model(self, name: str) -> onnx.ModelProto:
        graph = helper.make_graph(
            self._nodes,
            f"{name}.w{self._width}",
            list(self._inputs.values()),
            self._outputs,
            list(self._initializers.values()),
        )
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="edgetts")

    def _input(self, name: str, shape: Sequence[int], like: str = "") -> str:
        """Take a port in; return the name of its values inside the graph."""
        encoding, half = self._encodings.get(like or name), (like or name) in self._halves
        if name not in self._inputs:
            kind = TensorProto.FLOAT16 if half else _kind(encoding)
            self._inputs[name] = helper.make_tensor_value_info(name, kind, shape)
            if half:
                self._node("Cast", [name], [f"{name}.float"], to=TensorProto.FLOAT)
            elif encoding is not None:
                self._dequantize(name, encoding)
        return f"{name}.float" if half else name if encoding is None else f"{name}.rounded"

    def _output(self, name: str, shape: Sequence[int], like: str = "", inner: str = "") -> None:
        """Give a tensor out, as integers where it has an encoding. inner: its values inside the graph."""
        if (like or name) in self._halves:
            self._node("Cast", [inner], [name], to=TensorProto.FLOAT16)
            kind = int(TensorProto.FLOAT16)
        else:
            kind = _kind(self._encodings.get(like or name))
        self._outputs.append(helper.make_tensor_value_info(name, kind, shape))

    def _inner(self, port: str, like: str) -> str:
        """Name what goes out at a port, as it is inside the graph."""
        return f"{port}.float" if like in self._halves else port

    def _dequantize(self, name: str, encoding: Encoding) -> str:
        out = f"{name}.rounded"
        self._node("DequantizeLinear", [name, *self._parameters(encoding)], [out])
        self._rounded[out] = encoding
        return out

    def _parameters(self, encoding: Encoding) -> list[str]:
        """Return names of an encoding's scale and zero point, which tensors of the same encoding share."""
        scale, zero = f"scale.{encoding.scale!r}", f"zero.{encoding.zero}.{encoding.bits}"
        if scale not in self._initializers:
            self._initializers[scale] = helper.make_tensor(scale, TensorProto.FLOAT, [], [encoding.scale])
        if zero not in self._initializers:
            self._initializers[zero] = helper.make_tensor(zero, _kind(encoding), [], [encoding.zero])
        return [scale, zero]

    def _vector(self, name: str) -> str:
        """Return a one-dimensional tensor of the model: the weights of a norm, or a bias."""
        if name not in self._initializers:
            encoding = self._encodings.get(name)
            self._initializers[name] = self._tensors.vector(name, encoding)
            if encoding is not None:
                self._dequantize(name, encoding)
        return f"{name}.rounded" if name in self._encodings else name

    def _matrix(self, name: str) -> str:
        """Return a matrix of the model in the shape that products take it in."""
        parts = self._tensors.matrix(name, kernel=self._convolve)
        for part in parts:
            self._initializers.setdefault(part.name, part)
        if len(parts) == 1:
            return str(parts[0].name)
        out = f"{name}.rounded"
        if not any(out in node.output for node in self._nodes):
            axis = 0 if self._convolve else 1
            self._node("DequantizeLinear", [part.name for part in parts], [out], axis=axis)
        return out

    def _shape(self, name: str, values: Sequence[int]) -> str:
        name = f"shape.{name}"
        self._initializers.setdefault(
            name, helper.make_tensor(name, TensorProto.INT64, [len(values)], list(values))
        )
        return name

    def _node(self, kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: object) -> None:
        self._nodes.append(helper.make_node(kind, list(inputs), list(outputs), name=outputs[0], **attributes))

    def _op(self, kind: str, inputs: Sequence[str], output: str, like: str = "", **attributes: object) -> str:
        """Add an operator; return the name of its result, rounded where it has an encoding.

        like: the tensor whose encoding it has, where that is another one.
        """
        self.computed[output] = like or output
        return self._rounding(kind, inputs, [output], self._encodings.get(like or output), attributes)[0]

    def _move(self, kind: str, inputs: Sequence[str], *outputs: str, **attributes: object) -> tuple[str, ...]:
        """Add an operator that moves values and computes none: its results are encoded as the first input."""
        return tuple(self._rounding(kind, inputs, outputs, self._rounded.get(inputs[0]), attributes))

    def _rounding(
        self,
        kind: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        encoding: Encoding | None,
        attributes: Mapping[str, object],
    ) -> list[str]:
        if encoding is None:
            self._node(kind, inputs, outputs, **attributes)
            return [*outputs]
        self._node(kind, inputs, [f"{output}.exact" for output in outputs], **attributes)
        for output in outputs:
            self._node("QuantizeLinear", [f"{output}.exact", *self._parameters(encoding)], [output])
        return [self._dequantize(output, encoding) for output in outputs]

    # Parts of a transformer

    def _layer(self, layer: int, hidden: str) -> str:
        arch, prefix = self._arch, f"blk.{layer}"
        x = self._norm(f"{prefix}.attn_norm.weight", hidden, f"{prefix}.attn.in")
        attention = self._attention(layer, x)
        if arch.post_norms:
            attention = self._norm(f"{prefix}.post_attention_norm.weight", attention, f"{prefix}.attn.post")
        hidden = self._op("Add", [hidden, attention], f"{prefix}.stream")
        x = self._norm(f"{prefix}.ffn_norm.weight", hidden, f"{prefix}.ffn.in")
        mlp = self._mlp(prefix, x)
        if arch.post_norms:
            mlp = self._norm(f"{prefix}.post_ffw_norm.weight", mlp, f"{prefix}.ffn.post")
        return self._op("Add", [hidden, mlp], stream_name(layer + 1))

    def _norm(self, name: str, x: str, out: str) -> str:
        inputs = [x, self._vector(name)]
        return self._op("RMSNormalization", inputs, out, axis=-1, epsilon=self._arch.norm_eps)

    def _linear(self, name: str, x: str, cols: int, rows: int) -> str:
        return self._product(f"{name}.weight", x, f"{name}.out", cols, rows)

    def _product(self, name: str, x: str, out: str, cols: int, rows: int) -> str:
        """Multiply x [1, W, cols] by a matrix of the model."""
        if not self._convolve:
            return self._op("MatMul", [x, self._matrix(name)], out)
        # [1, W, cols] -> [1, cols, 1, W]: tokens are positions, what each consists of are channels.
        image = self._shape(f"image.{cols}", [1, 1, self._width, cols])
        [x] = self._move("Reshape", [x, image], f"{out}.row")
        [x] = self._move("Transpose", [x], f"{out}.image", perm=[0, 3, 1, 2])
        y = self._op("Conv", [x, self._matrix(name)], f"{out}.convolved", like=out)
        [y] = self._move("Transpose", [y], f"{out}.tokens", perm=[0, 2, 3, 1])
        flat = self._shape(f"flat.{rows}", [1, self._width, rows])
        return self._move("Reshape", [y, flat], out)[0]

    def _attention(self, layer: int, x: str) -> str:
        arch, prefix, width = self._arch, f"blk.{layer}", self._width
        local = ".local" if layer in arch.sliding_layers else ""
        own_rotary = local if arch.rope_theta_local is not None else ""
        keys, values = key_name(layer), value_name(arch, layer)
        query = self._rotated(f"{prefix}.q", self._heads(layer, "q", x, arch.heads), own_rotary)
        key = self._rotated(f"{prefix}.k", self._heads(layer, "k", x, arch.kv_heads), own_rotary)
        new_value = self._heads(layer, "v", x, arch.kv_heads, self._inner(f"new_value.{layer}", values))
        groups = arch.heads // arch.kv_heads
        stacked = self._shape("stacked", [1, arch.kv_heads, groups * width, arch.head_dim])
        [query] = self._move("Reshape", [query, stacked], f"{prefix}.q.stacked")
        [new_key] = self._move("Transpose", [key], self._inner(f"new_key.{layer}", keys), perm=[0, 1, 3, 2])
        self._output(f"new_key.{layer}", [1, arch.kv_heads, arch.head_dim, width], like=keys, inner=new_key)
        self._output(
            f"new_value.{layer}", [1, arch.kv_heads, width, arch.head_dim], like=values, inner=new_value
        )
        past_key = self._input(
            f"past_key.{layer}", [1, arch.kv_heads, arch.head_dim, self._context], like=keys
        )
        past_value = self._input(
            f"past_value.{layer}", [1, arch.kv_heads, self._context, arch.head_dim], like=values
        )
        if keys in self._halves:
            new_key = self._op("Cast", [f"new_key.{layer}"], f"{prefix}.k.cached", to=TensorProto.FLOAT)
        if values in self._halves:
            new_value = self._op("Cast", [f"new_value.{layer}"], f"{prefix}.v.cached", to=TensorProto.FLOAT)
        # Old and new keys stay apart, as joining them would copy the whole cache in every layer.
        scores = f"{prefix}.scores"
        past = self._op("MatMul", [query, past_key], f"{scores}.past", like=scores)
        new = self._op("MatMul", [query, new_key], f"{scores}.new", like=scores)
        joined = self._op("Concat", [past, new], scores, axis=-1)
        mask = self._input(f"mask{local}", [1, 1, groups * width, self._context + width], like="mask")
        masked = self._op("Add", [joined, mask], f"{scores}.masked")
        weights = self._op("Softmax", [masked], f"{prefix}.attention", axis=-1)
        sizes = self._shape("past_and_new", [self._context, width])
        old, own = self._move(
            "Split", [weights, sizes], f"{prefix}.attention.past", f"{prefix}.attention.new", axis=-1
        )
        found = [
            self._op("MatMul", [old, past_value], f"{prefix}.found.past"),
            self._op("MatMul", [own, new_value], f"{prefix}.found.new"),
        ]
        out = self._op("Add", found, f"{prefix}.found")
        apart = self._shape("heads", [1, arch.heads, width, arch.head_dim])
        [out] = self._move("Reshape", [out, apart], f"{prefix}.found.heads")
        [out] = self._move("Transpose", [out], f"{prefix}.found.tokens", perm=[0, 2, 1, 3])
        together = self._shape("tokens", [1, width, arch.heads * arch.head_dim])
        [out] = self._move("Reshape", [out, together], f"{prefix}.found.joined")
        return self._linear(f"{prefix}.attn_output", out, arch.heads * arch.head_dim, arch.hidden)

    def _heads(self, layer: int, which: str, x: str, heads: int, out: str = "") -> str:
        """Project to heads [1, heads, W, head_dim], with bias and norm where the architecture has them."""
        arch, prefix = self._arch, f"blk.{layer}"
        projected = self._linear(f"{prefix}.attn_{which}", x, arch.hidden, heads * arch.head_dim)
        if arch.attention_bias:
            bias = self._vector(f"{prefix}.attn_{which}.bias")
            projected = self._op("Add", [projected, bias], f"{prefix}.{which}.biased")
        if arch.qk_norm and which != "v":
            # One head a row: with two axes of rows, HTP's compiler gets the norm wrong from 16 tokens on.
            rows = self._shape(f"{heads}.rows", [1, self._width * heads, arch.head_dim])
            [projected] = self._move("Reshape", [projected, rows], f"{prefix}.{which}.rows")
            projected = self._norm(
                f"{prefix}.attn_{which}_norm.weight", projected, f"{prefix}.{which}.normed"
            )
        apart = self._shape(f"{heads}.heads", [1, self._width, heads, arch.head_dim])
        [split] = self._move("Reshape", [projected, apart], f"{prefix}.{which}.split")
        return self._move("Transpose", [split], out or f"{prefix}.{which}", perm=[0, 2, 1, 3])[0]

    def _rotated(self, name: str, x: str, local: str) -> str:
        """Turn pairs (x[i], x[i + head_dim / 2]) by the angles of their positions."""
        half = self._arch.head_dim // 2
        shape = [1, 1, self._width, self._arch.head_dim]
        cos, sin = (self._input(f"{port}{local}", shape, like="rotary") for port in ("cos", "sin"))
        halves = self._shape("halves", [half, half])
        first, second = self._move("Split", [x, halves], f"{name}.first", f"{name}.second", axis=-1)
        [swapped] = self._move("Concat", [second, first], f"{name}.swapped", axis=-1)
        # No part of a rotated pair is larger than the pair is long, so all three may be rounded alike.
        turned = self._op("Mul", [swapped, sin], f"{name}.turned")
        kept = self._op("Mul", [x, cos], f"{name}.kept")
        return self._op("Add", [kept, turned], f"{name}.rotated")

    def _mlp(self, prefix: str, x: str) -> str:
        hidden, inner = self._arch.hidden, self._arch.intermediate
        gate, up = (self._linear(f"{prefix}.ffn_{p}", x, hidden, inner) for p in ("gate", "up"))
        if self._arch.activation == "silu":
            share = self._op("Sigmoid", [gate], f"{prefix}.sigmoid")
            active = self._op("Mul", [gate, share], f"{prefix}.act")
        else:
            active = self._op("Gelu", [gate], f"{prefix}.act", approximate="tanh")
        product = self._op("Mul", [active, up], f"{prefix}.glu")
        return self._linear(f"{prefix}.ffn_down", product, inner, hidden)


def head_name(arch: Architecture) -> str:
    """Name the matrix that makes logits of the final hidden states."""
    return "token_embd.weight" if arch.tied_embeddings else "output.weight"


def stream_name(layer: int) -> str:
    """Name the residual stream before a layer, or behind the last one."""
    return f"stream.{layer}"


def key_name(layer: int) -> str:
    """Name the tensor that a layer's cached keys are."""
    return f"blk.{layer}.k.rotated"


def value_name(arch: Architecture, layer: int) -> str:
    """Name the tensor that a layer's cached values are."""
    return f"blk.{layer}.v.biased" if arch.attention_bias else f"blk.{layer}.attn_v.out"


def cache_names(arch: Architecture) -> set[str]:
    """Name the tensors of all layers that are cached."""
    return {name for n in range(arch.layers) for name in (key_name(n), value_name(arch, n))}


def _kind(encoding: Encoding | None) -> int:
    if encoding is None:
        return int(TensorProto.FLOAT)
    return int(TensorProto.UINT8 if encoding.bits == 8 else TensorProto.UINT16)
