"""Convert a checkpoint into a bundle: read, quantise, write graphs, check, rename into place."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetts.architecture import Architecture, rope_tables
from edgetts.bundle import (
    MODEL,
    PROMPT,
    TOKENIZER,
    WEIGHTS,
    Manifest,
    Segment,
    TensorNote,
    write_manifest,
)
from edgetts.checksum import sha256_of
from edgetts.errors import InvalidInput, UnsupportedModel
from edgetts.export.blocks import Affine
from edgetts.export.check import check_bundle
from edgetts.export.checkpoint import Checkpoint, open_checkpoint
from edgetts.export.exits.shipped import find_shipped, install_shipped
from edgetts.export.graph import SegmentGraph
from edgetts.export.schemes import QUANTIZE_MODES, Scheme, make_scheme
from edgetts.export.tokenizer import special_tokens_from_gguf, special_tokens_from_hf, tokenizer_from_gguf
from edgetts.export.weights import WeightsFile
from edgetts.export.writing import written_whole
from edgetts.tokenizer import TokenizerFacts

Progress = Callable[[str, float], None]

# Rotary tables take 512 bytes a position at 64 dimensions; few devices hold a longer cache anyway.
DEFAULT_CONTEXT = 32768
# What GroupQueryAttention with rotary embeddings accepts.
_HEAD_DIM_MULTIPLE = 16


def convert(
    source: Path,
    destination: Path,
    *,
    quantize: str = "keep",
    name: str | None = None,
    cuts: Sequence[int] | None = None,
    context: int | None = None,
    licence: str | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write `destination` (a bundle directory) from a GGUF file or a Hugging Face directory.

    quantize: keep, int4, int8 or fp32. cuts: layers to cut before, None for every quarter of the
    depth. context: positions to prepare for, None for the model's own up to 32,768. progress is
    called with a stage and its share done. The bundle appears whole or not at all; an existing
    one is replaced. Raises what reading a checkpoint raises, InvalidInput and StorageError.
    """
    tell = progress or (lambda stage, share: None)
    if quantize not in QUANTIZE_MODES:
        raise InvalidInput(
            f"There is no quantisation {quantize!r}.", hint=f"Choose one of: {', '.join(QUANTIZE_MODES)}."
        )
    destination = Path(destination)
    with written_whole(destination) as draft, open_checkpoint(source) as checkpoint:
        _write(
            checkpoint,
            draft,
            source=source,
            quantize=quantize,
            name=name or destination.name.removesuffix(".edge"),
            cuts=cuts,
            context=context,
            licence=licence,
            tell=tell,
        )
    return destination


