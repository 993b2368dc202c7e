"""The small JSON notes that lie beside what the cache holds. Knows their fields, not how they came about."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

from edgetts.errors import CorruptFile

MAX_JSON_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """Beside a fetched model file. `commit` is the Hub's, empty for other sources; so is what is unknown."""

    name: str
    family: str
    licence: str
    place: str
    file: str
    size: int
    sha256: str
    commit: str
    fetched: str


@dataclass(frozen=True, slots=True)
class BundleRecord:
    """Beside a bundle. `identity` is the source's sha256, or the fingerprint of a local path."""

    name: str
    family: str
    licence: str
    quantize: str
    identity: str
    exporter: int
    bundle: str
    made: str


@dataclass(frozen=True, slots=True)
class FirstFetch:
    """What the first fetch of an unpinned model brought; every later one must bring the same."""

    name: str
    sha256: str
    size: int
    commit: str
    date: str


Record = TypeVar("Record", SourceRecord, BundleRecord, FirstFetch)


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def write_record(path: Path, record: SourceRecord | BundleRecord | FirstFetch) -> None:
    path.write_text(json.dumps(asdict(record), indent=2) + "\n", encoding="utf-8")


def read_record(path: Path, kind: type[Record]) -> Record | None:
    """Return the record, or None where it is missing or damaged: what it vouches for is not used."""
    try:
        data = read_json(path)
    except (OSError, CorruptFile):
        return None
    expected = {field.name: int if field.type == "int" else str for field in fields(kind)}
    if set(data) != set(expected) or any(type(data[name]) is not kind_ for name, kind_ in expected.items()):
        return None
    return kind(**data)


def read_json(path: Path) -> dict[str, Any]:
    """Read one JSON object of bounded size, or say that the file is damaged."""
    with path.open("rb") as file:
        raw = file.read(MAX_JSON_BYTES + 1)
    if len(raw) > MAX_JSON_BYTES:
        raise CorruptFile(f"{path} is larger than any such file should be.")
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise CorruptFile(f"{path} is not readable JSON: {error}.") from error
    if not isinstance(data, dict):
        raise CorruptFile(f"{path} does not hold a JSON object.")
    return data
