"""Run a model layer by layer over texts, so that one layer can be replaced by a rounded one.

Knows graphs and texts as token ids.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edgetts.architecture import Architecture
from edgetts.export.check import Divergence
from edgetts.export.static.encoding import Encodings
from edgetts.export.static.graph import StaticGraph, stream_name
from edgetts.export.static.tensors import Load, StoredTensors, WeightForm
from edgetts.export.weights import WeightsFile
from edgetts.runtimes.npu.positions import Angles

Floats = NDArray[np.float32]
Step = Callable[[Floats], Floats]
"""Bring a stream [1, T, hidden] through one layer, or through the head to logits [1, T, vocab]."""

_HIDDEN = -30000.0
# A cache of one position that nobody sees: a window begins a text.
_CONTEXT = 1
# Rows of logits that are compared at once: a row of a large vocabulary is most of a megabyte, several times over.
_ROWS = 32
_NOTHING: Encodings = MappingProxyType({})
_HELD = {"tensor(uint16)": np.uint16, "tensor(float16)": np.float16}


@dataclass(frozen=True, slots=True)
class Window:
    """A text of as many tokens as every other, and what the model in float32 makes of it.

    rows: of the embedding table, as the bundle holds it [1, T, hidden]. streams: the residual stream [1, T, hidden]
    before every layer and behind the last. logits [T, vocab].
    """

    tokens: NDArray[np.int64]
    rows: Floats
    streams: list[Floats]
    logits: Floats


class Layerwise:
    """Every layer, and the head, as a session of its own; use it in a with statement.

    load: as `folded` returns it. embed: rows [n, hidden] of the embedding table by token, times its scale. scratch: a
    directory for the weights in float32 and in each of `forms`, which sessions map. halves: of graphs whose matrices
    are rounded, see StaticGraph; their embedding table is float16. Products are MatMul whatever the target wants, as
    the CPU multiplies so fastest with weights that it must not arrange to its liking.
    """

    def __init__(
        self,
        arch: Architecture,
        load: Load,
        embed: Callable[[Sequence[int]], Floats],
        width: int,
        scratch: Path,
        *,
        forms: Sequence[WeightForm] = (),
        halves: Collection[str] = (),
        progress: Callable[[float], None] = lambda share: None,
    ) -> None:
        self.arch, self._load, self._embed, self._width = arch, load, embed, width
        self._scratch, self._forms, self._progress = scratch, forms, progress
        self._halves = halves
        self._sessions: list[ort.InferenceSession] = []
        self._feeds = _feeds(arch, width)

    def __enter__(self) -> Layerwise:
        self._scratch.mkdir(parents=True)
        layers = range(self.arch.layers + 1)
        with WeightsFile(self._scratch) as weights:
            self._tensors = StoredTensors(weights, self._load, "float", {})
            for layer in layers:
                for form in ("float", *self._forms):
                    self._build(layer, replace(self._tensors, form=form))
                self._progress((layer + 1) / len(layers))
        self._open_all()
        return self

    def narrower(self, width: int) -> Layerwise:
        """Return the same model for texts of another width; it ends where this one does."""
        other = copy(self)
        other._width, other._feeds = width, _feeds(self.arch, width)
        other._open_all()
        return other

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sessions.clear()

    def window(self, tokens: Sequence[int]) -> Window:
        """Run a text in float32."""
        rows = self._rows(tokens)
        streams = [rows]
        for layer in range(self.arch.layers):
            streams.append(self._run(self._sessions[layer], layer, streams[-1]))
        logits = self._run(self._sessions[-1], self.arch.layers, streams[-1])[0]
        return Window(
            np.asarray(tokens, np.int64), rows.astype(np.float16).astype(np.float32), streams, logits
        )

    def ranges(
        self, texts: Sequence[Sequence[int]], progress: Callable[[float], None] = lambda share: None
    ) -> dict[str, tuple[float, float]]:
        """Return the smallest and largest value of all that is computed in float32, by the name of its encoding.

        Zero is in all ranges. Not of scores that the mask was added to, nor of weights and angles.
        """
        found = {stream_name(0): (0.0, 0.0)}
        streams = [self._rows(tokens) for tokens in texts]
        _widen(found, stream_name(0), *streams)
        for layer in range(self.arch.layers + 1):
            model, computed = self._build(layer, self._tensors)
            names = [name for name in computed if not name.endswith(".masked")]
            have = {port.name for port in model.graph.output}
            model.graph.output.extend(
                helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
                for name in names
                if name not in have
            )
            session, out = self._opened(model), self._out(layer)
            for at, stream in enumerate(streams):
                values = dict(
                    zip(names, session.run(names, self._inputs(session, layer, stream)), strict=True)
                )
                for name, value in values.items():
                    _widen(found, computed[name], value)
                streams[at] = values[out]
            progress((layer + 1) / (self.arch.layers + 1))
        return found

    def rounded(self, layer: int, forms: Mapping[str, WeightForm], encodings: Encodings) -> Step:
        """Return a layer, or the head, with matrices in the forms named and what they read and make encoded."""
        model, _ = self._build(layer, replace(self._tensors, forms=forms), encodings, self._halves)
        session = self._opened(model)
        encoding = encodings.get("logits") if layer == self.arch.layers else None

        def step(stream: Floats) -> Floats:
            found = self._run(session, layer, stream)
            return found if encoding is None else encoding.values(found)

        return step

    def finish(self, layer: int, stream: Floats) -> Floats:
        """Bring a stream through `layer` and all that follow in float32; return logits [T, vocab]."""
        for at in range(layer, self.arch.layers):
            stream = self._run(self._sessions[at], at, stream)
        logits: Floats = self._run(self._sessions[-1], self.arch.layers, stream)[0]
        return logits

    def divergence(self, window: Window, logits: Floats) -> Divergence:
        """Compare logits [T, vocab] with those of the model in float32."""
        total, following = Divergence(), window.tokens[1:]
        for at in range(0, len(logits), _ROWS):
            rows = slice(at, at + _ROWS)
            total += Divergence.between(window.logits[rows], logits[rows], following[rows])
        return total

    def _rows(self, tokens: Sequence[int]) -> Floats:
        return self._embed(tokens)[None]

    def _out(self, layer: int) -> str:
        return stream_name(layer + 1) if layer < self.arch.layers else "logits"

    def _run(self, session: ort.InferenceSession, layer: int, stream: Floats) -> Floats:
        """Bring a stream through one layer, or the head: [1, T, hidden] or [1, T, vocab]."""
        result: Floats = session.run([self._out(layer)], self._inputs(session, layer, stream))[0]
        return result

    def _build(
        self,
        layer: int,
        tensors: StoredTensors,
        encodings: Encodings = _NOTHING,
        halves: Collection[str] = (),
    ) -> tuple[onnx.ModelProto, dict[str, str]]:
        """Return the graph of one layer, or of the head, and what is computed in it."""
        graph = StaticGraph(
            self.arch,
            tensors,
            width=self._width,
            context=_CONTEXT,
            encodings=encodings,
            halves=halves,
        )
        model = graph.layers(layer, layer + 1) if layer < self.arch.layers else graph.head()
        return model, graph.computed

    def _open_all(self) -> None:
        layers = range(self.arch.layers + 1)
        self._sessions = [self._opened(self._build(n, self._tensors)[0], mapped=True) for n in layers]

    def _opened(self, model: onnx.ModelProto, *, mapped: bool = False) -> ort.InferenceSession:
        """Open a graph. mapped: with weights as they are in the file, as packed copies of all would fill the memory."""
        settings = ort.SessionOptions()
        if mapped:
            settings.add_session_config_entry("session.disable_prepacking", "1")
        # Products with 4 bits keep their inputs as they are, which ONNX Runtime would round to 8 on the CPU.
        settings.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
        # Layers are short, and threads that wait in a loop for the next one keep others from their work.
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        settings.log_severity_level = 3
        path = self._scratch / "graph.onnx"
        path.write_bytes(model.SerializeToString())
        return ort.InferenceSession(path, settings)

    def _inputs(self, session: ort.InferenceSession, layer: int, stream: Floats) -> dict[str, NDArray[Any]]:
        feed: dict[str, NDArray[Any]] = {stream_name(layer): stream}
        for port in session.get_inputs():
            if port.name in self._feeds:
                feed[port.name] = self._feeds[port.name]
            elif port.name.startswith("past_"):
                feed[port.name] = np.zeros(port.shape, _HELD.get(port.type, np.float32))
        return feed


def _widen(ranges: dict[str, tuple[float, float]], name: str, *seen: Floats) -> None:
    """Take values into the range of a name, which begins with zero alone; NaN makes it NaN."""
    low, high = ranges.get(name, (0.0, 0.0))
    for values in seen:
        low, high = np.minimum(low, values.min()), np.maximum(high, values.max())
    ranges[name] = (float(low), float(high))


def _feeds(arch: Architecture, width: int) -> dict[str, Floats]:
    """Return what goes in at ports beside the stream and the cache, for the first `width` tokens of a text."""
    feeds = {name: table[None, None] for name, table in Angles.of(arch, width).tables.items()}
    for local, window in (("", None), (".local", arch.sliding_window)):
        feeds[f"mask{local}"] = _mask(width, arch.heads // arch.kv_heads, window)
    return feeds


def _mask(width: int, groups: int, window: int | None) -> Floats:
    """Return the port `mask` of a text's first `width` tokens, behind a cache that holds nothing."""
    at = np.arange(width)
    seen = at <= at[:, None]
    if window is not None:
        seen &= at > at[:, None] - window
    mask = np.full((width, _CONTEXT + width), _HIDDEN, np.float32)
    mask[:, _CONTEXT:][seen] = 0
    return np.tile(mask, (groups, 1))[None, None]
