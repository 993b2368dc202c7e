"""Open a model's weights, whatever file they are in, in one convention.

Tensors go by GGUF's names; rotary pairs are half-split; norm weights are what is multiplied with.
Knows files and families; knows nothing of graphs or of how weights are stored afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetts.architecture import Architecture
from edgetts.errors import CorruptFile, InvalidInput, ModelNotFound, UnsupportedModel
from edgetts.export.blocks import Affine, affine_from_gguf
from edgetts.export.families import (
    FamilyTraits,
    expected_tensors,
    gguf_name,
    ignorable,
    traits_of,
)
from edgetts.export.gguf_architecture import architecture_from_gguf
from edgetts.export.gguf_file import GgufFile
from edgetts.export.hf_architecture import architecture_from_config
from edgetts.export.mapped_file import DAMAGED_HINT, TensorInfo, row_range, shorten
from edgetts.export.safetensors_file import SafetensorsFile, read_json

_ROTATED = re.compile(r"blk\.\d+\.attn_(q|k)\.(weight|bias)")
_CHUNK = 1 << 22


class Checkpoint:
    """A model's architecture and weights. Close it, or use it in a with statement.

    `metadata` is a GGUF file's (for the tokenizer and chat template), `directory` a Hugging Face
    model's (for tokenizer.json); the other is empty or None. `licence` is None where it is not stated.
    """

    architecture: Architecture
    metadata: Mapping[str, Any]
    directory: Path | None
    source_name: str
    licence: str | None

    def __init__(
        self,
        weights: GgufFile | SafetensorsFile,
        traits: FamilyTraits,
        architecture: Architecture,
        places: Mapping[str, str],
        *,
        file: str,
        source_name: str,
        licence: str | None,
        directory: Path | None = None,
    ) -> None:
        self._weights = weights
        self._traits = traits
        self._places = places
        self._file = file
        self.architecture = architecture
        self.metadata = weights.metadata if isinstance(weights, GgufFile) else {}
        self.directory = directory
        self.source_name = source_name
        self.licence = licence

    @property
    def names(self) -> tuple[str, ...]:
        """The tensors of the architecture, in its order."""
        return tuple(self._places)

    def kind(self, name: str) -> str:
        """Say how a tensor is stored, e.g. Q4_1 or F16."""
        return self._info(name).kind

    def shape(self, name: str) -> tuple[int, ...]:
        return self._info(name).shape

    def load(self, name: str, rows: slice | None = None) -> NDArray[np.float32]:
        """Return a tensor, or a range of its rows, in float32 and in this module's convention.

        Raises CorruptFile for values that are not finite.
        """
        info = self._info(name)
        if (order := self._order(name)) is not None:
            first, last = row_range(info, rows)
            values = self._weights.dequantize(info.name)[order[first:last]]
        else:
            values = self._weights.dequantize(info.name, rows)
        if not isinstance(self._weights, GgufFile) and self._traits.norm_shift and "norm" in name:
            values += np.float32(self._traits.norm_shift)
        self._check_finite(name, values)
        return values

    def blocks(self, name: str) -> Affine | None:
        """Return a quantised matrix as integers; None where it has no such form."""
        info = self._info(name)
        if not isinstance(self._weights, GgufFile) or len(info.shape) != 2:
            return None
        affine = affine_from_gguf(self._weights.raw(info.name), info.kind, info.shape)
        if affine is None:
            return None
        self._check_finite(name, affine.scales)
        if affine.offsets is not None:
            self._check_finite(name, affine.offsets)
        order = self._order(name)
        return affine if order is None else affine.select(order)

    def close(self) -> None:
        self._weights.close()

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _info(self, name: str) -> TensorInfo:
        try:
            return self._weights.tensors[self._places[name]]
        except KeyError:
            raise InvalidInput(f"{self._file} has no tensor {shorten(name)}.") from None

    def _order(self, name: str) -> NDArray[np.intp] | None:
        """Return where each row of a rotated projection lies in the file, if not in its place.

        llama.cpp's converter stores row (s, j) of a head, half s and pair j, as row (j, s).
        """
        interleaved = isinstance(self._weights, GgufFile) and self._traits.interleaved_rope
        if not interleaved or not (match := _ROTATED.fullmatch(name)):
            return None
        arch = self.architecture
        heads = arch.heads if match[1] == "q" else arch.kv_heads
        stored = np.arange(heads * arch.head_dim, dtype=np.intp).reshape(heads, arch.head_dim // 2, 2)
        return np.ascontiguousarray(stored.swapaxes(1, 2)).reshape(-1)

    def _check_finite(self, name: str, values: NDArray[np.float32]) -> None:
        flat = values.reshape(-1)
        for at in range(0, flat.size, _CHUNK):
            if not np.isfinite(flat[at : at + _CHUNK]).all():
                raise CorruptFile(
                    f"{self._file} is damaged: {name} has values that are not finite.",
                    hint=DAMAGED_HINT,
                )


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Open a .gguf file or a Hugging Face directory and check that it holds the whole of a known model.

    Raises ModelNotFound, CorruptFile, UnsupportedModel, StorageError.
    """
    path = Path(path)
    if path.is_dir():
        return _open_directory(path)
    if path.suffix == ".safetensors":
        raise InvalidInput(
            f"{path.name} holds only weights.", hint="Name the directory that also holds its config.json."
        )
    return _open_gguf(path)


