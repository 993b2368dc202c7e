"""Convert a checkpoint into a static bundle: graphs of fixed shapes that NPUs' compilers take."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from edgetts.architecture import Architecture
from edgetts.bundle import WEIGHTS, Manifest, Segment, write_manifest
from edgetts.checksum import sha256_of
from edgetts.errors import InvalidInput
from edgetts.export.checkpoint import open_checkpoint
from edgetts.export.convert import layer_cuts, origin_of, write_tokenizer
from edgetts.export.exits.shipped import find_shipped, install_shipped
from edgetts.export.static.embedding import write_embedding
from edgetts.export.static.graph import StaticGraph, cache_names
from edgetts.export.static.matrices import cuts_for
from edgetts.export.static.rounding import Rounding, choose
from edgetts.export.static.tables import CheckpointTables
from edgetts.export.static.targets import Target, find_target
from edgetts.export.static.tensors import StoredTensors, folded
from edgetts.export.weights import WeightsFile
from edgetts.export.writing import written_whole
from edgetts.static_form import (
    LARGEST_CONTEXT,
    LARGEST_WIDTH,
    STATIC,
    GraphNote,
    StaticNote,
)

Progress = Callable[[str, float], None]

DEFAULT_CONTEXT, DEFAULT_CHUNK, DEFAULT_DRAFT_WIDTH = 1024, 64, 5
DEFAULT_AGREEMENT = 0.97
# So far below any score that exp gives exactly zero, and a score may be added in float16 without overflow.
_MASK = -30000.0


def convert_static(
    source: Path,
    destination: Path,
    *,
    target: str,
    quantize: str = "keep",
    agreement: float | None = None,
    name: str | None = None,
    context: int | None = None,
    chunk: int | None = None,
    draft_width: int | None = None,
    cuts: Sequence[int] | None = None,
    licence: str | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write `destination` (a static bundle) from a GGUF file or a Hugging Face directory.

    quantize: keep is the target's own form, else one it knows of int8, int4 and fp32. agreement: share of held-out
    positions whose first choice rounding leaves as it is; matrices are raised until it is met. context: tokens the
    cache holds. chunk: tokens of a prompt in one pass. draft_width: draft tokens that one pass can verify. cuts:
    layers to cut before, None for every quarter, or closer where the target's parts are limited. The bundle appears whole or not at all. Raises what reading a
    checkpoint raises, InvalidInput and StorageError.
    """
    tell = progress or (lambda stage, share: None)
    wanted = find_target(target)
    form = wanted.form_of(quantize)
    if agreement is None:
        agreement = DEFAULT_AGREEMENT
    elif form == "float":
        raise InvalidInput(f"Nothing is rounded for {target}, so that there is no agreement to state.")
    if not 0 < agreement <= 1:
        raise InvalidInput(f"The agreement is {agreement}, but it must be a share above 0 and up to 1.")
    sizes = _Sizes(
        DEFAULT_CONTEXT if context is None else context,
        DEFAULT_CHUNK if chunk is None else chunk,
        DEFAULT_DRAFT_WIDTH if draft_width is None else draft_width,
    )
    sizes.check(cuts or ())
    destination = Path(destination)
    with written_whole(destination) as draft, open_checkpoint(source) as checkpoint:
        arch = checkpoint.architecture
        if sizes.context > arch.context:
            raise InvalidInput(
                f"The model's context is {arch.context} tokens, so it cannot be exported for {sizes.context}."
            )
        facts = write_tokenizer(checkpoint, draft)
        if cuts is None:
            cuts = cuts_for(arch, form, wanted.shard_bytes)
        boundaries = (0, *layer_cuts(arch.layers, cuts), arch.layers)
        rounding = choose(checkpoint, draft, wanted, form, agreement, lambda share: tell("precision", share))
        with WeightsFile(draft) as weights:
            tensors = StoredTensors(weights, folded(arch, checkpoint.load), "float", rounding.forms)
            graphs = _write_graphs(draft, arch, tensors, rounding, wanted, sizes, boundaries, tell)
            notes = tensors.notes(checkpoint.kind)
            hashes = {WEIGHTS: weights.sha256}
        write_embedding(draft, checkpoint, half=form != "float")
        manifest = Manifest(
            name=name or destination.name.removesuffix(".edge"),
            architecture=arch,
            context=sizes.context,
            segments=tuple(
                Segment(g.file, g.start, g.stop) for g in graphs if g.width == 1 and not g.is_head
            ),
            quantize="fp32" if form == "float" else form,
            tensors=notes,
            tokenizer=facts,
            source=origin_of(checkpoint, source),
            licence=licence or checkpoint.licence,
            made_by={name: version(name) for name in ("edgetts", "onnx", "onnxruntime")},
            files=hashes | {p.name: sha256_of(p) for p in sorted(draft.iterdir()) if p.name not in hashes},
            graph=STATIC,
            static=StaticNote(
                wanted.name,
                sizes.chunk,
                sizes.draft_width,
                _MASK,
                graphs,
                rounding.ports(),
                rounding.note,
            ),
            notes=rounding.notes,
        )
        write_manifest(draft, manifest)
        sha256 = manifest.source.get("sha256")
        if isinstance(sha256, str) and (shipped := find_shipped(sha256)) is not None:
            install_shipped(draft, manifest, shipped, CheckpointTables(draft, checkpoint))
    return destination


