"""What a bundle is: the contract between export, which writes it, and runtimes, which run it.

A bundle is a directory `NAME.edge/` that holds

    manifest.json        sizes, quantisation, tolerances met, origin, and the hash of every file
    weights.bin          every tensor once
    model.onnx           all layers in one graph
    prompt.onnx          the same in exact arithmetic, faster for long prompts; where weights have 4 bits
    exits/               guessers at coming tokens, where some were trained: a small graph each
    layers_A_B.onnx      the same layers in segments [A, B), cut where early exits may sit
    tokenizer.json       Hugging Face tokenizers' format
    chat_template.jinja  where the model has one

A bundle whose manifest says `graph: concatenating` has of these one segment, model.onnx, as another exporter
made it: it returns the cache as new tensors, which old and new keys and values are concatenated to. One that
says `graph: static` holds graphs of fixed shapes for NPUs; `edgetts.static_form` says which.

Opening one checks the format, the manifest's own hash and the hash of every file before anything
of it is used. Large files, those of weights above all, are hashed once per copy: a later opening trusts the result
while the file's device, inode, size, and times stay what they were.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from edgetts.architecture import Architecture, Sizes
from edgetts.checksum import sha256_of
from edgetts.errors import BundleVersionError, ChecksumMismatch, CorruptFile, ModelNotFound, StorageError
from edgetts.static_form import COMPILED, EMBEDDING, STATIC, StaticNote, static_from_json
from edgetts.tokenizer import TokenizerFacts
from edgetts.types import LeavingNote

FORMAT = 3
MANIFEST = "manifest.json"
WEIGHTS = "weights.bin"
MODEL = "model.onnx"
PROMPT = "prompt.onnx"
TOKENIZER = "tokenizer.json"
EXITS = "exits"
FUSED, CONCATENATING = "fused", "concatenating"
_BINARY = ".bin"
"""Compiled graphs, which may be as large as the weights."""
_MANIFEST_LIMIT = 64 << 20
_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}"
_FILE_NAME = re.compile(rf"({EXITS}/|{COMPILED}/{_NAME}/)?{_NAME}")
_SCALARS: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float)}
_Value = TypeVar("_Value")


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


Pairs = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class GuesserNote:
    """A small network that guesses coming tokens from what the model computes anyway.

    kind: recurrent, from the final hidden state and the last token; parallel, from the final state alone;
    exit, from the residual stream before layer `cut`. fitted: gradient or closed form. agreement: share of
    held-out positions at which the guess was the model's first choice, by tokens ahead. calibration:
    points (stated, observed) of a rising curve.
    """

    file: str
    kind: str
    cut: int
    fitted: str
    agreement: tuple[float, ...]
    calibration: Pairs


@dataclass(frozen=True, slots=True)
class ExitsNote:
    """Guessers, and where they come from: trained on `tokens` tokens of the model's own text in `seconds`.

    vocabulary: tokens a guess may be. positions: held-out ones that figures are of. made_by: versions.
    """

    vocabulary: int
    tokens: int
    positions: int
    seconds: float
    made_by: Mapping[str, str]
    guessers: tuple[GuesserNote, ...]
    leaving: tuple[LeavingNote, ...] = ()

    def of_kind(self, kind: str) -> tuple[GuesserNote, ...]:
        return tuple(note for note in self.guessers if note.kind == kind)


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything a runtime needs to know before it opens a graph."""

    name: str
    architecture: Architecture | Sizes
    """Sizes where the graph is a concatenating one."""
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
    exits: ExitsNote | None = None
    notes: tuple[str, ...] = field(default=())
    graph: str = FUSED
    """fused: ours, which write the cache in place; concatenating: another exporter's; static: fixed shapes."""
    static: StaticNote | None = None
    """Where the graph is static, and only there."""

    @property
    def cuts(self) -> tuple[int, ...]:
        return tuple(s.stop for s in self.segments[:-1])


