"""Check what aggregators are told and given: settings within range, votes with what is needed."""

from __future__ import annotations

import math

from edgetts.errors import InvalidInput
from edgetts.selection.aggregation.votes import Vote


def positive(name: str, value: float) -> None:
    """Raise InvalidInput unless value is a finite number above 0."""
    if not 0 < value < math.inf:
        raise InvalidInput(f"The {name} of an aggregator is {value}, but it must be above 0 and finite.")


def at_least(name: str, value: int, least: int) -> None:
    """Raise InvalidInput for fewer than `least`."""
    if value < least:
        raise InvalidInput(f"The {name} of an aggregator is {value}, but it must be at least {least}.")


def share(name: str, value: float) -> None:
    """Raise InvalidInput unless value is from 0 to 1."""
    if not 0 <= value <= 1:
        raise InvalidInput(f"The {name} of an aggregator is {value}, but it must be from 0 to 1.")


def score_of(vote: Vote, aggregator: str) -> float:
    """Return a vote's score; InvalidInput where it has none."""
    if vote.score is None:
        raise InvalidInput(
            f"Sample {vote.sample} has no score, which {aggregator!r} needs.",
            hint="Give a scorer, or use 'auto', which chooses from what is known.",
        )
    return vote.score
