"""Keep what samples are like in a file, and read one that anybody may have written; knows nothing of what it is for."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NoReturn

from edgetts.errors import BundleVersionError, CorruptFile, InvalidInput, ModelNotFound
from edgetts.selection.stopping.evidence import Evidence
from edgetts.selection.stopping.progress import MOST_FRESH, Progress

FORMAT = 1
MAX_BYTES = 1 << 20
MAX_SOURCE_CHARS = 1_000

_AGAIN = "Fit it again on recorded samples, or leave it out."


def progress_to_json(progress: Progress) -> dict[str, Any]:
    """Return it as plain JSON, with the format version."""
    return {"format": FORMAT, **asdict(progress)}


def progress_from_json(body: object) -> Progress:
    """Make it of what `progress_to_json` returned, believing nothing in it.

    Errors: BundleVersionError for a newer format; CorruptFile for anything that cannot be.
    """
    top = _object(body, "the progress")
    version = top.pop("format", None)
    if type(version) is not int or version < 1:
        _corrupt("it has no format version")
    if version > FORMAT:
        raise BundleVersionError(
            f"The progress model has format {version}, but this edgetts reads up to {FORMAT}.",
            hint="Update edgetts, or fit it again.",
        )
    _exactly(top, {field.name for field in fields(Progress)}, "the progress")
    evidence = _object(top["evidence"], "evidence")
    _exactly(evidence, {field.name for field in fields(Evidence)}, "evidence")
    source = top["source"]
    if not isinstance(source, str) or len(source) > MAX_SOURCE_CHARS:
        _corrupt(f"source is no text of at most {MAX_SOURCE_CHARS} characters")
    try:
        return Progress(
            evidence=Evidence(**{name: _number(value, name) for name, value in evidence.items()}),
            fresh=_numbers(top["fresh"], "fresh"),
            fresh_plain=_numbers(top["fresh_plain"], "fresh_plain"),
            memory=_number(top["memory"], "memory"),
            tokens=_number(top["tokens"], "tokens"),
            source=source,
        )
    except InvalidInput as error:
        raise CorruptFile(f"The progress model cannot be: {error}", hint=_AGAIN) from error


def load_progress(path: Path) -> Progress:
    """Read a file of what `progress_to_json` returned. Errors: ModelNotFound, CorruptFile, BundleVersionError."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ModelNotFound(
            f"There is no progress model to read at {path}: {reason}.",
            hint="Name a file that was fitted on recorded samples.",
        ) from error
    if len(raw) > MAX_BYTES:
        _corrupt(f"it is larger than {MAX_BYTES >> 20} MB")
    try:
        body = json.loads(raw.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise CorruptFile(f"{path} is no progress model: it is not JSON.", hint=_AGAIN) from error
    return progress_from_json(body)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _corrupt(what: str) -> NoReturn:
    raise CorruptFile(f"The progress model cannot be trusted: {what}.", hint=_AGAIN)


def _object(value: object, name: str) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        _corrupt(f"{name} is no object")
    return dict(value)


def _exactly(value: Mapping[str, Any], names: set[str], what: str) -> None:
    if wrong := sorted(names.symmetric_difference(value)):
        state = "missing" if wrong[0] in names else "unknown"
        _corrupt(f"{what} has the {state} field {wrong[0][:80]!r}")


def _numbers(value: object, name: str) -> tuple[float, ...]:
    if not isinstance(value, list | tuple) or len(value) > MOST_FRESH:
        _corrupt(f"{name} is no list of at most {MOST_FRESH} numbers")
    return tuple(_number(one, name) for one in value)


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        _corrupt(f"{name} has something that is no number")
    try:
        number = float(value)
    except OverflowError:
        _corrupt(f"{name} has a number too large")
    if not math.isfinite(number):
        _corrupt(f"{name} has a number that is not finite")
    return number
