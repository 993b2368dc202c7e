"""What a model may have beside itself: small networks that guess coming tokens from what it computes anyway."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from edgetts.decoding.early_exit.head import ExitHead
from edgetts.decoding.sampling import Weights
from edgetts.decoding.session import Features
from edgetts.types import LeavingNote


class Guess(NamedTuple):
    """A token, how likely the network finds it, and the hidden state it expects behind it.

    weights: the network's distribution over its vocabulary, where it was asked for.
    """

    token: int
    probability: float
    features: Features
    weights: Weights | None = None


class DraftNetwork(Protocol):
    """Map the hidden state a token was drawn from, and the token, to the next of both."""

    def guess(self, features: Features, token: int, temperature: float | None = None) -> Guess:
        """Guess the likeliest token; with its distribution at a temperature, where one is given."""
        ...


class ParallelNetwork(Protocol):
    """Map a final hidden state to the tokens after the one that is drawn from it (Medusa, 2024)."""

    def guess_ahead(self, features: Features) -> list[tuple[int, float]]:
        """Return (token, stated probability) for one token after that one, for two, ..."""
        ...


class Guessers(Protocol):
    """The guessers of a model, opened when they are first asked for; None where there is none."""

    @property
    def kinds(self) -> frozenset[str]:
        """Of recurrent, parallel, exit: those there are."""
        ...

    @property
    def recurrent(self) -> DraftNetwork | None: ...

    @property
    def parallel(self) -> ParallelNetwork | None: ...

    def exit(self, cut: int) -> ExitHead | None: ...

    @property
    def exits(self) -> dict[int, float]:
        """Cuts that have a head, with the share of held-out positions at which its first choice was right."""
        ...

    @property
    def leaving(self) -> tuple[LeavingNote, ...]:
        """What leaving the network early was measured to cost and save."""
        ...
