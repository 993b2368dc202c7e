"""What a static bundle holds beyond any other: the contract between export.static, which writes it, and runtimes.npu.

A static bundle is for compilers that want every shape fixed. It holds, beside tokenizer and template,

    weights.bin                 every tensor of the graphs once
    embedding.npy               the embedding table [vocab, hidden], of which the host looks rows up
    layers_A_B.wW.onnx          layers [A, B) over W tokens of one branch; for every segment and every width
    head.wN.onnx                from the residual stream behind the last layer to N rows of logits
    npu/SOC-PROVIDER-VERSION-*/ the graphs compiled ahead of time for one chip: EPContext models and their binaries

Widths are 1, draft_width + 1 and chunk. Ports are named `stream.N` (the residual stream before layer N, or behind
the last one), `cos`, `sin`, `mask` (and `cos.local`, `sin.local`, `mask.local` for sliding layers), `past_key.N`,
`past_value.N`, `new_key.N`, `new_value.N`, `features` and `logits`; `edgetts.export.static.graph` gives their shapes.
A port of integers holds scale * (code - zero), by `ports`; other ports hold floats of the type that the graph states.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

STATIC = "static"
EMBEDDING = "embedding.npy"
COMPILED = "npu"
LARGEST_CONTEXT = 1 << 17
LARGEST_WIDTH = 4096


@dataclass(frozen=True, slots=True)
class PortNote:
    """How integers at a port are read: value = scale * (code - zero)."""

    scale: float
    zero: int


@dataclass(frozen=True, slots=True)
class GraphNote:
    """One graph: layers [start, stop) over `width` tokens, or the head where start equals stop."""

    file: str
    start: int
    stop: int
    width: int

    @property
    def is_head(self) -> bool:
        return self.start == self.stop


@dataclass(frozen=True, slots=True)
class CompiledNote:
    """Graphs compiled for one chip by one version of a provider; bytes on disk, peak memory of the compiler.

    graphs: by the file compiled, the EPContext model that stands for it. shared: graphs of one segment share a binary
    and their weights in it, which emulators may not be able to read. difference: of logits from the CPU's, as the
    emulator computed them, relative to their root mean square; None where that was not looked at.
    """

    soc: str
    arch: str
    provider: str
    version: str
    graphs: Mapping[str, str]
    seconds: float
    peak_bytes: int
    bytes: int
    shared: bool = False
    difference: float | None = None


@dataclass(frozen=True, slots=True)
class PrecisionNote:
    """What rounding cost, on text held out from calibration, by the same graphs on the CPU provider.

    positions: of that text. top1: share of them with the first choice of the graphs in float32; mean_kl in nats
    from them. raised: what was held more precisely than the target's own form, and why nothing else had to be.
    """

    tokens: int
    positions: int
    top1: float
    mean_kl: float
    perplexity_ratio: float
    wanted: float
    raised: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StaticNote:
    """Shapes, ports and graphs of a static bundle. Lengths in tokens.

    mask: what hides a position, added to its score. ports: those of integers, by `port_key`.
    """

    target: str
    chunk: int
    draft_width: int
    mask: float
    graphs: tuple[GraphNote, ...]
    ports: Mapping[str, PortNote]
    precision: PrecisionNote | None = None
    compiled: tuple[CompiledNote, ...] = ()

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths of passes through layers, ascending."""
        return tuple(sorted({graph.width for graph in self.graphs if not graph.is_head}))

    @property
    def files(self) -> set[str]:
        """Files that the graphs are in, compiled ones included."""
        return {g.file for g in self.graphs} | {f for c in self.compiled for f in c.graphs.values()}


def port_key(port: str) -> str:
    """Return the name that a port's note goes by: keys share one, old or new, and so on."""
    name, _, rest = port.partition(".")
    if name in ("past_key", "new_key"):
        return f"key.{rest}"
    if name in ("past_value", "new_value"):
        return f"value.{rest}"
    if name in ("cos", "sin"):
        return "rotary"
    return "mask" if name == "mask" else port


