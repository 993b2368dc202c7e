"""Run passes of one width through segments of a network, in memory that is bound once."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from functools import lru_cache

import onnxruntime as ort

from edgetts.runtimes.npu.cache import HostCache
from edgetts.runtimes.npu.graphs import OpenGraph
from edgetts.runtimes.npu.ports import Codes, Floats, Port, WrongPort
from edgetts.runtimes.npu.positions import Positions

# What a pass costs whatever its width, in tokens: reading the weights. On two cores it is about 10 in float32 (26 ms a
# token, 171 ms for 64); an NPU, which computes faster than it reads, will have more.
_FIXED = 16


@lru_cache(maxsize=256)
def passes_over(tokens: int, widths: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """Part a run of tokens into passes (width, tokens), the cheapest way; the last may be padded."""
    widest = max(widths)
    whole, rest = divmod(tokens, widest)
    costs, chosen = [0], [0]
    for length in range(1, rest + 1):
        width = min(widths, key=lambda w: _FIXED + w + costs[max(0, length - w)])
        costs.append(_FIXED + width + costs[max(0, length - width)])
        chosen.append(width)
    last = []
    while rest > 0:
        last.append(chosen[rest])
        rest -= chosen[rest]
    passes, left = [], tokens
    for width in [widest] * whole + sorted(last, reverse=True):
        passes.append((width, min(width, left)))
        left -= passes[-1][1]
    return tuple(passes)


class Bound:
    """Memory of one port, bound to graphs by reference."""

    def __init__(self, port: Port) -> None:
        self.port = port
        self.array: Codes = port.empty()
        self.value = ort.OrtValue.ortvalue_from_numpy(self.array)

    def fill(self, rows: Floats) -> None:
        """Write the first rows of [1, width, n], and zero behind them."""
        self.array[0, : len(rows)] = self.port.encode(rows)
        self.array[0, len(rows) :] = self.port.zero

    def rows(self, count: int) -> Floats:
        """Read the first rows."""
        return self.port.decode(self.array[0, :count])


class Lane:
    """All segments over passes of one width. The stream that leaves one is, in place, what enters the next."""

    def __init__(self, graphs: Sequence[OpenGraph], positions: Positions) -> None:
        self._positions = positions
        first = graphs[0]
        self._streams = [Bound(first.inputs[f"stream.{first.note.start}"])]
        self._segments = []
        for graph in graphs:
            entering = self._streams[-1]
            if graph.inputs[f"stream.{graph.note.start}"] != entering.port:
                raise WrongPort(
                    f"stream.{graph.note.start} leaves one segment otherwise than it enters the next"
                )
            self._streams.append(Bound(graph.outputs[f"stream.{graph.note.stop}"]))
            self._segments.append(_Segment(graph, entering, self._streams[-1], positions))

    def enter(self, segment: int, stream: Floats) -> None:
        """Give the rows [n, hidden] that enter a segment."""
        self._streams[segment].fill(stream)

    def run(self, segment: int, cache: HostCache, past: int, count: int, options: ort.RunOptions) -> None:
        """Run a segment over what has entered it, `count` tokens behind `past`; write their keys and values."""
        self._positions.move(past)
        self._segments[segment].run(cache, past, count, options)

    def left(self, segment: int, count: int) -> Floats:
        """Return the rows [count, hidden] that a segment gave out."""
        return self._streams[segment + 1].rows(count)


class _Segment:
    """One graph of layers with everything bound but the cache, which changes from branch to branch."""

    def __init__(self, graph: OpenGraph, entering: Bound, leaving: Bound, positions: Positions) -> None:
        self._graph = graph.session
        self._layers = range(graph.note.start, graph.note.stop)
        self._binding = graph.session.io_binding()
        # Weakly, so that a freed branch's memory is not held by the passes it ran.
        self._cache: weakref.ref[HostCache] | None = None
        self._past = [name for name in graph.inputs if name.startswith("past_")]
        for name, port in graph.inputs.items():
            if name.startswith("stream."):
                self._binding.bind_ortvalue_input(name, entering.value)
            elif not name.startswith("past_"):
                self._binding.bind_ortvalue_input(name, positions.value(port))
        self._new: dict[str, Bound] = {}
        for name, port in graph.outputs.items():
            if name.startswith("stream."):
                self._binding.bind_ortvalue_output(name, leaving.value)
                continue
            read = graph.inputs[name.replace("new_", "past_")]
            if (port.dtype, port.scale, port.zero) != (read.dtype, read.scale, read.zero):
                raise WrongPort(f"{name} is held otherwise than {read.name}")
            self._new[name] = Bound(port)
            self._binding.bind_ortvalue_output(name, self._new[name].value)

    def run(self, cache: HostCache, past: int, count: int, options: ort.RunOptions) -> None:
        if self._cache is None or self._cache() is not cache:
            for name in self._past:
                self._binding.bind_ortvalue_input(name, cache.ports[name])
            self._cache = weakref.ref(cache)
        self._graph.run_with_iobinding(self._binding, options)
        for layer in self._layers:
            key, value = self._new[f"new_key.{layer}"], self._new[f"new_value.{layer}"]
            cache.write(layer, past, count, key.array, value.array)


class Head:
    """The graph from the stream behind the last layer to logits, over a fixed number of rows."""

    def __init__(self, graph: OpenGraph) -> None:
        self._graph = graph.session
        [port] = graph.inputs.values()
        self._stream = Bound(port)
        self._outputs = {name: Bound(port) for name, port in graph.outputs.items()}
        self._binding = graph.session.io_binding()
        self._binding.bind_ortvalue_input(port.name, self._stream.value)
        for name, bound in self._outputs.items():
            self._binding.bind_ortvalue_output(name, bound.value)

    def run(self, stream: Floats, options: ort.RunOptions) -> tuple[Floats, Floats]:
        """Return the features [n, hidden] and logits [n, vocab] of rows, in memory of their own."""
        self._stream.fill(stream)
        self._graph.run_with_iobinding(self._binding, options)
        return self._outputs["features"].rows(len(stream)), self._outputs["logits"].rows(len(stream))