@dataclass(frozen=True, slots=True)
class _Sizes:
    context: int
    chunk: int
    draft_width: int

    def check(self, cuts: Sequence[int]) -> None:
        """Raise InvalidInput for sizes that cannot be."""
        for value in (self.context, self.chunk, self.draft_width, *cuts):
            if not isinstance(value, int):
                raise InvalidInput(f"Context, chunk, draft width and cuts are whole numbers, not {value!r}.")
        if not 2 <= self.context <= LARGEST_CONTEXT:
            raise InvalidInput(f"A static context has 2 to {LARGEST_CONTEXT} tokens, not {self.context}.")
        if not 0 <= self.draft_width < min(self.chunk, self.context):
            raise InvalidInput(
                f"A draft of {self.draft_width} tokens cannot be verified: it must be shorter than the chunk of "
                f"{self.chunk} and the context of {self.context} tokens."
            )
        if self.chunk > min(self.context, LARGEST_WIDTH):
            raise InvalidInput(
                f"A chunk of {self.chunk} tokens does not fit: it may have up to "
                f"{min(self.context, LARGEST_WIDTH)}, by the context and what one pass can take."
            )

    @property
    def widths(self) -> list[int]:
        """Widths of passes through layers, ascending."""
        return sorted({1, self.draft_width + 1, self.chunk})

    @property
    def heads(self) -> list[int]:
        """Rows that go through the head at once: a prompt needs its last one only."""
        return sorted({1, self.draft_width + 1})


def _write_graphs(
    directory: Path,
    arch: Architecture,
    tensors: StoredTensors,
    rounding: Rounding,
    target: Target,
    sizes: _Sizes,
    boundaries: Sequence[int],
    tell: Progress,
) -> tuple[GraphNote, ...]:
    pieces = [(*piece, width) for width in sizes.widths for piece in itertools.pairwise(boundaries)]
    pieces += [(arch.layers, arch.layers, width) for width in sizes.heads]
    # Of products with a cache of integers a compiler may make ones of 8 bits.
    halves = cache_names(arch) if rounding.forms else set()
    notes = []
    for done, (start, stop, width) in enumerate(pieces, 1):
        graph = StaticGraph(
            arch,
            tensors,
            width=width,
            context=sizes.context,
            encodings=rounding.encodings,
            halves=halves,
            convolve=target.convolve,
        )
        model = graph.layers(start, stop) if start < stop else graph.head()
        file = f"layers_{start}_{stop}.w{width}.onnx" if start < stop else f"head.w{width}.onnx"
        (directory / file).write_bytes(model.SerializeToString())
        notes.append(GraphNote(file, start, stop, width))
        tell("graphs", done / len(pieces))
    return tuple(notes)
