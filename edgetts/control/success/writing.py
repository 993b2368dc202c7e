"""Success profiles as TOML text, in the form that `reading` takes. Knows no files."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from edgetts.control.success.figures import Drawing
from edgetts.control.success.profile import SuccessProfile

FORMAT = 1
_DIGITS = 5
"""After the point."""


def write_success(profile: SuccessProfile) -> str:
    """Write a profile as a document."""
    import tomli_w

    body: dict[str, Any] = {
        "format": FORMAT,
        "document": "success",
        "model": profile.model,
        "task": profile.task,
        "answer_format": profile.answer_format,
        "drawings": [_drawing(one) for one in profile.drawings],
    }
    return tomli_w.dumps(body)


def _drawing(drawing: Drawing) -> dict[str, Any]:
    body = asdict(drawing)
    body["votes"] = [
        {
            "aggregator": curve.aggregator,
            "verified": curve.verified,
            "cap": curve.cap,
            "points": [{"samples": n, **asdict(found)} for n, found in curve.points],
        }
        for curve in drawing.votes
    ]
    body["reliability"] = [
        {
            "samples": one.samples,
            "values": [x for x, _ in one.knots],
            "chances": [y for _, y in one.knots],
            "seen": {
                name: [count[i] for count in one.counts] for i, name in enumerate(("share", "right", "all"))
            },
        }
        for one in drawing.reliability
    ]
    if (difficulty := drawing.difficulty) is not None:
        body["difficulty"]["weights"] = dict(difficulty.weights)
    written: dict[str, Any] = _plain(body)
    return written


def _plain(value: Any) -> Any:
    """Return TOML's types; what is not known is left out."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items() if one is not None}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return round(value, _DIGITS) if isinstance(value, float) else value