def _open_gguf(path: Path) -> Checkpoint:
    file = GgufFile.open(path)
    try:
        shapes = {name: info.shape for name, info in file.tensors.items()}
        factors = None
        if "rope_freqs.weight" in shapes:
            if len(shapes["rope_freqs.weight"]) != 1 or shapes["rope_freqs.weight"][0] > 1024:
                raise CorruptFile(f"{path.name} is damaged: rope_freqs.weight is no list of frequencies.")
            factors = tuple(file.dequantize("rope_freqs.weight").tolist())
        architecture = architecture_from_gguf(path.name, file.metadata, shapes, factors)
        places = {name: name for name in file.tensors if not ignorable(name)}
        _check_tensors(path.name, architecture, places, shapes)
        return Checkpoint(
            file,
            traits_of(architecture.family),
            architecture,
            {name: name for name in expected_tensors(architecture)},
            file=path.name,
            source_name=_text(file.metadata, "general.name") or path.stem,
            licence=_text(file.metadata, "general.license"),
        )
    except BaseException:
        file.close()
        raise


def _open_directory(path: Path) -> Checkpoint:
    if not (path / "config.json").exists():
        raise ModelNotFound(
            f"{path} holds no config.json, so it is no Hugging Face model.",
            hint="Name a .gguf file or a directory with config.json and model.safetensors.",
        )
    architecture, traits = architecture_from_config(
        f"{path.name}/config.json", read_json(path / "config.json")
    )
    file = SafetensorsFile.open(path)
    try:
        places: dict[str, str] = {}
        for name in file.tensors:
            if ignorable(name):
                continue
            known = gguf_name(traits, name)
            if known == "output.weight" and architecture.tied_embeddings:
                # Some writers store the shared matrix under both names.
                continue
            if known is None or known in places:
                raise UnsupportedModel(
                    f"{path.name} has a tensor that edgetts does not know: {shorten(name)}."
                )
            places[known] = name
        _check_tensors(path.name, architecture, places, {n: t.shape for n, t in file.tensors.items()})
        return Checkpoint(
            file,
            traits,
            architecture,
            {name: places[name] for name in expected_tensors(architecture)},
            file=path.name,
            source_name=path.resolve().name,
            licence=card_licence(path),
            directory=path,
        )
    except BaseException:
        file.close()
        raise


def _check_tensors(
    file: str, architecture: Architecture, places: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Raise unless the file has exactly the tensors of the architecture."""
    expected = expected_tensors(architecture)
    if missing := [name for name in expected if name not in places]:
        raise CorruptFile(f"{file} lacks {_some(missing)}.", hint=DAMAGED_HINT)
    if unknown := [places[name] for name in places if name not in expected]:
        raise UnsupportedModel(
            f"{file} has tensors that a {architecture.family} model does not: {_some(unknown)}.",
            hint="It may be a variant that edgetts does not know.",
        )
    for name, shape in expected.items():
        if (found := shapes[places[name]]) != shape:
            raise CorruptFile(
                f"{file} is damaged: {places[name]} has the shape {list(found)}, "
                f"but its settings make it {list(shape)}.",
                hint=DAMAGED_HINT,
            )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(shorten(name) for name in names[:3]) + more


def _text(metadata: Mapping[str, Any], key: str) -> str | None:
    """Return a short printable text, or None: it ends up in manifests and on terminals."""
    value = metadata.get(key)
    return value if isinstance(value, str) and value.isprintable() and 0 < len(value) <= 200 else None


def card_licence(path: Path) -> str | None:
    """Read the licence from the front matter of a model card."""
    try:
        with (path / "README.md").open("rb") as file:
            head = file.read(1 << 16).decode("utf-8", "replace")
    except OSError:
        return None
    front = re.match(r"---\r?\n(.*?)\r?\n---", head, re.DOTALL)
    found = front and re.search(
        r"^license:[ \t]*['\"]?([\w.+-]{1,80})['\"]?[ \t\r]*$", front[1], re.MULTILINE
    )
    return found[1] if found else None
