"""Build the ONNX graph of a run of layers from fused operators.

Knows an architecture and how its tensors were stored; knows nothing of checkpoints. Operators of
the `com.microsoft` domain are ONNX Runtime's contrib operators.

A segment computes layers [start, stop). Inputs: `input_ids` int64 [B, S] in the first, else
`hidden` float [B, S, hidden]; `seqlens` int32 [B], the last position of each row; `total_length`
int32 [1], the longest row after the pass; `past_key.N`, `past_value.N` float [B, kv_heads, T,
head_dim], which the caller binds to the `present` outputs as well, so that the cache is written in
place. The last segment takes `positions` int64 [n], indices into the B*S tokens, and returns
`logits` float [n, vocab] and `features` float [n, hidden], the normalised hidden states that the
logits are made of; the others return `hidden`.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import TensorProto, helper

from edgetts.architecture import Architecture
from edgetts.export.weights import WeightsFile

_CONTRIB = "com.microsoft"
# MatMulNBits rounds activations to 8 bits in blocks, the fast path on CPU for a few tokens, or takes
# them in float32, which is exact, and faster from about a hundred tokens on; only 4 bits have both.
_INT8_ACTIVATIONS = 4
_FLOAT_ACTIVATIONS = 1
_OPSET = 18
_IR_VERSION = 9


class SegmentGraph:
    """Collect the nodes of one segment; `model()` closes it.

    `cuts`: where other graphs of the model end. `exact`: take activations in float32 where there is a
    kernel for it, which long prompts are read faster with.
    """

    def __init__(
        self,
        arch: Architecture,
        weights: WeightsFile,
        start: int,
        stop: int,
        cuts: Sequence[int] = (),
        *,
        exact: bool = False,
    ) -> None:
        self._exact = exact
        self._arch = arch
        self._weights = weights
        self._start, self._stop = start, stop
        self._cuts = frozenset(cuts)
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: dict[str, onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def model(self) -> onnx.ModelProto:
        """Build the segment; its tensors refer to the weights file."""
        arch = self._arch
        first, last = self._start == 0, self._stop == arch.layers
        if first:
            self._input("input_ids", TensorProto.INT64, ["batch", "sequence"])
            hidden = self._embedding("input_ids")
        else:
            hidden = self._input("hidden", TensorProto.FLOAT, ["batch", "sequence", arch.hidden])
        self._input("seqlens", TensorProto.INT32, ["batch"])
        self._input("total_length", TensorProto.INT32, [1])
        delta: str | None = None
        for layer in range(self._start, self._stop):
            if layer in self._cuts and delta is not None:
                # As at the end of a segment: the fused sum and norm round otherwise.
                hidden, delta = self._op("Add", [hidden, delta], f"cut.{layer}"), None
            hidden, delta = self._layer(layer, hidden, delta)
        if delta is None:
            raise ValueError("a segment needs at least one layer")
        if last:
            self._head(hidden, delta)
        else:
            self._op("Add", [hidden, delta], "hidden.out")
            self._outputs.append(
                helper.make_tensor_value_info(
                    "hidden.out", TensorProto.FLOAT, ["batch", "sequence", arch.hidden]
                )
            )
        graph = helper.make_graph(
            self._nodes,
            f"layers_{self._start}_{self._stop}",
            self._inputs,
            self._outputs,
            list(self._initializers.values()),
        )
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(_CONTRIB, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="edgetts")

    # Inputs, constants and single operators

    def _input(self, name: str, kind: int, shape: Sequence[int | str]) -> str:
        self._inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def _stored(self, name: str, shape: Sequence[int] | None = None) -> str:
        self._initializers.setdefault(name, self._weights.reference(name, shape))
        return name

    def _constant(self, name: str, kind: int, shape: Sequence[int], values: Sequence[float]) -> str:
        self._initializers.setdefault(name, helper.make_tensor(name, kind, shape, values))
        return name

    def _op(
        self, kind: str, inputs: Sequence[str], output: str, *, domain: str = "", **attributes: object
    ) -> str:
        return self._multi(kind, inputs, [output], domain=domain, **attributes)[0]

    def _multi(
        self,
        kind: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        *,
        domain: str = "",
        **attributes: object,
    ) -> Sequence[str]:
        self._nodes.append(
            helper.make_node(kind, list(inputs), list(outputs), name=outputs[0], domain=domain, **attributes)
        )
        return outputs

    # Parts of a transformer

    def _embedding(self, ids: str) -> str:
        arch = self._arch
        name = "token_embd.weight"
        form = self._weights.linears[name]
        if form.bits is None:
            rows = self._op("Gather", [self._stored(name), ids], "embedding", axis=0)
        else:
            width = form.cols * form.bits // 8
            # The head's codes, seen as a table: the same bytes, another shape.
            table = f"{name}.table"
            proto = self._weights.reference(f"{name}.codes", (form.rows, width))
            proto.name = table
            self._initializers[table] = proto
            inputs = [table, ids, self._stored(f"{name}.scales")]
            if form.zeros:
                inputs.append(self._stored(f"{name}.zeros"))
            rows = self._op(
                "GatherBlockQuantized",
                inputs,
                "embedding",
                domain=_CONTRIB,
                bits=form.bits,
                block_size=form.block,
                gather_axis=0,
                quantize_axis=1,
            )
            if form.offset:
                rows = self._embedding_offsets(name, ids, rows)
        if arch.embedding_scale is not None:
            scale = self._constant("embedding.scale", TensorProto.FLOAT, [1], [arch.embedding_scale])
            rows = self._op("Mul", [rows, scale], "embedding.scaled")
        return rows

    def _embedding_offsets(self, name: str, ids: str, rows: str) -> str:
        form = self._weights.linears[name]
        blocks = form.cols // form.block
        offsets = self._op("Gather", [self._stored(f"{name}.offsets"), ids], "embedding.offsets", axis=1)
        # [blocks, B, S] -> [B, S, blocks, 1], added to [B, S, blocks, block].
        moved = self._op("Transpose", [offsets], "embedding.offsets.last", perm=[1, 2, 0])
        axis = self._constant("axis.last", TensorProto.INT64, [1], [-1])
        column = self._op("Unsqueeze", [moved, axis], "embedding.offsets.column")
        shape = self._constant("embedding.blocks", TensorProto.INT64, [4], [0, 0, blocks, form.block])
        split = self._op("Reshape", [rows, shape], "embedding.split")
        share = self._constant("embedding.share", TensorProto.FLOAT, [1], [1 / form.block])
        added = self._op(
            "Add", [split, self._op("Mul", [column, share], "embedding.offset")], "embedding.added"
        )
        flat = self._constant("embedding.flat", TensorProto.INT64, [3], [0, 0, form.cols])
        return self._op("Reshape", [added, flat], "embedding.whole")

    def _linear(self, name: str, x: str, block_means: dict[int, str] | None = None) -> str:
        """Multiply by a stored matrix. `block_means` shares means of x among matrices that read it."""
        form = self._weights.linears[name]
        out = f"{name}.out"
        if form.bits is None:
            product = self._op("FusedMatMul", [x, self._stored(name)], out, domain=_CONTRIB, transB=1)
            if form.bias:
                product = self._op("Add", [product, self._stored(f"{name}.bias")], f"{out}.biased")
            return product
        inputs = [x, self._stored(f"{name}.codes"), self._stored(f"{name}.scales")]
        if form.zeros or form.bias:
            inputs.append(self._stored(f"{name}.zeros") if form.zeros else "")
        if form.bias:
            inputs += ["", self._stored(f"{name}.bias")]
        product = self._op(
            "MatMulNBits",
            inputs,
            out,
            domain=_CONTRIB,
            K=form.cols,
            N=form.rows,
            bits=form.bits,
            block_size=form.block,
            accuracy_level=_FLOAT_ACTIVATIONS if self._exact and form.bits == 4 else _INT8_ACTIVATIONS,
        )
        if form.offset:
            # W = s(q - z) + o per block, so Wx = MatMulNBits(x) + (block o) . (mean of x over each block).
            means = (block_means or {}).get(form.block) or self._block_means(x, form.block)
            if block_means is not None:
                block_means[form.block] = means
            small = self._op("MatMul", [means, self._stored(f"{name}.offsets")], f"{out}.offset")
            product = self._op("Add", [product, small], f"{out}.whole")
        return product

    def _block_means(self, x: str, block: int) -> str:
        # One operator where Reshape and ReduceSum would be two: small models feel each. The offsets
        # are stored as multiples of the mean.
        return self._op("AveragePool", [x], f"{x}.means.{block}", kernel_shape=[block], strides=[block])

    def _norm(self, name: str, x: str, out: str) -> str:
        return self._op(
            "SimplifiedLayerNormalization",
            [x, self._stored(name)],
            out,
            axis=-1,
            epsilon=self._arch.norm_eps,
            stash_type=1,
        )

    def _add_norm(self, name: str, hidden: str, delta: str | None, out: str) -> tuple[str, str]:
        """Add what the last block computed to the residual stream and normalise; return (normed, stream)."""
        if delta is None:
            return self._norm(name, hidden, out), hidden
        stream = f"{out}.stream"
        self._multi(
            "SkipSimplifiedLayerNormalization",
            [hidden, delta, self._stored(name)],
            [out, "", "", stream],
            domain=_CONTRIB,
            epsilon=self._arch.norm_eps,
        )
        return out, stream

    def _layer(self, layer: int, hidden: str, delta: str | None) -> tuple[str, str]:
        prefix = f"blk.{layer}"
        x, hidden = self._add_norm(f"{prefix}.attn_norm.weight", hidden, delta, f"{prefix}.attn.in")
        attention = self._attention(layer, x)
        if self._arch.post_norms:
            attention = self._norm(f"{prefix}.post_attention_norm.weight", attention, f"{prefix}.attn.post")
        x, hidden = self._add_norm(f"{prefix}.ffn_norm.weight", hidden, attention, f"{prefix}.ffn.in")
        mlp = self._mlp(prefix, x)
        if self._arch.post_norms:
            mlp = self._norm(f"{prefix}.post_ffw_norm.weight", mlp, f"{prefix}.ffn.post")
        return hidden, mlp

    def _attention(self, layer: int, x: str) -> str:
        arch, prefix = self._arch, f"blk.{layer}"
        fused = f"{prefix}.attn_qkv"
        sizes = [arch.heads * arch.head_dim, arch.kv_heads * arch.head_dim, arch.kv_heads * arch.head_dim]
        qkv: Sequence[str]
        if fused in self._weights.linears:
            qkv = [self._linear(fused, x), "", ""]
            if arch.qk_norm:
                split = self._constant("qkv.sizes", TensorProto.INT64, [3], sizes)
                qkv = self._multi("Split", [qkv[0], split], [f"{prefix}.{p}" for p in "qkv"], axis=-1)
        else:
            means: dict[int, str] = {}
            qkv = [self._linear(f"{prefix}.attn_{p}", x, means) for p in "qkv"]
        if arch.qk_norm:
            q = self._head_norm(f"{prefix}.attn_q_norm.weight", qkv[0], arch.heads)
            k = self._head_norm(f"{prefix}.attn_k_norm.weight", qkv[1], arch.kv_heads)
            qkv = [q, k, qkv[2]]
        cache: list[int | str] = ["batch", arch.kv_heads, "capacity", arch.head_dim]
        past = [self._input(f"past_{p}.{layer}", TensorProto.FLOAT, cache) for p in ("key", "value")]
        sliding = layer in arch.sliding_layers
        local = ".local" if sliding and arch.rope_theta_local is not None else ""
        present = [f"present_{p}.{layer}" for p in ("key", "value")]
        out = f"{prefix}.attn.out"
        window = {"local_window_size": arch.sliding_window} if sliding else {}
        self._multi(
            "GroupQueryAttention",
            [
                *qkv,
                *past,
                "seqlens",
                "total_length",
                self._stored(f"rope_cos{local}"),
                self._stored(f"rope_sin{local}"),
            ],
            [out, *present],
            domain=_CONTRIB,
            num_heads=arch.heads,
            kv_num_heads=arch.kv_heads,
            scale=arch.scale,
            do_rotary=1,
            rotary_interleaved=0,
            **window,
        )
        self._outputs += [helper.make_tensor_value_info(p, TensorProto.FLOAT, cache) for p in present]
        return self._linear(f"{prefix}.attn_output", out)

    def _head_norm(self, name: str, x: str, heads: int) -> str:
        head_dim = self._arch.head_dim
        apart = self._constant(f"heads.{heads}", TensorProto.INT64, [4], [0, 0, heads, head_dim])
        together = self._constant(f"heads.{heads}.flat", TensorProto.INT64, [3], [0, 0, heads * head_dim])
        split = self._op("Reshape", [x, apart], f"{name}.split")
        return self._op("Reshape", [self._norm(name, split, f"{name}.normed"), together], f"{name}.out")

    def _mlp(self, prefix: str, x: str) -> str:
        fused = f"{prefix}.ffn_gate_up"
        gate: str
        up: str
        if fused in self._weights.linears:
            both = self._linear(fused, x)
            half = self._arch.intermediate
            split = self._constant("gate_up.sizes", TensorProto.INT64, [2], [half, half])
            gate, up = self._multi("Split", [both, split], [f"{prefix}.gate", f"{prefix}.up"], axis=-1)
        else:
            means: dict[int, str] = {}
            gate, up = (self._linear(f"{prefix}.ffn_{p}", x, means) for p in ("gate", "up"))
        if self._arch.activation == "silu":
            active = self._op("QuickGelu", [gate], f"{prefix}.act", domain=_CONTRIB, alpha=1.0)
        else:
            active = self._op("FastGelu", [gate], f"{prefix}.act", domain=_CONTRIB)
        product = self._op("Mul", [active, up], f"{prefix}.glu")
        return self._linear(f"{prefix}.ffn_down", product)

    def _head(self, hidden: str, delta: str) -> None:
        arch = self._arch
        positions = self._input("positions", TensorProto.INT64, ["selected"])
        x, _ = self._add_norm("output_norm.weight", hidden, delta, "final")
        # Only the positions asked for go through the head, a quarter of a small model's weights.
        # One token a row: where none is chosen, only the first axis may be empty for AveragePool.
        flat = self._constant("tokens", TensorProto.INT64, [3], [-1, 1, arch.hidden])
        tokens = self._op("Reshape", [x, flat], "final.tokens")
        chosen = self._op("Gather", [tokens, positions], "final.chosen", axis=0)
        # What draft heads read: it is there anyway, so that returning it costs nothing.
        row = self._constant("features.shape", TensorProto.INT64, [2], [-1, arch.hidden])
        self._op("Reshape", [chosen, row], "features")
        self._outputs.append(
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["selected", arch.hidden])
        )
        head = "token_embd.weight" if arch.tied_embeddings else "output.weight"
        rows = self._constant("logits.shape", TensorProto.INT64, [2], [-1, arch.vocab])
        self._op("Reshape", [self._linear(head, chosen), rows], "logits")
        self._outputs.append(
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["selected", arch.vocab])
        )
