"""Read safetensors files, one or sharded, trusting nothing in them.

Knows the container, not what its tensors are for.

Layout: https://huggingface.co/docs/safetensors (8 bytes of length, a JSON header, the tensors' bytes).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from mmap import mmap
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import TracebackType
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from edgetts.errors import CorruptFile, InvalidInput, ModelNotFound, UnsupportedModel
from edgetts.export.mapped_file import DAMAGED_HINT, TensorInfo, check_spans, map_file, row_range, shorten

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"

_MAX_JSON_BYTES = 32 << 20
_MAX_SHARDS = 1024
_BYTES = {"F32": 4, "F16": 2, "BF16": 2}


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of bounded size from a file. Raises CorruptFile, ModelNotFound, StorageError."""
    data = map_file(path)
    with data:
        if len(data) > _MAX_JSON_BYTES:
            raise CorruptFile(f"{path.name} is {len(data)} bytes long, far more than such a file needs.")
        return _parse_json(path.name, data[:])


class SafetensorsFile:
    """One or more safetensors files, mapped. Opening checks every length and offset."""

    tensors: Mapping[str, TensorInfo]

    def __init__(self, name: str, shards: Mapping[str, tuple[mmap, Mapping[str, TensorInfo]]]) -> None:
        self.name = name
        self._homes: dict[str, mmap] = {}
        tensors: dict[str, TensorInfo] = {}
        for shard, (data, found) in shards.items():
            if twice := set(found) & set(tensors):
                _corrupt(shard, f"it holds the tensor {shorten(min(twice))}, which another file holds too")
            tensors |= found
            self._homes |= dict.fromkeys(found, data)
        self.tensors = tensors

    @classmethod
    def open(cls, path: str | Path) -> SafetensorsFile:
        """Map and check a .safetensors file, or those of a directory (model.safetensors or its index)."""
        path = Path(path)
        if not path.is_dir():
            return cls(path.name, {path.name: _open_shard(path)})
        if (path / SINGLE_FILE).exists():
            return cls(path.name, {SINGLE_FILE: _open_shard(path / SINGLE_FILE)})
        if not (path / INDEX_FILE).exists():
            raise ModelNotFound(
                f"{path} holds neither {SINGLE_FILE} nor {INDEX_FILE}.",
                hint="edgetts reads weights from safetensors or GGUF files.",
            )
        places = _read_index(path / INDEX_FILE)
        shards = {name: _open_shard(path / name) for name in sorted(set(places.values()))}
        for tensor, shard in places.items():
            if tensor not in shards[shard][1]:
                _corrupt(INDEX_FILE, f"it looks for the tensor {shorten(tensor)} in {shard}, which lacks it")
        for shard, (_, found) in shards.items():
            if extra := set(found) - set(places):
                _corrupt(INDEX_FILE, f"it does not list the tensor {shorten(min(extra))} of {shard}")
        return cls(path.name, shards)

    def __enter__(self) -> SafetensorsFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files."""
        self._homes = {}

    def dequantize(self, name: str, rows: slice | None = None) -> NDArray[np.float32]:
        """Return a tensor, or a range of its rows, in float32."""
        if name not in self.tensors:
            raise InvalidInput(f"{self.name} has no tensor {shorten(name)}.")
        if name not in self._homes:
            raise InvalidInput(f"{self.name} has been closed.")
        tensor = self.tensors[name]
        if not tensor.shape:
            return self._floats(tensor, 0, tensor.nbytes).reshape(())
        first, last = row_range(tensor, rows)
        per_row = tensor.nbytes // max(tensor.shape[0], 1)
        values = self._floats(tensor, first * per_row, (last - first) * per_row)
        return values.reshape(last - first, *tensor.shape[1:])

    def _floats(self, tensor: TensorInfo, skip: int, nbytes: int) -> NDArray[np.float32]:
        if not nbytes:
            return np.empty(0, np.float32)
        raw = np.frombuffer(self._homes[tensor.name], np.uint8, nbytes, tensor.offset + skip)
        if tensor.kind == "BF16":
            bits: NDArray[np.uint32] = raw.view("<u2").astype(np.uint32) << np.uint32(16)
            return bits.view(np.float32)
        with np.errstate(all="ignore"):
            return raw.view("<f2" if tensor.kind == "F16" else "<f4").astype(np.float32)


def _open_shard(path: Path) -> tuple[mmap, dict[str, TensorInfo]]:
    data = map_file(path)
    try:
        return data, _read_header(path.name, data)
    except BaseException:
        data.close()
        raise


def _read_header(file: str, data: mmap) -> dict[str, TensorInfo]:
    size = len(data)
    if size < 8:
        _corrupt(file, f"{size} bytes cannot hold a header")
    (length,) = struct.unpack_from("<Q", data)
    if length > min(size - 8, _MAX_JSON_BYTES):
        _corrupt(file, f"its header claims {length} bytes")
    header = _parse_json(file, data[8 : 8 + length])
    start = 8 + length
    tensors = {
        name: _tensor(file, start, name, entry) for name, entry in header.items() if name != "__metadata__"
    }
    check_spans(file, start, size, tensors.values(), gaps=False)
    return tensors


def _tensor(file: str, start: int, name: str, entry: Any) -> TensorInfo:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        _corrupt(file, f"its header does not describe the tensor {shorten(name)}")
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    for numbers in (shape, offsets):
        if not isinstance(numbers, list) or not all(type(n) is int and 0 <= n < 1 << 62 for n in numbers):
            _corrupt(file, f"its header does not say where the tensor {shorten(name)} lies")
    if len(offsets) != 2 or len(shape) > 8:
        _corrupt(file, f"its header does not say where the tensor {shorten(name)} lies")
    if not isinstance(kind, str) or kind not in _BYTES:
        raise UnsupportedModel(
            f"{file} stores the tensor {shorten(name)} as {shorten(str(kind))}.",
            hint=f"edgetts reads {', '.join(_BYTES)}.",
        )
    nbytes = _BYTES[kind]
    for n in shape:
        nbytes *= n
    if offsets[1] - offsets[0] != nbytes:
        _corrupt(file, f"the tensor {shorten(name)} needs {nbytes} bytes and has {offsets[1] - offsets[0]}")
    return TensorInfo(name, tuple(shape), kind, start + offsets[0], nbytes)


def _read_index(path: Path) -> dict[str, str]:
    places = read_json(path).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(v, str) for v in places.values()) or not places:
        _corrupt(path.name, "it has no weight_map from tensors to files")
    files = set(places.values())
    if len(files) > _MAX_SHARDS:
        _corrupt(path.name, f"it names {len(files)} files")
    for file in files:
        plain = PurePosixPath(file).name == PureWindowsPath(file).name == file
        if not plain or not file.endswith(".safetensors") or not file.isprintable():
            _corrupt(path.name, f"it names the file {shorten(file)}, which is no plain name beside it")
    return places


def _parse_json(file: str, text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        _corrupt(file, f"it does not hold valid JSON ({str(error)[:100]})")
    if not isinstance(value, dict):
        _corrupt(file, "its JSON is no object")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object whose keys are unique."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears twice")
    return found


def _corrupt(file: str, what: str) -> NoReturn:
    raise CorruptFile(f"{file} is damaged: {what}.", hint=DAMAGED_HINT)
