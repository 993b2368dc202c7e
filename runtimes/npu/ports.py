"""What goes in and comes out of a static graph: shapes, and how numbers are held there.

Knows an architecture and the sizes that a bundle was exported for; opens nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from edgetts.architecture import Architecture
from edgetts.static_form import GraphNote, PortNote, port_key

Floats = NDArray[np.float32]
Codes = NDArray[Any]
Shape = tuple[int, ...]

_TYPES: Mapping[str, DTypeLike] = {
    f"tensor({name})": kind
    for name, kind in {
        "float": np.float32,
        "float16": np.float16,
        "uint8": np.uint8,
        "int8": np.int8,
        "uint16": np.uint16,
        "int16": np.int16,
    }.items()
}


class WrongPort(Exception):
    """A graph has not the ports that its bundle's manifest describes; says which."""


class _Node(Protocol):
    """What ONNX Runtime says of an input or output."""

    @property
    def name(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def shape(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class Port:
    """One input or output. value = scale * (code - zero) where it holds integers; else scale is 1 and zero 0."""

    name: str
    shape: Shape
    dtype: np.dtype[Any]
    scale: float = 1.0
    zero: int = 0

    @property
    def rounded(self) -> bool:
        """Whether values lose something on their way through it."""
        return self.dtype != np.float32

    def empty(self) -> Codes:
        """Return memory for what it holds, all zero, of which nothing is mapped before it is written."""
        return np.zeros(self.shape, self.dtype)

    def encode(self, values: Floats) -> Codes:
        """Round values to what the port holds; those outside of its range become the range's end."""
        if self.dtype.kind == "f":
            return np.asarray(values, self.dtype)
        ends = np.iinfo(self.dtype)
        codes = np.rint(values / np.float32(self.scale)) + self.zero
        return np.asarray(np.clip(codes, ends.min, ends.max), self.dtype)

    def decode(self, codes: Codes) -> Floats:
        """Return the values, in memory of their own."""
        values = codes.astype(np.float32)
        if self.dtype.kind != "f":
            values -= np.float32(self.zero)
            values *= np.float32(self.scale)
        return values


def read_ports(
    nodes: Iterable[_Node], expected: Mapping[str, Shape], notes: Mapping[str, PortNote]
) -> dict[str, Port]:
    """Return a graph's inputs or outputs by name. Raises WrongPort unless they are those expected."""
    found = {node.name: node for node in nodes}
    if set(found) != set(expected):
        odd = ", ".join(sorted(set(found) ^ set(expected))[:3])
        raise WrongPort(f"it lacks, or should not have: {odd}")
    return {name: _port(found[name], shape, notes.get(port_key(name))) for name, shape in expected.items()}


def _port(node: _Node, shape: Shape, note: PortNote | None) -> Port:
    if tuple(node.shape) != shape:
        raise WrongPort(f"{node.name} has the shape {node.shape}, not {[*shape]}")
    if node.type not in _TYPES:
        raise WrongPort(f"{node.name} holds {node.type}")
    dtype = np.dtype(_TYPES[node.type])
    if dtype.kind == "f":
        return Port(node.name, shape, dtype)
    if note is None:
        raise WrongPort(f"the manifest does not say what the integers of {node.name} mean")
    ends = np.iinfo(dtype)
    if not (math.isfinite(note.scale) and note.scale > 0 and ends.min <= note.zero <= ends.max):
        raise WrongPort(f"the scale and zero point of {node.name} cannot be")
    return Port(node.name, shape, dtype, note.scale, note.zero)


def input_shapes(arch: Architecture, graph: GraphNote, context: int) -> dict[str, Shape]:
    """Return what a graph takes in, as `edgetts.export.static.graph` states it."""
    width = graph.width
    shapes: dict[str, Shape] = {f"stream.{graph.start}": (1, width, arch.hidden)}
    for layer in range(graph.start, graph.stop):
        local = ".local" if layer in arch.sliding_layers else ""
        rotary = local if arch.rope_theta_local is not None else ""
        for name in ("cos", "sin"):
            shapes[f"{name}{rotary}"] = (1, 1, width, arch.head_dim)
        rows = arch.heads // arch.kv_heads * width
        shapes[f"mask{local}"] = (1, 1, rows, context + width)
        shapes[f"past_key.{layer}"] = (1, arch.kv_heads, arch.head_dim, context)
        shapes[f"past_value.{layer}"] = (1, arch.kv_heads, context, arch.head_dim)
    return shapes


def output_shapes(arch: Architecture, graph: GraphNote) -> dict[str, Shape]:
    """Return what a graph gives out."""
    width = graph.width
    if graph.is_head:
        return {"features": (1, width, arch.hidden), "logits": (1, width, arch.vocab)}
    shapes: dict[str, Shape] = {f"stream.{graph.stop}": (1, width, arch.hidden)}
    for layer in range(graph.start, graph.stop):
        shapes[f"new_key.{layer}"] = (1, arch.kv_heads, arch.head_dim, width)
        shapes[f"new_value.{layer}"] = (1, arch.kv_heads, width, arch.head_dim)
    return shapes
