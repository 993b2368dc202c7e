"""Guessers that come with edgetts: keyed by the sha256 of the file a model is converted from.

A directory `profiles/exits/SHA256/` holds `exits.json`, which describes guessers and arrays, and the
arrays one after the other in parts. Only what was learned is in it, in 4 bits: rows of the model's own head
and embedding are taken from the bundle the guessers are put into.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
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
from edgetts.export.exits.tables import GraphTables, Tables
from edgetts.export.quantize import nearest

_PART = 1_000_000
"""Bytes of a file at most."""
_INDEX = "exits.json"
_SHIPPED = Path(profiles.__file__).parent / "exits"
Arrays = dict[str, NDArray[Any]]
Floats = NDArray[np.float32]


def find_shipped(sha256: str, among: Path = _SHIPPED) -> Path | None:
    """Return the directory of the guessers for a model; None where edgetts comes with none."""
    place = among / sha256
    return place if (place / _INDEX).is_file() else None


def install_shipped(bundle: Path, manifest: Manifest, place: Path, tables: Tables | None = None) -> ExitsNote:
    """Put shipped guessers into a bundle. tables: of its model; None reads those of a fused bundle's graph.

    Raises CorruptFile where they are damaged or of another model.
    """
    try:
        index = json.loads((place / _INDEX).read_text(encoding="utf-8"))
        data = b"".join(part.read_bytes() for part in sorted(place.glob("*.bin")))
        if hashlib.sha256(data).hexdigest() != index["sha256"]:
            raise ValueError("the arrays are not those described")
        arrays = {name: _array(data, about) for name, about in index["arrays"].items()}
        note = exits_from_json(index["exits"])
        networks = {one.file: _shipped(arrays, one) for one in note.guessers}
        if any(n.hidden != manifest.architecture.hidden for group in networks.values() for n in group):
            raise ValueError("the networks are of another size")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptFile(
            f"The guessers that came with edgetts cannot be used: {error}.", hint="Install edgetts again."
        ) from error
    tables = GraphTables(bundle) if tables is None else tables
    vocabulary = arrays["vocabulary"].astype(np.int64)
    made = [(one, networks[one.file]) for one in note.guessers]
    head = tables.head_rows(vocabulary, manifest.architecture.hidden)
    return install(bundle, manifest, note, made, tables, head, vocabulary)


def trained_networks(bundle: Path) -> list[tuple[GuesserNote, list[Network]]]:
    """Return the networks of a bundle's guessers, as their graphs have them."""
    exits = read_manifest(bundle).exits
    found = []
    for note in () if exits is None else exits.guessers:
        model = onnx.load(str(bundle / note.file), load_external_data=False)
        own = {
            tensor.name: numpy_helper.to_array(tensor)
            for tensor in model.graph.initializer
            if tensor.name.startswith("guess.") and not tensor.external_data
        }
        found.append((note, _networks(own)))
    return found


def shrunk(network: Network) -> Network:
    """Return a network as it will be when it was shipped: its matrices in 4 bits."""

    def rounded(weights: Floats) -> Floats:
        return nearest(weights, 4, BLOCK).dequantize() if weights.size else weights

    return replace(network, inner=rounded(network.inner), down=rounded(network.down))


