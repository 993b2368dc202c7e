"""Guessers that come with edgetts: keyed by the sha256 of the file a model is converted from.

A directory `profiles/exits/SHA256/` holds `exits.json`, which describes guessers and arrays, and the
arrays one after the other in parts. Only what was learned is in it: rows of the model's own head and
embedding are taken from the bundle the guessers are put into.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from edgetts import profiles
from edgetts.bundle import ExitsNote, GuesserNote, Manifest, exits_from_json, read_manifest
from edgetts.errors import CorruptFile
from edgetts.export.blocks import Affine
from edgetts.export.exits.install import install
from edgetts.export.exits.network import BLOCK, Network
from edgetts.export.exits.tables import Tables

_PART = 1_000_000
"""Bytes of a file at most."""
_INDEX = "exits.json"
_SHIPPED = Path(profiles.__file__).parent / "exits"
Arrays = dict[str, NDArray[Any]]


def find_shipped(sha256: str, among: Path = _SHIPPED) -> Path | None:
    """Return the directory of the guessers for a model; None where edgetts comes with none."""
    place = among / sha256
    return place if (place / _INDEX).is_file() else None


def install_shipped(bundle: Path, manifest: Manifest, place: Path) -> ExitsNote:
    """Put shipped guessers into a bundle. Raises CorruptFile where they are damaged or of another model."""
    try:
        index = json.loads((place / _INDEX).read_text(encoding="utf-8"))
        data = b"".join(part.read_bytes() for part in sorted(place.glob("*.bin")))
        if hashlib.sha256(data).hexdigest() != index["sha256"]:
            raise ValueError("the arrays are not those described")
        arrays = {name: _array(data, about) for name, about in index["arrays"].items()}
        note = exits_from_json(index["exits"])
        networks = {one.file: _networks(arrays, one.file) for one in note.guessers}
        if any(n.hidden != manifest.architecture.hidden for group in networks.values() for n in group):
            raise ValueError("the networks are of another size")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptFile(
            f"The guessers that came with edgetts cannot be used: {error}.", hint="Install edgetts again."
        ) from error
    tables, vocabulary = Tables(bundle), arrays["vocabulary"].astype(np.int64)
    made = [(one, networks[one.file]) for one in note.guessers]
    head = tables.head_rows(vocabulary, manifest.architecture.hidden)
    return install(bundle, manifest, note, made, tables, head, vocabulary)


def ship(bundle: Path, directory: Path, kinds: Mapping[str, int]) -> int:
    """Write a bundle's trained guessers to `directory`; return the bytes of all files.

    kinds: which to take, and how many of each kind, those that agree most first.
    """
    manifest = read_manifest(bundle)
    if manifest.exits is None:
        raise CorruptFile(f"{bundle.name} has no guessers to ship.", hint="Train some: edgetts exits train.")
    chosen: list[GuesserNote] = []
    for kind, count in kinds.items():
        ranked = sorted(manifest.exits.of_kind(kind), key=lambda note: note.agreement[0], reverse=True)
        chosen += ranked[:count]
    arrays: Arrays = {}
    notes = []
    for one in chosen:
        model = onnx.load(str(bundle / one.file), load_external_data=False)
        name = f"{one.kind}-{one.cut}"
        for tensor in model.graph.initializer:
            if tensor.name == "guess.vocabulary":
                arrays["vocabulary"] = numpy_helper.to_array(tensor).astype(np.int32)
            elif tensor.name.startswith("guess.") and not tensor.name.startswith("guess.head."):
                array = numpy_helper.to_array(tensor)
                arrays[f"{name}/{tensor.name}"] = array if array.dtype == np.uint8 else _short(array)
        notes.append(replace(one, file=name))
    cuts = {one.cut for one in chosen if one.kind == "exit"}
    leaving = tuple(row for row in manifest.exits.leaving if set(row.cuts) <= cuts)
    data, described = b"", {}
    for name, array in sorted(arrays.items()):
        described[name] = {"at": len(data), "shape": list(array.shape), "dtype": array.dtype.str}
        data += array.tobytes()
    body = {
        "sha256": hashlib.sha256(data).hexdigest(),
        "exits": asdict(replace(manifest.exits, guessers=tuple(notes), leaving=leaving)),
        "arrays": described,
    }
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.iterdir():
        old.unlink()
    (directory / _INDEX).write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
    for i, at in enumerate(range(0, len(data), _PART)):
        (directory / f"part-{i:02}.bin").write_bytes(data[at : at + _PART])
    return sum(path.stat().st_size for path in directory.iterdir())


def _array(data: bytes, about: Mapping[str, Any]) -> NDArray[Any]:
    dtype = np.dtype(str(about["dtype"]))
    if dtype.kind not in "uif":
        raise ValueError(f"an array of {dtype}")
    shape = tuple(int(n) for n in about["shape"])
    return np.frombuffer(data, dtype, int(np.prod(shape)), int(about["at"])).reshape(shape)


def _short(array: NDArray[Any]) -> NDArray[Any]:
    """Keep floats in 16 bits, and sizes as they are."""
    return array.astype(np.float16) if array.dtype == np.float32 else array


def _networks(arrays: Arrays, name: str) -> list[Network]:
    """Rebuild the networks of one graph."""
    own = {key.removeprefix(f"{name}/"): array for key, array in arrays.items() if key.startswith(f"{name}/")}
    prefixes = sorted({key.partition(".inner.codes")[0] for key in own if key.endswith(".inner.codes")})
    return [_network(own, prefix) for prefix in prefixes]


def _network(own: Arrays, prefix: str) -> Network:
    def matrix(part: str) -> NDArray[np.float32]:
        codes, scales = own[f"{prefix}.{part}.codes"], own[f"{prefix}.{part}.scales"].astype(np.float32)
        rows = codes.shape[0]
        return Affine(8, BLOCK, codes.reshape(rows, -1), scales.reshape(rows, -1)).dequantize()

    norms = sorted(key for key in own if key.startswith(f"{prefix}.in.") and key.endswith(".weight"))
    inner = matrix("inner")
    # Of a linear network there is no second matrix.
    hidden = own[norms[0]].shape[0]
    down = matrix("down") if f"{prefix}.down.codes" in own else np.zeros((hidden, 0), np.float32)
    out = own.get(f"{prefix}.out.weight")
    return Network(
        inner,
        down,
        tuple(own[key].astype(np.float32) for key in norms),
        None if out is None else out.astype(np.float32),
    )
