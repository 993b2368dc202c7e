"""Guess several tokens ahead at once from the hidden state behind the last token (Medusa, 2024)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from edgetts.decoding.guessers import ParallelNetwork
from edgetts.decoding.session import Features
from edgetts.decoding.speculation.drafter import Proposal, Tail, stated_kind


class ParallelDrafter:
    """Guess the tokens after the last one from the state it was drawn from. One call makes all guesses.

    The guesses do not know each other, nor the last token: cheap and blind where the recurrent ones see.
    """

    name = "parallel"

    def __init__(self, network: ParallelNetwork, clock: Callable[[], float] = time.perf_counter) -> None:
        self._network = network
        self._clock = clock
        self._features: Features | None = None
        self._guesses: list[tuple[int, float]] | None = None
        self.cost = 2e-4
        """Seconds of a guess: a call's, spread over the guesses it makes."""

    def propose(self, drafted: Sequence[int]) -> Proposal | None:
        if self._features is None:
            return None
        if self._guesses is None:
            began = self._clock()
            self._guesses = self._network.guess_ahead(self._features)
            each = (self._clock() - began) / max(1, len(self._guesses))
            self.cost += 0.1 * (each - self.cost)
        if len(drafted) >= len(self._guesses):
            return None
        token, probability = self._guesses[len(drafted)]
        return Proposal(token, *stated_kind(self.name, len(drafted), probability))

    def accept(self, tokens: Sequence[int], features: Features | None, tail: Tail = ()) -> None:  # noqa: ARG002 - the protocol's
        self._guesses, self._features = None, features
