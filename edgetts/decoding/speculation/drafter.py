"""The protocol of drafters: guess the next token, and learn what it really was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from edgetts.decoding.sampling import Weights
from edgetts.decoding.session import Features


@dataclass(frozen=True, slots=True)
class Proposal:
    """A guess. `kind` names guesses that should be right equally often; acceptance is learned for each kind.

    prior: the probability that such a guess is right, before any was verified. weights: the distribution
    that the token was drawn from by a generator of the drafter's own; None is a guess that nothing was
    drawn for. Of a drawn guess, `kind` and `prior` must not depend on the token: they decide whether it is
    verified, and a token that is looked at only if it seems likely is no longer drawn from `weights`.
    """

    token: int
    kind: tuple[str, int]
    prior: float
    weights: Weights | None = None


# Probabilities that a network states are told apart in so many steps.
_STEPS = 10


def stated_kind(name: str, depth: int, probability: float) -> tuple[tuple[str, int], float]:
    """Return the kind of a guess that a network finds so likely, `depth` guesses in, and the middle of its step."""
    step = min(_STEPS - 1, int(probability * _STEPS))
    return (name, _STEPS * depth + step), (step + 0.5) / _STEPS


Tail = Sequence[tuple[int, int]]
"""Guesses that were wrong, or came behind one that was, each with what the model finds likeliest behind it."""


class Drafter(Protocol):
    """Guess the continuation of one sample, token by token."""

    @property
    def name(self) -> str: ...

    @property
    def cost(self) -> float:
        """Seconds one guess takes."""
        ...

    def propose(self, drafted: Sequence[int]) -> Proposal | None:
        """Guess what follows the sample's tokens and then those `drafted` in this pass; None for no idea."""
        ...

    def accept(self, tokens: Sequence[int], features: Features | None, tail: Tail = ()) -> None:
        """Take in tokens that the sample now has, and the hidden state its last one was drawn from.

        features: [hidden], None where it is not known. tail: what the latest pass computed in vain.
        """
        ...
