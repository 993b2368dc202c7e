"""What a bundle is: the contract between export, which writes it, and runtimes, which run it.

A bundle is a directory `NAME.edge/` that holds

    manifest.json        sizes, quantisation, tolerances met, origin, and the hash of every file
    weights.bin          every tensor once
    model.onnx           all layers in one graph
    layers_A_B.onnx      the same layers in segments [A, B), cut where early exits may sit
    tokenizer.json       Hugging Face tokenizers' format
    chat_template.jinja  where the model has one

Opening one checks the format, the manifest's own hash and the hash of every file before anything
of it is used. The large weights file is hashed once per copy: a later opening trusts the result
while the file's device, inode, size, and times stay what they were.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from edgetts.architecture import Architecture
from edgetts.checksum import sha256_of
from edgetts.errors import BundleVersionError, ChecksumMismatch, CorruptFile, ModelNotFound
from edgetts.tokenizer import TokenizerFacts

FORMAT = 1
MANIFEST = "manifest.json"
WEIGHTS = "weights.bin"
MODEL = "model.onnx"
TOKENIZER = "tokenizer.json"
_MANIFEST_LIMIT = 64 << 20


@dataclass(frozen=True, slots=True)
class Segment:
    """Layers [start, stop) as one graph."""

    file: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class TensorNote:
    """How one stored matrix came to be: its form here, and what was lost against the source.

    error: root mean square of the difference, relative to that of the weights; 0 is exact.
    """

    source: str
    stored: str
    bytes: int
    error: float


@dataclass(frozen=True, slots=True)
class Check:
    """What the finished bundle was seen to do on a fixed text, against the NumPy reference.

    The reference runs the source's weights in float32. mean_kl in nats; top1 is the share of
    positions with the same most likely token; largest is the largest difference of logits.
    """

    reference: str
    tokens: int
    mean_kl: float
    top1: float
    largest: float


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything a runtime needs to know before it opens a graph."""

    name: str
    architecture: Architecture
    context: int
    """Positions the graphs' rotary tables reach."""
    segments: tuple[Segment, ...]
    quantize: str
    tensors: Mapping[str, TensorNote]
    tokenizer: TokenizerFacts
    source: Mapping[str, Any]
    """Of what this was made: file, sha256, kind."""
    licence: str | None
    made_by: Mapping[str, str]
    files: Mapping[str, str]
    """sha256 of every file but the manifest."""
    check: Check | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def cuts(self) -> tuple[int, ...]:
        return tuple(s.stop for s in self.segments[:-1])


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write manifest.json with its own hash."""
    body = asdict(manifest)
    body["format"] = FORMAT
    text = json.dumps({**body, "sha256": _digest(body)}, indent=1, ensure_ascii=False)
    (directory / MANIFEST).write_text(text + "\n", encoding="utf-8")


def open_bundle(directory: Path, *, trust: TrustRecord | None = None) -> Manifest:
    """Check a bundle and return its manifest.

    `trust` remembers which large files were hashed before. Raises ModelNotFound, CorruptFile,
    ChecksumMismatch, BundleVersionError.
    """
    manifest = read_manifest(directory)
    for name, expected in manifest.files.items():
        path = directory / name
        if not path.is_file():
            raise CorruptFile(f"The bundle {directory.name} has no {name}.", hint=_AGAIN)
        if trust is not None and name == WEIGHTS and trust.knows(path, expected):
            continue
        if sha256_of(path) != expected:
            raise ChecksumMismatch(
                f"{name} in the bundle {directory.name} was changed after export.", hint=_AGAIN
            )
        if trust is not None and name == WEIGHTS:
            trust.remember(path, expected)
    return manifest


def read_manifest(directory: Path) -> Manifest:
    """Read manifest.json and check it, but none of the other files."""
    path = directory / MANIFEST
    try:
        if path.stat().st_size > _MANIFEST_LIMIT:
            raise CorruptFile(f"The manifest of {directory.name} is too large to be one.", hint=_AGAIN)
        body = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelNotFound(f"{directory} is not a bundle: it has no {MANIFEST}.") from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise CorruptFile(f"The manifest of {directory.name} is not JSON.", hint=_AGAIN) from error
    if not isinstance(body, dict):
        raise CorruptFile(f"The manifest of {directory.name} is no object.", hint=_AGAIN)
    version = body.get("format")
    if isinstance(version, int) and version > FORMAT:
        raise BundleVersionError(
            f"The bundle {directory.name} has format {version}, but this edgetts reads up to {FORMAT}.",
            hint="Update edgetts, or export the model again.",
        )
    if version != FORMAT:
        raise CorruptFile(f"The bundle {directory.name} has no valid format number.", hint=_AGAIN)
    stated = body.pop("sha256", None)
    if stated != _digest(body):
        raise ChecksumMismatch(f"The manifest of {directory.name} was changed after export.", hint=_AGAIN)
    del body["format"]
    return _manifest(body, directory)


_AGAIN = "Remove the bundle and export or pull the model again."


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _manifest(body: dict[str, Any], directory: Path) -> Manifest:
    try:
        facts = dict(body.pop("tokenizer"))
        facts["end_tokens"] = tuple(facts["end_tokens"])
        known = {f.name for f in fields(Manifest)}
        if unknown := set(body) - known:
            raise CorruptFile(
                f"The manifest of {directory.name} has unknown fields: {', '.join(sorted(unknown))}."
            )
        manifest = Manifest(
            name=str(body["name"]),
            architecture=Architecture.from_json(body["architecture"]),
            context=int(body["context"]),
            segments=tuple(Segment(**s) for s in body["segments"]),
            quantize=str(body["quantize"]),
            tensors={str(k): TensorNote(**v) for k, v in body["tensors"].items()},
            tokenizer=TokenizerFacts(**facts),
            source=dict(body["source"]),
            licence=body["licence"],
            made_by=dict(body["made_by"]),
            files={str(k): str(v) for k, v in body["files"].items()},
            check=Check(**body["check"]) if body.get("check") else None,
            notes=tuple(body.get("notes", ())),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CorruptFile(
            f"The manifest of {directory.name} is incomplete or malformed.", hint=_AGAIN
        ) from error
    stops = [s.stop for s in manifest.segments]
    starts = [s.start for s in manifest.segments]
    whole = (
        starts == [0, *stops[:-1]]
        and stops == sorted(set(stops))
        and stops[-1:] == [manifest.architecture.layers]
    )
    if not whole or not manifest.context > 0:
        raise CorruptFile(f"The manifest of {directory.name} describes no whole model.", hint=_AGAIN)
    needed = {WEIGHTS, MODEL, TOKENIZER, *(s.file for s in manifest.segments)}
    if missing := needed - set(manifest.files):
        raise CorruptFile(f"The manifest of {directory.name} has no hash for {', '.join(sorted(missing))}.")
    if any(Path(name).name != name or name in ("", ".", "..") for name in manifest.files):
        raise CorruptFile(f"The manifest of {directory.name} names files outside the bundle.", hint=_AGAIN)
    return manifest


class TrustRecord:
    """Remember, outside the bundles, which large files had which hash, by what the file system says of them.

    Lost or damaged records only cost a hash. `directory` holds one small file per entry.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def knows(self, path: Path, sha256: str) -> bool:
        try:
            return self._entry(path).read_text(encoding="ascii") == self._state(path, sha256)
        except (OSError, UnicodeDecodeError):
            return False

    def remember(self, path: Path, sha256: str) -> None:
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            entry = self._entry(path)
            draft = entry.with_name(f"{entry.name}.{os.getpid()}")
            draft.write_text(self._state(path, sha256), encoding="ascii")
            draft.replace(entry)
        except OSError:
            # A cache that cannot be written is a cache that is not there.
            return

    def _entry(self, path: Path) -> Path:
        return self._directory / hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]

    @staticmethod
    def _state(path: Path, sha256: str) -> str:
        s = path.stat()
        return f"{sha256} {s.st_dev} {s.st_ino} {s.st_size} {s.st_mtime_ns} {s.st_ctime_ns}"