def ship(
    note: ExitsNote,
    guessers: Sequence[tuple[GuesserNote, Sequence[Network]]],
    vocabulary: NDArray[np.int64],
    directory: Path,
) -> int:
    """Write guessers to `directory`, in place of what is there; return the bytes of all files."""
    arrays: Arrays = {"vocabulary": vocabulary.astype(np.int32)}
    notes = []
    for one, networks in guessers:
        name = f"{one.kind}-{one.cut}"
        notes.append(replace(one, file=name))
        for i, network in enumerate(networks):
            for part, weights in (("inner", network.inner), ("down", network.down)):
                if weights.size:
                    affine = nearest(weights, 4, BLOCK)
                    arrays[f"{name}/{i}.{part}.codes"] = affine.codes[:, ::2] | affine.codes[:, 1::2] << 4
                    arrays[f"{name}/{i}.{part}.scales"] = affine.scales.astype(np.float16)
            norms = [*network.in_norms] + ([] if network.out_norm is None else [network.out_norm])
            arrays[f"{name}/{i}.norms"] = np.stack(norms).astype(np.float16)
    data, described = b"", {}
    for key, array in sorted(arrays.items()):
        described[key] = {"at": len(data), "shape": list(array.shape), "dtype": array.dtype.str}
        data += array.tobytes()
    body = {
        "sha256": hashlib.sha256(data).hexdigest(),
        "exits": asdict(replace(note, guessers=tuple(notes))),
        "arrays": described,
    }
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.iterdir():
        old.unlink()
    (directory / _INDEX).write_text(json.dumps(body, separators=(",", ":")) + "\n", encoding="utf-8")
    for i, at in enumerate(range(0, len(data), _PART)):
        (directory / f"part-{i:02}.bin").write_bytes(data[at : at + _PART])
    return sum(path.stat().st_size for path in directory.iterdir())


def _shipped(arrays: Arrays, note: GuesserNote) -> list[Network]:
    """Rebuild the networks of one graph from what was shipped."""
    own = {k.partition("/")[2]: v for k, v in arrays.items() if k.partition("/")[0] == note.file}
    count = 2 if note.kind == "recurrent" else 1
    return [_unpacked(own, str(i), count) for i in range(sum(key.endswith(".norms") for key in own))]


def _unpacked(own: Arrays, prefix: str, inputs: int) -> Network:
    def matrix(part: str) -> Floats | None:
        if f"{prefix}.{part}.codes" not in own:
            return None
        packed = own[f"{prefix}.{part}.codes"]
        codes = np.stack([packed & 15, packed >> 4], axis=-1).reshape(len(packed), -1)
        return Affine(4, BLOCK, codes, own[f"{prefix}.{part}.scales"].astype(np.float32)).dequantize()

    norms = [norm.astype(np.float32) for norm in own[f"{prefix}.norms"]]
    inner, down = matrix("inner"), matrix("down")
    if inner is None or len(norms) not in (inputs, inputs + 1):
        raise ValueError("a network is not whole")
    # Of a linear network there is no second matrix.
    down = np.zeros((len(norms[0]), 0), np.float32) if down is None else down
    return Network(inner, down, tuple(norms[:inputs]), norms[inputs] if len(norms) > inputs else None)


def _array(data: bytes, about: Mapping[str, Any]) -> NDArray[Any]:
    dtype = np.dtype(str(about["dtype"]))
    if dtype.kind not in "uif":
        raise ValueError(f"an array of {dtype}")
    shape = tuple(int(n) for n in about["shape"])
    return np.frombuffer(data, dtype, int(np.prod(shape)), int(about["at"])).reshape(shape)


def _networks(own: Arrays) -> list[Network]:
    """Rebuild the networks of one graph from its constants."""
    prefixes = sorted(key.removesuffix(".inner.codes") for key in own if key.endswith(".inner.codes"))
    return [_network(own, prefix) for prefix in prefixes]


def _network(own: Arrays, prefix: str) -> Network:
    def matrix(part: str) -> Floats:
        codes, scales = own[f"{prefix}.{part}.codes"], own[f"{prefix}.{part}.scales"]
        rows = codes.shape[0]
        return Affine(8, BLOCK, codes.reshape(rows, -1), scales.reshape(rows, -1)).dequantize()

    norms = sorted(key for key in own if key.startswith(f"{prefix}.in.") and key.endswith(".weight"))
    hidden = own[norms[0]].shape[0]
    down = matrix("down") if f"{prefix}.down.codes" in own else np.zeros((hidden, 0), np.float32)
    return Network(matrix("inner"), down, tuple(own[key] for key in norms), own.get(f"{prefix}.out.weight"))
