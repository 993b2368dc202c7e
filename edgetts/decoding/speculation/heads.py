"""Guess by a small network from the hidden state behind the last token and that token (Hydra, 2024)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from edgetts.decoding.session import Features
from edgetts.decoding.speculation.drafter import Proposal

# Guesses beyond this depth feed on guesses of guesses.
_DEEPEST = 4
# Probabilities that a head states are told apart in so many steps.
_STEPS = 10


class Guess(NamedTuple):
    """A token, how likely the network finds it, and the hidden state it expects behind it."""

    token: int
    probability: float
    features: Features


class DraftNetwork(Protocol):
    """Map the hidden state a token was drawn from, and the token, to the next of both."""

    def guess(self, features: Features, token: int) -> Guess: ...


class HeadDrafter:
    """Guess from hidden states of the passes before. One guess costs a call of the network."""

    name = "heads"

    def __init__(self, network: DraftNetwork, clock: Callable[[], float] = time.perf_counter) -> None:
        self._network = network
        self._clock = clock
        self._features: Features | None = None
        self._last = -1
        self._chain: list[Guess] = []
        self._inputs: list[int] = []
        self.cost = 2e-4
        """Seconds of a guess: an estimate, then a running mean of what was measured."""

    def propose(self, drafted: Sequence[int]) -> Proposal | None:
        if self._features is None or len(drafted) >= _DEEPEST:
            return None
        inputs = [self._last, *drafted]
        kept = 0
        while kept < min(len(self._chain), len(inputs)) and self._inputs[kept] == inputs[kept]:
            kept += 1
        del self._chain[kept:], self._inputs[kept:]
        # Tokens that another drafter guessed lead the network on too.
        for token in inputs[kept:]:
            before = self._chain[-1].features if self._chain else self._features
            began = self._clock()
            self._chain.append(self._network.guess(before, token))
            self._inputs.append(token)
            self.cost += 0.1 * (self._clock() - began - self.cost)
        best = self._chain[-1]
        step = min(_STEPS - 1, int(best.probability * _STEPS))
        return Proposal(best.token, (self.name, _STEPS * len(drafted) + step), (step + 0.5) / _STEPS)

    def accept(self, tokens: Sequence[int], features: Features | None) -> None:
        self._chain, self._inputs = [], []
        self._features = features
        if tokens:
            self._last = tokens[-1]
