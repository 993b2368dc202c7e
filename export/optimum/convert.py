"""Convert a Hugging Face directory by way of optimum: export, quantise, pack, check, rename into place."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from edgetts.architecture import Sizes
from edgetts.bundle import (
    CONCATENATING,
    MODEL,
    TOKENIZER,
    WEIGHTS,
    Manifest,
    Segment,
    write_manifest,
)
from edgetts.checksum import sha256_of
from edgetts.errors import InvalidInput, ModelNotFound, UnsupportedModel
from edgetts.export.checkpoint import card_licence
from edgetts.export.optimum.check import check_against, exported_logits, open_exported, text_tokens
from edgetts.export.optimum.pack import pack
from edgetts.export.optimum.process import Exported, export, need_optimum, quantise
from edgetts.export.safetensors_file import read_json
from edgetts.export.tokenizer import special_tokens_from_hf
from edgetts.export.writing import written_whole
from edgetts.runtimes.onnx.past_graph import PastGraph

Progress = Callable[[str, float], None]

BITS = {"keep": 8, "int4": 4, "int8": 8, "fp32": None}
"""Bits of a weight for each quantisation; keep: as in `edgetts.export.convert`, where floats get 8."""
_MADE_BY = ("edgetts", "optimum-onnx", "transformers", "torch", "onnx", "onnxruntime")
_WEIGHTS_FILES = ("model.safetensors", "model.safetensors.index.json")


def convert_by_optimum(
    source: Path,
    destination: Path,
    *,
    quantize: str = "keep",
    name: str | None = None,
    context: int | None = None,
    licence: str | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write `destination` (a bundle directory) from a Hugging Face directory, of any decoder optimum exports.

    quantize: matrices in blocks of 32 integers (int4; int8 or keep), rounded to nearest, or fp32; embeddings
    stay as they are. context: positions to allow, None for the model's own. progress is called with a stage
    and its share done. The bundle has no segments and no exits, and is slower than one of
    `edgetts.export.convert`. It appears whole or not at all; an existing one is replaced. Raises
    MissingExtra, InvalidInput, ModelNotFound, CorruptFile, UnsupportedModel, RuntimeFailure, StorageError.
    """
    if quantize not in BITS:
        raise InvalidInput(
            f"There is no quantisation {quantize!r}.", hint=f"Choose one of: {', '.join(BITS)}."
        )
    source, destination = Path(source), Path(destination)
    _check_source(source)
    need_optimum()
    with written_whole(destination) as draft:
        scratch = draft / "scratch"
        scratch.mkdir()
        _write(
            draft,
            scratch,
            source=source,
            quantize=quantize,
            name=name or destination.name.removesuffix(".edge"),
            context=context,
            licence=licence,
            tell=progress or (lambda stage, share: None),
        )
    return destination


def _check_source(source: Path) -> None:
    """Raise for what is no Hugging Face directory, before anything heavy is loaded."""
    if source.is_file():
        raise InvalidInput(
            f"optimum exports Hugging Face directories, and {source.name} is a file.",
            hint="Name a directory with config.json and model.safetensors, or leave --via optimum out.",
        )
    if not (source / "config.json").is_file():
        raise ModelNotFound(
            f"{source} holds no config.json, so it is no Hugging Face model.",
            hint="Name a directory with config.json and model.safetensors.",
        )
    read_json(source / "config.json")
    if not any((source / name).is_file() for name in _WEIGHTS_FILES):
        raise ModelNotFound(
            f"{source} holds no model.safetensors.",
            hint="Save the model in safetensors: other formats can run code when they are loaded.",
        )


def _write(
    draft: Path,
    scratch: Path,
    *,
    source: Path,
    quantize: str,
    name: str,
    context: int | None,
    licence: str | None,
    tell: Progress,
) -> None:
    facts = special_tokens_from_hf(source)
    shutil.copyfile(source / TOKENIZER, draft / TOKENIZER)
    if facts.chat_template is not None:
        (draft / "chat_template.jinja").write_text(facts.chat_template, encoding="utf-8", newline="")
    tell("export", 0.0)
    exported = export(source, scratch / "exported")
    path = scratch / "exported" / MODEL
    graph = open_exported(path, source.name)
    sizes = _sizes(exported, graph, source)
    if context is not None and not 0 < context <= sizes.context:
        raise InvalidInput(
            f"The model's context is {sizes.context} tokens, so it cannot be exported for {context}."
        )
    context = context or sizes.context
    tokens = text_tokens(draft, context, sizes.vocab)
    reference = exported_logits(graph, tokens)
    del graph
    running = path
    bits = BITS[quantize]
    if bits is not None:
        tell("quantise", 0.0)
        running = scratch / "quantised" / MODEL
        running.parent.mkdir()
        quantise(path, running, bits, source.name)
    tell("weights", 0.0)
    notes, weights_sha256 = pack(running, path, draft)
    shutil.rmtree(scratch)
    hashes = {WEIGHTS: weights_sha256}
    hashes |= {p.name: sha256_of(p) for p in sorted(draft.iterdir()) if p.name != WEIGHTS}
    files = sorted(source.glob("*.safetensors"))
    manifest = Manifest(
        name=name,
        architecture=sizes,
        context=context,
        segments=(Segment(MODEL, 0, sizes.layers),),
        quantize=quantize,
        tensors=notes,
        tokenizer=facts,
        source={
            "name": source.resolve().name,
            "file": source.name,
            "kind": "huggingface",
            "via": "optimum",
            "sha256": {file.name: sha256_of(file) for file in files},
        },
        licence=licence or card_licence(source),
        made_by={package: version(package) for package in _MADE_BY},
        files=hashes,
        notes=_remarks(exported),
        graph=CONCATENATING,
    )
    write_manifest(draft, manifest)
    check = check_against(reference, tokens, draft, lambda share: tell("check", share))
    write_manifest(draft, replace(manifest, check=check))


def _sizes(exported: Exported, graph: PastGraph, source: Path) -> Sizes:
    """Say how large the model is: what the graph shows, and the rest from its configuration."""
    if exported.context is None or exported.hidden is None:
        what = "its context" if exported.context is None else "its width"
        raise UnsupportedModel(f"{source.name} cannot be used: its config.json does not state {what}.")
    first = graph.ports[0]
    return Sizes(
        family=exported.model_type,
        layers=graph.layers,
        hidden=exported.hidden,
        vocab=graph.vocab,
        context=exported.context,
        kv_heads=first.heads,
        head_dim=first.width,
    )


def _remarks(exported: Exported) -> tuple[str, ...]:
    notes = ["exported by optimum: it has no exits, and every pass copies the cache"]
    if exported.unused:
        more = f" and {len(exported.unused) - 1} more" if len(exported.unused) > 1 else ""
        notes.append(f"transformers has no use for the tensor {exported.unused[0][:100]}{more}")
    return tuple(notes)