_Note = TypeVar("_Note", PortNote, GraphNote, CompiledNote, PrecisionNote)


def static_from_json(data: Any, layers: int) -> StaticNote:
    """Read a StaticNote from plain JSON, which is used up. Raises KeyError, TypeError or ValueError."""
    note = StaticNote(
        target=_of(str, data.pop("target")),
        chunk=_of(int, data.pop("chunk")),
        draft_width=_of(int, data.pop("draft_width")),
        mask=_number(data.pop("mask")),
        graphs=tuple(_note(GraphNote, one) for one in _of(list, data.pop("graphs"))),
        ports={_of(str, key): _note(PortNote, one) for key, one in _of(dict, data.pop("ports")).items()},
        precision=None if (one := data.pop("precision")) is None else _precision(one),
        compiled=tuple(_compiled(one) for one in _of(list, data.pop("compiled"))),
        **data,
    )
    _check(note, layers)
    return note


def _check(note: StaticNote, layers: int) -> None:
    """Raise ValueError unless the graphs are whole models of every width that there must be."""
    wanted = {1, note.draft_width + 1, note.chunk}
    if not 0 <= note.draft_width < note.chunk <= LARGEST_WIDTH or set(note.widths) != wanted:
        raise ValueError("widths are 1, one more than a draft, and a chunk")
    cuts = {
        tuple(sorted((g.start, g.stop) for g in note.graphs if g.width == w and not g.is_head))
        for w in wanted
    }
    if len(cuts) != 1:
        raise ValueError("graphs of all widths are cut at the same layers")
    [pieces] = cuts
    edges = [0, *(stop for _, stop in pieces)]
    if [start for start, _ in pieces] != edges[:-1] or edges[-1] != layers or edges != sorted(set(edges)):
        raise ValueError("the graphs are no whole model")
    heads = {g.width for g in note.graphs if g.is_head}
    if heads != {1, note.draft_width + 1} or any(g.start != layers for g in note.graphs if g.is_head):
        raise ValueError("heads are one row and one more than a draft wide")
    if not note.mask < 0:
        raise ValueError("a mask hides what it is added to")
    known = {graph.file for graph in note.graphs}
    if any(set(one.graphs) != known for one in note.compiled):
        raise ValueError("all graphs are compiled, or none")


def _precision(data: Any) -> PrecisionNote:
    raised = tuple(_of(str, name) for name in _of(list, data.pop("raised")))
    return _note(PrecisionNote, {**data, "raised": raised})


def _compiled(data: Any) -> CompiledNote:
    if (difference := data.get("difference")) is not None:
        _number(difference)
    graphs = {_of(str, key): _of(str, value) for key, value in _of(dict, data.pop("graphs")).items()}
    if not isinstance(data.get("shared", False), bool):
        raise TypeError("weights are shared or not")
    return _note(CompiledNote, {**data, "graphs": graphs})


def _note(cls: type[_Note], data: Any) -> _Note:
    """Make a note whose plain fields have the types it names. Raises TypeError or ValueError."""
    made = cls(**data)
    for place in fields(cls):
        value = getattr(made, place.name)
        if place.type == "float":
            _number(value)
        elif place.type in ("int", "str"):
            _of(int if place.type == "int" else str, value)
    return made


def _number(value: Any) -> float:
    """Return a number that a float holds. Raises TypeError or ValueError."""
    try:
        number = float(_of((int, float), value))
    except OverflowError as error:
        raise ValueError("a number is too large") from error
    if not math.isfinite(number):
        raise ValueError(f"{number} is no number to reckon with")
    return number


def _of(kind: type | tuple[type, ...], value: Any) -> Any:
    """Return a value of the kind, which no bool is. Raises TypeError."""
    if isinstance(value, bool) or not isinstance(value, kind):
        raise TypeError(f"{value!r} is no {kind}")
    return value
