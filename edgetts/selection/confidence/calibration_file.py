"""Keep a calibration in a file, and read one that anybody may have written; knows nothing of what it is for."""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from edgetts.errors import BundleVersionError, CorruptFile, InvalidInput, StorageError
from edgetts.selection.confidence.calibration import Calibration, Split
from edgetts.selection.confidence.combination import Combination
from edgetts.selection.confidence.selective import Quality
from edgetts.selection.doubted import Doubted

FORMAT = 1
MAX_BYTES = 16 << 20
MAX_IDS = 100_000
MAX_KNOTS = 100_000
MAX_SIGNALS = 64
MAX_NAME_CHARS = 1_000

_FILE = Doubted(
    "calibration",
    "Calibrate again, or use a file that `save_calibration` wrote.",
    "Name the file that a calibration was saved to.",
    MAX_BYTES,
)


def calibration_to_json(calibration: Calibration) -> dict[str, Any]:
    """Return a calibration as plain JSON, with the format version and the sha256 of its split."""
    body = asdict(calibration)
    body["split"]["sha256"] = calibration.split.sha256
    return {"format": FORMAT, **body}


def calibration_from_json(body: object) -> Calibration:
    """Make a calibration of what `calibration_to_json` returned, believing nothing in it.

    Errors: BundleVersionError for a newer format; CorruptFile for anything that cannot be: unknown or missing
    fields, numbers that are not finite, knots that fall, sizes beyond the limits, a split that is not the one hashed.
    """
    top = _FILE.fields(body, "calibration")
    version = top.pop("format", None)
    if type(version) is not int or version < 1:
        _FILE.corrupt("it has no format version")
    if version > FORMAT:
        raise BundleVersionError(
            f"The calibration has format {version}, but this edgetts reads up to {FORMAT}.",
            hint="Update edgetts, or calibrate again.",
        )
    _FILE.exactly(top, {field.name for field in fields(Calibration)}, "calibration")
    split = _FILE.fields(top["split"], "split")
    _FILE.exactly(split, {"data", "rule", "fitted", "held_out", "sha256"}, "split")
    knots = _FILE.entries(top["knots"], "knots", MAX_KNOTS)
    if not all(isinstance(knot, list) and len(knot) == 2 for knot in knots):
        _FILE.corrupt("its knots are no pairs")
    try:
        made_split = Split(
            data=_text(split["data"], "data"),
            rule=_text(split["rule"], "rule"),
            fitted=tuple(_text(one, "fitted") for one in _FILE.entries(split["fitted"], "fitted", MAX_IDS)),
            held_out=tuple(
                _text(one, "held_out") for one in _FILE.entries(split["held_out"], "held_out", MAX_IDS)
            ),
        )
        if split["sha256"] != made_split.sha256:
            _FILE.corrupt("its split is not the one it was hashed with")
        return Calibration(
            method=_text(top["method"], "method"),  # type: ignore[arg-type]  # checked when made
            signal=_text(top["signal"], "signal"),
            split=made_split,
            slope=_FILE.number(top["slope"], "slope"),
            intercept=_FILE.number(top["intercept"], "intercept"),
            knots=tuple((_FILE.number(x, "knots"), _FILE.number(y, "knots")) for x, y in knots),
            combination=_combination(top["combination"]),
            before=_quality(top["before"], "before"),
            after=_quality(top["after"], "after"),
        )
    except InvalidInput as error:
        raise CorruptFile(f"The calibration cannot be: {error}", hint=_FILE.again) from error


def save_calibration(calibration: Calibration, path: Path) -> None:
    """Write a calibration whole: beside its place first, then renamed. Errors: StorageError."""
    text = json.dumps(calibration_to_json(calibration), indent=1, allow_nan=False) + "\n"
    draft: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        with draft.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        if draft is not None:
            draft.unlink(missing_ok=True)
        raise StorageError(
            f"The calibration cannot be written to {path}: {error.strerror or error}.",
            hint="Name a place that can be written to.",
        ) from error


def load_calibration(path: Path) -> Calibration:
    """Read a calibration. Errors: ModelNotFound, CorruptFile, BundleVersionError."""
    return calibration_from_json(_FILE.load(path))


def _text(value: object, name: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_NAME_CHARS:
        _FILE.corrupt(f"{name} is no text of at most {MAX_NAME_CHARS} characters")
    return value


def _combination(value: object) -> Combination | None:
    if value is None:
        return None
    body = _FILE.fields(value, "combination")
    _FILE.exactly(body, {field.name for field in fields(Combination)}, "combination")
    return Combination(
        signals=tuple(
            _text(one, "signals") for one in _FILE.entries(body["signals"], "signals", MAX_SIGNALS)
        ),
        weights=tuple(
            _FILE.number(one, "weights") for one in _FILE.entries(body["weights"], "weights", MAX_SIGNALS)
        ),
        usual=tuple(_FILE.number(one, "usual") for one in _FILE.entries(body["usual"], "usual", MAX_SIGNALS)),
        intercept=_FILE.number(body["intercept"], "intercept"),
    )


def _quality(value: object, name: str) -> Quality | None:
    if value is None:
        return None
    body = _FILE.fields(value, name)
    _FILE.exactly(body, {field.name for field in fields(Quality)}, name)
    n = body.pop("n")
    if type(n) is not int or n < 1:
        _FILE.corrupt(f"{name} has no count")
    auroc = body.pop("auroc")
    found = {key: _FILE.number(one, name) for key, one in body.items()}
    known = None if auroc is None else _FILE.number(auroc, name)
    if not all(0 <= one <= 1 for one in (*found.values(), known or 0.0)):
        _FILE.corrupt(f"{name} has a figure outside 0 to 1")
    return Quality(n=n, auroc=known, **found)