_Record = TypeVar("_Record", Segment, TensorNote, Check)


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write manifest.json with its own hash."""
    body = asdict(manifest)
    if manifest.graph == FUSED:
        del body["graph"]  # so that an edgetts that knows no others reads it
    if manifest.static is None:
        del body["static"]
    body["format"] = FORMAT
    text = json.dumps({**body, "sha256": _digest(body)}, indent=1, ensure_ascii=False)
    (directory / MANIFEST).write_text(text + "\n", encoding="utf-8")


def open_bundle(directory: Path, *, trust: TrustRecord | None = None) -> Manifest:
    """Check a bundle and return its manifest.

    `trust` remembers which large files were hashed before. Raises ModelNotFound, CorruptFile,
    ChecksumMismatch, BundleVersionError, StorageError.
    """
    manifest = read_manifest(directory)
    for name, expected in manifest.files.items():
        path = directory / name
        if not path.is_file():
            raise CorruptFile(f"The bundle {directory.name} has no {name}.", hint=_AGAIN)
        trusted = trust if name in (WEIGHTS, EMBEDDING) or name.endswith(_BINARY) else None
        if trusted is not None and trusted.knows(path, expected):
            continue
        try:
            # Before the bytes are read: what changes the file meanwhile must not be trusted later.
            state = TrustRecord.state(path, expected)
            found = sha256_of(path)
        except OSError as error:
            raise StorageError(f"{path} cannot be read: {error.strerror}.") from error
        if found != expected:
            raise ChecksumMismatch(
                f"{name} in the bundle {directory.name} was changed after export.", hint=_AGAIN
            )
        if trusted is not None:
            trusted.remember(path, state)
    return manifest


def read_manifest(directory: Path) -> Manifest:
    """Read manifest.json and check it, but none of the other files."""
    path = directory / MANIFEST
    try:
        if path.stat().st_size > _MANIFEST_LIMIT:
            raise CorruptFile(f"The manifest of {directory.name} is too large to be one.", hint=_AGAIN)
        body = json.loads(path.read_text(encoding="utf-8"))
        digest = (
            _digest({key: body[key] for key in body if key != "sha256"}) if isinstance(body, dict) else ""
        )
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ModelNotFound(f"{directory} is not a bundle: it has no {MANIFEST}.") from error
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise CorruptFile(f"The manifest of {directory.name} is not JSON.", hint=_AGAIN) from error
    if not isinstance(body, dict):
        raise CorruptFile(f"The manifest of {directory.name} is no object.", hint=_AGAIN)
    version = body.get("format")
    if isinstance(version, int) and version > FORMAT:
        raise BundleVersionError(
            f"The bundle {directory.name} has format {version}, but this edgetts reads up to {FORMAT}.",
            hint="Update edgetts, or export the model again.",
        )
    if isinstance(version, int) and not isinstance(version, bool) and 0 < version < FORMAT:
        raise BundleVersionError(
            f"The bundle {directory.name} has format {version}, but this edgetts reads format {FORMAT}.",
            hint="Export the model again.",
        )
    if version != FORMAT:
        raise CorruptFile(f"The bundle {directory.name} has no valid format number.", hint=_AGAIN)
    if body.pop("sha256", None) != digest:
        raise ChecksumMismatch(f"The manifest of {directory.name} was changed after export.", hint=_AGAIN)
    del body["format"]
    return _manifest(body, directory)


def is_static(path: str | Path | None) -> bool:
    """Tell whether a path is a static bundle's. Raises what `read_manifest` raises for a damaged one."""
    if path is None or not (Path(path) / MANIFEST).is_file():
        return False
    return read_manifest(Path(path)).static is not None


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
        graph = body.get("graph", FUSED)
        if graph not in (FUSED, CONCATENATING, STATIC):
            raise ValueError(f"{graph!r} is no kind of graph")
        described = Sizes if graph == CONCATENATING else Architecture
        architecture = described.from_json(body["architecture"])
        manifest = Manifest(
            name=_of(str, body["name"]),
            architecture=architecture,
            context=_of(int, body["context"]),
            segments=tuple(_record(Segment, s) for s in body["segments"]),
            quantize=_of(str, body["quantize"]),
            tensors={k: _record(TensorNote, v) for k, v in body["tensors"].items()},
            tokenizer=TokenizerFacts(**facts),
            source=dict(body["source"]),
            licence=None if body["licence"] is None else _of(str, body["licence"]),
            made_by={k: _of(str, v) for k, v in body["made_by"].items()},
            files={k: _of(str, v) for k, v in body["files"].items()},
            check=None if body["check"] is None else _record(Check, body["check"]),
            exits=None if body["exits"] is None else exits_from_json(body["exits"]),
            notes=tuple(_of(str, note) for note in _of(list, body["notes"])),
            graph=graph,
            static=static_from_json(body["static"], architecture.layers) if graph == STATIC else None,
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
    if graph == CONCATENATING:
        whole = whole and [s.file for s in manifest.segments] == [MODEL] and manifest.exits is None
    if not whole or not 0 < manifest.context <= manifest.architecture.context:
        raise CorruptFile(f"The manifest of {directory.name} describes no whole model.", hint=_AGAIN)
    needed = {WEIGHTS, TOKENIZER, *(s.file for s in manifest.segments)}
    needed |= {MODEL} if manifest.static is None else {EMBEDDING, *manifest.static.files}
    if manifest.exits is not None:
        needed |= {note.file for note in manifest.exits.guessers}
    if missing := needed - set(manifest.files):
        raise CorruptFile(f"The manifest of {directory.name} has no hash for {', '.join(sorted(missing))}.")
    if not all(_FILE_NAME.fullmatch(name) for name in manifest.files):
        raise CorruptFile(f"The manifest of {directory.name} names files outside the bundle.", hint=_AGAIN)
    return manifest


def _of(kind: type[_Value] | tuple[type[_Value], ...], value: Any) -> _Value:
    """Return a value of the kind, which no bool is. Raises TypeError."""
    if isinstance(value, bool) or not isinstance(value, kind):
        raise TypeError(f"{value!r} is no {kind}")
    return value


def exits_from_json(data: Any) -> ExitsNote:
    """Read an ExitsNote from plain JSON, which is used up. Raises KeyError, TypeError or ValueError."""

    def numbers(value: Any) -> tuple[float, ...]:
        return tuple(float(_of((int, float), one)) for one in _of(list, value))

    def guesser(one: Any) -> GuesserNote:
        agreement, calibration = numbers(one.pop("agreement")), _of(list, one.pop("calibration"))
        points = tuple((x, y) for x, y in map(numbers, calibration))
        rising = all(list(axis) == sorted(axis) for axis in zip(*points, strict=True))
        if not points or not rising:
            raise ValueError("a calibration is a rising curve")
        texts = {name: _of(str, one.pop(name)) for name in ("file", "kind", "fitted")}
        return GuesserNote(
            **texts, cut=_of(int, one.pop("cut")), agreement=agreement, calibration=points, **one
        )

    def leaving(one: Any) -> LeavingNote:
        calibrated, confirmed = numbers(one.pop("agreement"))
        return LeavingNote(
            criterion=_of(str, one.pop("criterion")),
            strictness=float(_of((int, float), one.pop("strictness"))),
            cuts=tuple(_of(int, cut) for cut in _of(list, one.pop("cuts"))),
            agreement=(calibrated, confirmed),
            depth=float(_of((int, float), one.pop("depth"))),
            **one,
        )

    counts = {name: _of(int, data.pop(name)) for name in ("vocabulary", "tokens", "positions")}
    return ExitsNote(
        **counts,
        seconds=float(_of((int, float), data.pop("seconds"))),
        made_by={k: _of(str, v) for k, v in _of(dict, data.pop("made_by")).items()},
        guessers=tuple(guesser(one) for one in _of(list, data.pop("guessers"))),
        leaving=tuple(leaving(one) for one in _of(list, data.pop("leaving"))),
        **data,
    )


def _record(cls: type[_Record], data: Any) -> _Record:
    """Make a flat record whose fields have the types it names. Raises TypeError."""
    made = cls(**data)
    for place in fields(cls):
        value = getattr(made, place.name)
        if isinstance(value, bool) or not isinstance(value, _SCALARS[str(place.type)]):
            raise TypeError(f"{value!r} is no {place.type}")
    return made


class TrustRecord:
    """Remember, outside the bundles, which large files had which hash, by what the file system says of them.

    Lost or damaged records only cost a hash. `directory` holds one small file per entry.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def knows(self, path: Path, sha256: str) -> bool:
        """Whether the file had that hash when it was in its present state."""
        try:
            return self._entry(path).read_text(encoding="ascii") == self.state(path, sha256)
        except (OSError, UnicodeDecodeError):
            return False

    def remember(self, path: Path, state: str) -> None:
        """Keep what `state` said of a file before it was hashed."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            entry = self._entry(path)
            draft = entry.with_name(f"{entry.name}.{os.getpid()}")
            draft.write_text(state, encoding="ascii")
            draft.replace(entry)
        except OSError:
            # A cache that cannot be written is a cache that is not there.
            return

    def _entry(self, path: Path) -> Path:
        return self._directory / hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]

    @staticmethod
    def state(path: Path, sha256: str) -> str:
        """Join a hash with what the file system says of the file now."""
        s = path.stat()
        return f"{sha256} {s.st_dev} {s.st_ino} {s.st_size} {s.st_mtime_ns} {s.st_ctime_ns}"
