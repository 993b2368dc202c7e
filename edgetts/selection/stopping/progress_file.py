"""Keep what samples are like in a file, and read one that anybody may have written; knows nothing of what it is for."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from edgetts.errors import BundleVersionError, CorruptFile, InvalidInput
from edgetts.selection.doubted import Doubted
from edgetts.selection.stopping.evidence import Evidence
from edgetts.selection.stopping.progress import MOST_FRESH, Progress

FORMAT = 1
MAX_BYTES = 1 << 20
MAX_SOURCE_CHARS = 1_000

_FILE = Doubted(
    "progress model",
    "Fit it again on recorded samples, or leave it out.",
    "Name a file that was fitted on recorded samples.",
    MAX_BYTES,
)


def progress_to_json(progress: Progress) -> dict[str, Any]:
    """Return it as plain JSON, with the format version."""
    return {"format": FORMAT, **asdict(progress)}


def progress_from_json(body: object) -> Progress:
    """Make it of what `progress_to_json` returned, believing nothing in it.

    Errors: BundleVersionError for a newer format; CorruptFile for anything that cannot be.
    """
    top = _FILE.fields(body, "the progress")
    version = top.pop("format", None)
    if type(version) is not int or version < 1:
        _FILE.corrupt("it has no format version")
    if version > FORMAT:
        raise BundleVersionError(
            f"The progress model has format {version}, but this edgetts reads up to {FORMAT}.",
            hint="Update edgetts, or fit it again.",
        )
    _FILE.exactly(top, {field.name for field in fields(Progress)}, "the progress")
    evidence = _FILE.fields(top["evidence"], "evidence")
    _FILE.exactly(evidence, {field.name for field in fields(Evidence)}, "evidence")
    source = top["source"]
    if not isinstance(source, str) or len(source) > MAX_SOURCE_CHARS:
        _FILE.corrupt(f"source is no text of at most {MAX_SOURCE_CHARS} characters")
    try:
        return Progress(
            evidence=Evidence(**{name: _FILE.number(value, name) for name, value in evidence.items()}),
            fresh=_numbers(top["fresh"], "fresh"),
            fresh_plain=_numbers(top["fresh_plain"], "fresh_plain"),
            memory=_FILE.number(top["memory"], "memory"),
            tokens=_FILE.number(top["tokens"], "tokens"),
            source=source,
        )
    except InvalidInput as error:
        raise CorruptFile(f"The progress model cannot be: {error}", hint=_FILE.again) from error


def load_progress(path: Path) -> Progress:
    """Read a file of what `progress_to_json` returned. Errors: ModelNotFound, CorruptFile, BundleVersionError."""
    return progress_from_json(_FILE.load(path))


def _numbers(value: object, name: str) -> tuple[float, ...]:
    if not isinstance(value, list | tuple) or len(value) > MOST_FRESH:
        _FILE.corrupt(f"{name} is no list of at most {MOST_FRESH} numbers")
    return tuple(_FILE.number(one, name) for one in value)
