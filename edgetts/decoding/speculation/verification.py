"""The rules by which a guess is verified against the logits that the model computed in its place.

Each draws one token; a pass goes on behind it where it equals the guess. Below, p is what the sampler
draws from, after its penalties, constraint, temperature and filters, and q what the guess was drawn from. A guess
that the constraint does not allow has p = 0, and every rule draws another token.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from edgetts.decoding.inversion import Floats
from edgetts.decoding.sampling import Drawn, Sampler, Weights
from edgetts.decoding.speculation.drafter import Proposal
from edgetts.types import AcceptanceRule

Rule = Callable[[Sampler, Floats, Proposal], Drawn]

# Of typical acceptance, as the authors' own generation sets them.
EPSILON = 0.09
DELTA = 0.3


def exact(sampler: Sampler, logits: Floats, proposal: Proposal) -> Drawn:  # noqa: ARG001 - a rule's arguments
    """Draw as plain decoding does, whatever was guessed: the same seed gives the same tokens."""
    return sampler.draw(logits)


def rejection(sampler: Sampler, logits: Floats, proposal: Proposal) -> Drawn:
    """Accept a guess x with probability min(1, p(x) / q(x)); otherwise draw from the residual of p and q.

    What comes out is distributed as p (Leviathan et al., 2023, "Fast Inference from Transformers via
    Speculative Decoding"; Chen et al., 2023). A guess without weights is certain: it is accepted with
    p(x). A greedy sampler draws as ever.
    """
    if sampler.greedy:
        return sampler.draw(logits)
    guess = proposal.token
    p = sampler.distribution(logits)
    q = Weights.certain(guess) if proposal.weights is None else proposal.weights
    if sampler.uniform() * q.of(guess) < p.of(guess):
        return sampler.take(logits, guess, p.log_share)
    return sampler.take(logits, sampler.choose(residual(p, q)), p.log_share)


def typical(sampler: Sampler, logits: Floats, proposal: Proposal) -> Drawn:
    """Accept a guess x if p(x) > min(EPSILON, DELTA * exp(-H(p))); otherwise draw plainly. Lossy.

    H is the entropy in nats: the flatter p, the less a guess needs (Cai et al., 2024, "Medusa: Simple LLM
    Inference Acceleration Framework with Multiple Decoding Heads"). The likeliest token always passes, one that
    the filters leave out never. For a greedy sampler p is taken at temperature 1.
    """
    p = sampler.distribution(logits, temperature=1.0 if sampler.greedy else None)
    if p.of(proposal.token) > min(EPSILON, DELTA * math.exp(-_entropy(p))):
        return sampler.take(logits, proposal.token, p.log_share)
    return sampler.draw(logits)


RULES: Mapping[AcceptanceRule, Rule] = MappingProxyType(
    {"exact": exact, "rejection": rejection, "typical": typical}
)
"""Every rule, by the name it is asked for."""


def residual(p: Weights, q: Weights) -> Weights:
    """Return the normalised positive part of p - q."""
    taken = np.zeros(1 + max(int(p.ids.max()), int(q.ids.max())))
    taken[q.ids] = q.probabilities
    left = np.maximum(p.probabilities - taken[p.ids], 0.0)
    total = left.sum()
    # Nothing is left where p and q are equal, and then nothing is rejected, but for rounding.
    return Weights(p.ids, left / total) if total > 0 else p


def _entropy(p: Weights) -> float:
    some = p.probabilities[p.probabilities > 0]
    return float(-(some * np.log(some)).sum())
