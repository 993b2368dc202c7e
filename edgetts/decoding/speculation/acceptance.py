"""Learn how often guesses of each kind are right."""

from __future__ import annotations

from edgetts.decoding.speculation.drafter import Proposal

# How many observations a prior weighs, and how many of them are remembered at most: texts change.
_PRIOR_WEIGHT = 4.0
_MEMORY = 200.0
_TYPICAL_MEMORY = 50.0
UNKNOWN_RATE = 0.5
"""How often guesses are right, of a drafter that made none yet."""


class Acceptance:
    """Probabilities by kind of guess. One may serve many samples, one after the other or at once."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, int], tuple[float, float]] = {}
        self._typical: dict[str, float] = {}

    def probability(self, proposal: Proposal) -> float:
        """Return how likely a guess is right, given that those before it in its draft are."""
        right, all_ = self._seen.get(proposal.kind, (0.0, 0.0))
        return (proposal.prior * _PRIOR_WEIGHT + right) / (_PRIOR_WEIGHT + all_)

    def learn(self, proposal: Proposal, right: bool) -> None:
        """Take in whether a guess was right; only one whose predecessors were right says anything."""
        hits, all_ = self._seen.get(proposal.kind, (0.0, 0.0))
        fade = min(1.0, _MEMORY / (all_ + 1.0))
        self._seen[proposal.kind] = ((hits + right) * fade, (all_ + 1.0) * fade)
        name = proposal.kind[0]
        self._typical[name] = self.typical(name) + (right - self.typical(name)) / _TYPICAL_MEMORY

    def typical(self, drafter: str) -> float:
        """Return how often a drafter's guesses are right, of late."""
        return self._typical.get(drafter, UNKNOWN_RATE)
