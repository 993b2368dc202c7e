"""Write a checkpoint in floating point as a GGUF file. Knows tensors and keys; knows no llama.cpp.

Tensors are streamed: memory holds one at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
from gguf.constants import GGML_QUANT_VERSION, GGMLQuantizationType
from numpy.typing import NDArray

from edgetts.errors import InvalidInput
from edgetts.export.checkpoint import Checkpoint
from edgetts.export.families import traits_of
from edgetts.export.to_gguf.forms import FLOAT_KINDS, FORMS, Form
from edgetts.export.to_gguf.keys import Keys, Value, architecture_keys, rope_factors
from edgetts.export.to_gguf.vocabulary import Vocabulary

Floats = NDArray[np.float32]

_LARGEST_F16 = 65504.0
_BYTES = {"F32": 4, "F16": 2, "BF16": 2}


def write_floats(
    path: Path,
    checkpoint: Checkpoint,
    vocabulary: Vocabulary,
    form: Form | None,
    *,
    general: Keys,
    progress: Callable[[float], None],
) -> tuple[str, ...]:
    """Write `path` and return notes. Matrices take `form`, or None: what the source has; the rest is F32.

    general: keys beside the architecture's and the tokenizer's. Raises InvalidInput for values that F16
    cannot hold, UnsupportedModel for what GGUF cannot say, CorruptFile.
    """
    arch = checkpoint.architecture
    keys, notes = architecture_keys(arch)
    kinds = {name: _kind(checkpoint, name, form) for name in checkpoint.names}
    matrices = [kind for name, kind in kinds.items() if len(checkpoint.shape(name)) == 2]
    most = max(sorted(set(matrices)), key=matrices.count)
    writer = gguf.GGUFWriter(path, traits_of(arch.family).gguf_names[0])
    try:
        everything: Keys = {
            "general.type": "model",
            **general,
            "general.file_type": FORMS[most.lower()].ftype,
            "general.quantization_version": GGML_QUANT_VERSION,
            **keys,
            **vocabulary.keys,
        }
        for key, value in everything.items():
            _add(writer, key, value)
        factors = rope_factors(arch)
        if factors is not None:
            writer.add_tensor_info(
                "rope_freqs.weight",
                factors.shape,
                factors.dtype,
                factors.nbytes,
                GGMLQuantizationType.F32,
            )
        for name, kind in kinds.items():
            shape = checkpoint.shape(name)
            nbytes = int(np.prod(shape)) * _BYTES[kind]
            # The shape in elements, whatever type the array will have that holds them.
            writer.add_tensor_info(
                name, shape, np.dtype(np.float32), nbytes, raw_dtype=GGMLQuantizationType[kind]
            )
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        if factors is not None:
            writer.write_tensor_data(factors)
        for done, (name, kind) in enumerate(kinds.items(), 1):
            writer.write_tensor_data(_stored(name, kind, interleaved(checkpoint, name)))
            progress(done / len(kinds))
    finally:
        writer.close()
    return notes + vocabulary.notes


def interleaved(checkpoint: Checkpoint, name: str) -> Floats:
    """Return a tensor in the order in which llama.cpp wants its rows.

    In its family llama the two halves of a head's rows are interleaved, so that rotary pairs lie side by side.
    """
    values = checkpoint.load(name)
    arch = checkpoint.architecture
    part = name.rpartition(".")[0].rpartition(".")[2]
    if not traits_of(arch.family).interleaved_rope or part not in ("attn_q", "attn_k"):
        return values
    heads = arch.heads if part == "attn_q" else arch.kv_heads
    halves = values.reshape(heads, 2, arch.head_dim // 2, *values.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(values.shape)


def _kind(checkpoint: Checkpoint, name: str, form: Form | None) -> str:
    if len(checkpoint.shape(name)) != 2:
        # Norms and biases are small, and sensitive: llama.cpp's kernels want them so.
        return "F32"
    kind = checkpoint.kind(name) if form is None else form.name.upper()
    return kind if kind in FLOAT_KINDS else "F32"


def _stored(name: str, kind: str, values: Floats) -> NDArray[np.generic]:
    if kind == "F16":
        if (largest := float(np.abs(values).max(initial=0.0))) > _LARGEST_F16:
            raise InvalidInput(
                f"{name} has values up to {largest:.3g}, and f16 ends at {_LARGEST_F16:.0f}.",
                hint="Use --quantize bf16.",
            )
        return values.astype(np.float16)
    if kind == "BF16":
        return np.asarray(gguf.quants.quantize(values, GGMLQuantizationType.BF16))
    return values


def _add(writer: gguf.GGUFWriter, key: str, value: Value) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)