def layer_cuts(layers: int, cuts: Sequence[int] | None) -> tuple[int, ...]:
    """Return the layer boundaries to cut at, checked; None cuts at every quarter of the depth."""
    if cuts is None:
        return tuple(sorted({layers * k // 4 for k in (1, 2, 3)} - {0, layers}))
    chosen = tuple(sorted(set(cuts)))
    if any(not 0 < cut < layers for cut in chosen):
        raise InvalidInput(f"Cuts lie between layers 1 and {layers - 1} of this model, not at {list(cuts)}.")
    return chosen


def _write(
    checkpoint: Checkpoint,
    directory: Path,
    *,
    source: Path,
    quantize: str,
    name: str,
    cuts: Sequence[int] | None,
    context: int | None,
    licence: str | None,
    tell: Progress,
) -> None:
    arch = checkpoint.architecture
    if arch.head_dim % _HEAD_DIM_MULTIPLE:
        raise UnsupportedModel(
            f"{source.name} cannot be used: its heads have {arch.head_dim} dimensions, "
            f"and ONNX Runtime's attention computes multiples of {_HEAD_DIM_MULTIPLE}."
        )
    boundaries = (0, *layer_cuts(arch.layers, cuts), arch.layers)
    if context is not None and not 0 < context <= arch.context:
        raise InvalidInput(
            f"The model's context is {arch.context} tokens, so it cannot be exported for {context}."
        )
    context = context or min(arch.context, DEFAULT_CONTEXT)
    facts = write_tokenizer(checkpoint, directory)
    scheme = make_scheme(quantize, checkpoint, directory / TOKENIZER, lambda share: tell("calibrate", share))
    segments = []
    with WeightsFile(directory) as weights:
        notes = _write_weights(checkpoint, weights, scheme, context, lambda share: tell("weights", share))
        for start, stop in itertools.pairwise(boundaries):
            segment = Segment(f"layers_{start}_{stop}.onnx", start, stop)
            _write_graph(directory / segment.file, arch, weights, start, stop)
            segments.append(segment)
        _write_graph(directory / MODEL, arch, weights, 0, arch.layers, boundaries)
        if any(form.bits == 4 for form in weights.linears.values()):
            _write_graph(directory / PROMPT, arch, weights, 0, arch.layers, boundaries, exact=True)
        hashes = {WEIGHTS: weights.sha256}
    hashes |= {p.name: sha256_of(p) for p in sorted(directory.iterdir()) if p.name != WEIGHTS}
    manifest = Manifest(
        name=name,
        architecture=arch,
        context=context,
        segments=tuple(segments),
        quantize=quantize,
        tensors=notes,
        tokenizer=facts,
        source=origin_of(checkpoint, source),
        licence=licence or checkpoint.licence,
        made_by={
            "edgetts": version("edgetts"),
            "onnx": version("onnx"),
            "onnxruntime": version("onnxruntime"),
        },
        files=hashes,
        notes=scheme.notes,
    )
    write_manifest(directory, manifest)
    check = check_bundle(directory, checkpoint, lambda share: tell("check", share))
    manifest = replace(manifest, check=check)
    write_manifest(directory, manifest)
    sha256 = manifest.source.get("sha256")
    if isinstance(sha256, str) and (shipped := find_shipped(sha256)) is not None:
        install_shipped(directory, manifest, shipped)


def write_tokenizer(checkpoint: Checkpoint, directory: Path) -> TokenizerFacts:
    """Write the tokenizer and chat template of a checkpoint into a bundle; return what the manifest says of them."""
    if checkpoint.directory is not None:
        facts = special_tokens_from_hf(checkpoint.directory)
        shutil.copyfile(checkpoint.directory / TOKENIZER, directory / TOKENIZER)
    else:
        tokenizer_from_gguf(checkpoint.metadata).save(str(directory / TOKENIZER), pretty=False)
        facts = special_tokens_from_gguf(checkpoint.metadata)
    if facts.chat_template is not None:
        (directory / "chat_template.jinja").write_text(facts.chat_template, encoding="utf-8", newline="")
    return facts


def _write_weights(
    checkpoint: Checkpoint, weights: WeightsFile, scheme: Scheme, context: int, tell: Callable[[float], None]
) -> dict[str, TensorNote]:
    arch = checkpoint.architecture
    notes: dict[str, TensorNote] = {}
    for local in (False, True) if arch.rope_theta_local is not None else (False,):
        cos, sin = rope_tables(arch, context, local)
        suffix = ".local" if local else ""
        weights.add(f"rope_cos{suffix}", [cos])
        weights.add(f"rope_sin{suffix}", [sin])

    def linear(fused: str, names: Sequence[str], *, bias: bool = False) -> None:
        """Store matrices that read the same input: as one where their forms agree, else one by one."""
        parts: list[Affine | NDArray[np.float32]] = []
        for tensor in names:
            stored = scheme.quantize(f"{tensor}.weight")
            parts.append(stored.matrix)
            notes[f"{tensor}.weight"] = stored.note
        biases = [checkpoint.load(f"{tensor}.bias") for tensor in names] if bias else None
        forms = {p.form if isinstance(p, Affine) else None for p in parts}
        if len(forms) == 1:
            weights.add_linear(fused, parts, biases)
            return
        for i, tensor in enumerate(names):
            weights.add_linear(tensor, [parts[i]], [biases[i]] if biases else None)

    norms = ["attn_norm", "ffn_norm"]
    norms += ["attn_q_norm", "attn_k_norm"] if arch.qk_norm else []
    norms += ["post_attention_norm", "post_ffw_norm"] if arch.post_norms else []
    for layer in range(arch.layers):
        prefix = f"blk.{layer}"
        linear(
            f"{prefix}.attn_qkv", [f"{prefix}.attn_{p}" for p in ("q", "k", "v")], bias=arch.attention_bias
        )
        linear(f"{prefix}.attn_output", [f"{prefix}.attn_output"])
        linear(f"{prefix}.ffn_gate_up", [f"{prefix}.ffn_{p}" for p in ("gate", "up")])
        linear(f"{prefix}.ffn_down", [f"{prefix}.ffn_down"])
        for norm in norms:
            weights.add(f"{prefix}.{norm}.weight", [checkpoint.load(f"{prefix}.{norm}.weight")])
        tell((layer + 1) / arch.layers)
    # Last, as a scheme may want to know what the layers make of a text before it rounds the head.
    linear("token_embd.weight", ["token_embd"])
    if not arch.tied_embeddings:
        linear("output.weight", ["output"])
    weights.add("output_norm.weight", [checkpoint.load("output_norm.weight")])
    return notes


def _write_graph(
    path: Path,
    arch: Architecture,
    weights: WeightsFile,
    start: int,
    stop: int,
    cuts: Sequence[int] = (),
    *,
    exact: bool = False,
) -> None:
    model = SegmentGraph(arch, weights, start, stop, cuts, exact=exact).model()
    path.write_bytes(model.SerializeToString())


def origin_of(checkpoint: Checkpoint, source: Path) -> dict[str, Any]:
    """Say of what a bundle was made, as its manifest does."""
    origin: dict[str, Any] = {"name": checkpoint.source_name, "file": source.name}
    if source.is_file():
        origin |= {"kind": "gguf", "sha256": sha256_of(source)}
    else:
        files = sorted(source.glob("*.safetensors"))
        origin |= {"kind": "huggingface", "sha256": {f.name: sha256_of(f) for f in files}}
    return origin
