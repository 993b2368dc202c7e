"""Recorded samples as votes, for benchmarks that replay them without a model."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from edgetts.selection.aggregation import Vote
from edgetts.selection.answers import Extracted, extract


def problems(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the problems of a recording, its header left out."""
    with path.open(encoding="utf-8") as lines:
        yield from (record for record in map(json.loads, lines) if record.get("kind") != "header")


def found_in(sample: Mapping[str, Any]) -> Extracted | None:
    return extract(sample["text"], complete=sample["finished"])


def vote_of(index: int, sample: Mapping[str, Any], found: Extracted | None, **more: Any) -> Vote:
    """Return the vote of a recorded sample for what was found in it; `more` are further fields of a Vote."""
    return Vote(
        sample=index,
        answer=found.canonical if found else None,
        logprob=math.fsum(sample["logprobs"]),
        tokens=len(sample["tokens"]),
        complete=sample["finished"],
        explicit=found is not None and found.explicit,
        **more,
    )


def right(answer: str | None, truth: str) -> bool:
    """Whether an answer is the number, or else the text, that is right."""
    try:
        return answer is not None and Fraction(answer) == Fraction(truth)
    except ValueError:  # the answer is text
        return answer == truth
