"""Choose among runtimes that all have the model, by the plans that what was measured of each allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgetts.profiles.curves import StepTimes
from edgetts.types import LONGEST_DRAFT, Plan


@dataclass(frozen=True, slots=True)
class Offer:
    """What a runtime would do. opening: seconds until it could begin, where it is not open yet."""

    runtime: str
    plan: Plan
    opening: float = 0.0

    @property
    def seconds(self) -> float:
        return self.opening + (self.plan.predicted_seconds or 0.0)


def best_offer(offers: Sequence[Offer]) -> Offer:
    """Return the one that draws the most samples in what the budget allows, and among equals the fastest."""
    most = max(offer.plan.samples for offer in offers)
    return min((offer for offer in offers if offer.plan.samples == most), key=lambda offer: offer.seconds)


def lone_gain(times: StepTimes, right: float) -> float:
    """Predict how much faster a sample alone gets by drafts of the best length, at least 1.

    right: how often a guess is right where those before it were.
    """
    gain, reached, expected = 1.0, 1.0, 1.0
    for guesses in range(1, LONGEST_DRAFT + 1):
        reached *= right
        expected += reached
        gain = max(gain, expected * times.at(1) / times.at(1 + guesses))
    return gain
