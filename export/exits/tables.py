"""Read rows of a model's embedding and head, wherever they are: in a finished bundle, or in what one is made from."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from edgetts.bundle import MODEL
from edgetts.errors import CorruptFile

Floats = NDArray[np.float32]
_CHUNK = 1024
_FIRST_NORM = "blk.0.attn.in"


class Tables(Protocol):
    """A model's embedding and head, as guessers need them."""

    @property
    def embedding_output(self) -> str:
        """Name what the nodes of the embedding give out."""
        ...

    def embedding_nodes(self) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
        """Return nodes from `input_ids` to rows of the embedding, and their initializers, which lie in the bundle."""
        ...

    def embeddings(self, ids: NDArray[np.int64]) -> Floats:
        """Return rows [n, hidden] of the embedding table."""
        ...

    def head_rows(self, ids: NDArray[np.int64], hidden: int) -> Floats:
        """Return rows [n, hidden] of the head."""
        ...


class GraphTables:
    """The parts of a fused bundle's graph before the first layer and behind the last norm, which are run."""

    def __init__(self, bundle: Path) -> None:
        self._bundle = bundle
        self._model = onnx.load(str(bundle / MODEL), load_external_data=False)
        first = [node for node in self._model.graph.node if _FIRST_NORM in node.output]
        if len(first) != 1:
            raise CorruptFile(f"The graph of {bundle.name} has no first layer that could be found.")
        self.embedding_output = first[0].input[0]

    def embedding_nodes(self) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
        return self._part([self.embedding_output], ())

    def embeddings(self, ids: NDArray[np.int64]) -> Floats:
        nodes, initializers = self.embedding_nodes()
        ports = [onnx.helper.make_tensor_value_info("input_ids", onnx.TensorProto.INT64, ["b", "s"])]
        out = onnx.helper.make_tensor_value_info(
            self.embedding_output, onnx.TensorProto.FLOAT, ["b", "s", "h"]
        )
        session = self._session(nodes, initializers, ports, out)
        parts = [
            session.run(None, {"input_ids": ids[None, at : at + _CHUNK]})[0][0]
            for at in range(0, len(ids), _CHUNK)
        ]
        return np.concatenate(parts)

    def head_rows(self, ids: NDArray[np.int64], hidden: int) -> Floats:
        """Return rows [n, hidden] of the head: its answers to unit vectors, which rounding leaves exact."""
        nodes, initializers = self._part(["logits"], ("final.chosen",))
        shape = ["n", 1, hidden]
        ports = [onnx.helper.make_tensor_value_info("final.chosen", onnx.TensorProto.FLOAT, shape)]
        out = onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["n", "v"])
        session = self._session(nodes, initializers, ports, out)
        rows = np.empty((hidden, len(ids)), np.float32)
        for at in range(0, hidden, 32):
            unit = np.zeros((min(32, hidden - at), 1, hidden), np.float32)
            unit[np.arange(len(unit)), 0, at + np.arange(len(unit))] = 1.0
            rows[at : at + len(unit)] = session.run(None, {"final.chosen": unit})[0][:, ids]
        return np.ascontiguousarray(rows.T)

    def _session(
        self,
        nodes: list[onnx.NodeProto],
        initializers: list[onnx.TensorProto],
        inputs: list[onnx.ValueInfoProto],
        output: onnx.ValueInfoProto,
    ) -> ort.InferenceSession:
        graph = onnx.helper.make_graph(nodes, "part", inputs, [output], initializers)
        model = onnx.helper.make_model(
            graph, opset_imports=self._model.opset_import, ir_version=self._model.ir_version
        )
        settings = ort.SessionOptions()
        settings.log_severity_level = 3
        settings.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(self._bundle.resolve())
        )
        return ort.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])

    def _part(
        self, outputs: Iterable[str], inputs: Iterable[str]
    ) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
        """Return what computes `outputs` from `inputs`, in the graph's order."""
        needed, given = set(outputs), set(inputs)
        nodes: list[onnx.NodeProto] = []
        for node in reversed(self._model.graph.node):
            if needed & set(node.output):
                nodes.append(node)
                needed |= set(node.input) - given
        return nodes[::-1], [t for t in self._model.graph.initializer if t.name in needed]
