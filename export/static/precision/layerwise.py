"""Run a model layer by layer over texts, so that one layer can be replaced by a rounded one.

Knows graphs and texts as token ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from edgetts.architecture import Architecture
from edgetts.export.check import Divergence
from edgetts.export.static.encoding import Encodings
from edgetts.export.static.graph import StaticGraph, stream_name
from edgetts.export.static.tensors import InlineTensors, Load, StoredTensors, WeightForm
from edgetts.export.weights import WeightsFile
from edgetts.runtimes.npu.positions import Angles

Floats = NDArray[np.float32]
_HIDDEN = -30000.0
# A cache of one position that nobody sees: a window begins a text.
_CONTEXT = 1
_NOTHING: Encodings = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Window:
    """A text of as many tokens as every other, and what the model in float32 makes of it.

    streams: the residual stream [1, T, hidden] before every layer and behind the last. logits [T, vocab].
    """

    tokens: NDArray[np.int64]
    streams: list[Floats]
    logits: Floats


class Layerwise:
    """Every layer, and the head, as a float32 session of its own; use it in a with statement.

    scratch: a directory for the weights, which sessions map. load: as `folded` returns it.
    """

    def __init__(self, arch: Architecture, load: Load, width: int, scratch: Path) -> None:
        self.arch, self.load, self._width = arch, load, width
        self._scratch = scratch
        self._sessions: list[ort.InferenceSession] = []
        self._tensors = InlineTensors(load, "float", {})
        self._feeds: dict[str, Floats] = {}
        angles = Angles.of(arch, width)
        self._feeds |= {name: table[None, None] for name, table in angles.tables.items()}
        for local, window in (("", None), (".local", arch.sliding_window)):
            self._feeds[f"mask{local}"] = _mask(width, arch.heads // arch.kv_heads, window)

    def __enter__(self) -> Layerwise:
        self._scratch.mkdir(parents=True)
        with WeightsFile(self._scratch) as weights:
            tensors = StoredTensors(weights, self.load, "float", {})
            for layer in range(self.arch.layers + 1):
                model = self._graph(layer, tensors, _NOTHING)
                (self._scratch / f"{layer}.onnx").write_bytes(model.SerializeToString())
        settings = ort.SessionOptions()
        # As they are in the file: packed copies would hold the whole model in memory.
        settings.add_session_config_entry("session.disable_prepacking", "1")
        settings.log_severity_level = 3
        for layer in range(self.arch.layers + 1):
            self._sessions.append(ort.InferenceSession(self._scratch / f"{layer}.onnx", settings))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sessions.clear()

    def window(self, tokens: Sequence[int]) -> Window:
        """Run a text in float32."""
        ids = np.asarray(tokens, np.int64)
        rows = {token: self.load_row(token) for token in set(tokens)}
        streams = [np.stack([rows[token] for token in tokens])[None]]
        for layer in range(self.arch.layers):
            streams.append(self._run(self._sessions[layer], layer, streams[-1]))
        logits = self._run(self._sessions[-1], self.arch.layers, streams[-1])[0]
        return Window(ids, streams, logits)

    def load_row(self, token: int) -> Floats:
        """Return the row of the embedding table of one token, scaled."""
        row: Floats = self._table()[token]
        return row

    def _table(self) -> Floats:
        if "table" not in self._feeds:
            table = self.load("token_embd.weight")
            scale = self.arch.embedding_scale
            self._feeds["table"] = table if scale is None else table * np.float32(scale)
        return self._feeds["table"]

    def observed(self, layer: int, names: Sequence[str], stream: Floats) -> dict[str, Floats]:
        """Return what tensors of a layer hold while a stream [1, T, hidden] goes through it in float32."""
        graph = onnx.load(str(self._scratch / f"{layer}.onnx"), load_external_data=False)
        have = {port.name for port in graph.graph.output}
        for name in names:
            if name not in have:
                graph.graph.output.append(
                    onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
                )
        path = self._scratch / f"{layer}.observed.onnx"
        path.write_bytes(graph.SerializeToString())
        session = ort.InferenceSession(path)
        return dict(zip(names, session.run([*names], self._inputs(session, layer, stream)), strict=True))

    def rounded(
        self,
        layer: int,
        forms: Mapping[str, WeightForm],
        encodings: Encodings,
        streams: Sequence[Floats],
    ) -> list[Floats]:
        """Bring streams [1, T, hidden] through a layer, or the head, some of whose matrices are rounded."""
        graph = self._graph(layer, replace(self._tensors, forms=forms), encodings)
        session = ort.InferenceSession(graph.SerializeToString())
        found = [self._run(session, layer, stream) for stream in streams]
        encoding = encodings.get("logits") if layer == self.arch.layers else None
        return found if encoding is None else [encoding.values(codes) for codes in found]

    def _run(self, session: ort.InferenceSession, layer: int, stream: Floats) -> Floats:
        """Bring a stream through one layer, or the head: [1, T, hidden] or [1, T, vocab]."""
        out = stream_name(layer + 1) if layer < self.arch.layers else "logits"
        result: Floats = session.run([out], self._inputs(session, layer, stream))[0]
        return result

    def finish(self, layer: int, stream: Floats) -> Floats:
        """Bring a stream through `layer` and all that follow in float32; return logits [T, vocab]."""
        for at in range(layer, self.arch.layers):
            stream = self._run(self._sessions[at], at, stream)
        return self._run(self._sessions[-1], self.arch.layers, stream)[0]

    def divergence(self, window: Window, logits: Floats) -> Divergence:
        """Compare logits [T, vocab] with those of the model in float32."""
        return Divergence.between(window.logits, logits, window.tokens[1:])

    def _graph(
        self, layer: int, tensors: StoredTensors | InlineTensors, encodings: Encodings
    ) -> onnx.ModelProto:
        graph = StaticGraph(self.arch, tensors, width=self._width, context=_CONTEXT, encodings=encodings)
        return graph.layers(layer, layer + 1) if layer < self.arch.layers else graph.head()

    def _inputs(self, session: ort.InferenceSession, layer: int, stream: Floats) -> dict[str, NDArray[Any]]:
        feed: dict[str, NDArray[Any]] = {stream_name(layer): stream}
        for port in session.get_inputs():
            if port.name in self._feeds:
                feed[port.name] = self._feeds[port.name]
            elif port.name.startswith("past_"):
                kind = np.uint16 if port.type == "tensor(uint16)" else np.float32
                feed[port.name] = np.zeros(port.shape, kind)
        return feed


def _mask(width: int, groups: int, window: int | None) -> Floats:
    """Return the port `mask` of a text's first `width` tokens, behind a cache that holds nothing."""
    at = np.arange(width)
    seen = at <= at[:, None]
    if window is not None:
        seen &= at > at[:, None] - window
    mask = np.full((width, _CONTEXT + width), _HIDDEN, np.float32)
    mask[:, _CONTEXT:][seen] = 0
    return np.tile(mask, (groups, 1))[None, None]
