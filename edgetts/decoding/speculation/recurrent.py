"""Guess by a small network from the hidden state behind the last token and that token (Hydra, 2024)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from edgetts.decoding.guessers import DraftNetwork, Guess
from edgetts.decoding.session import Features
from edgetts.decoding.speculation.drafter import Proposal, Tail, stated_kind

# Guesses beyond this depth feed on guesses of guesses.
_DEEPEST = 4
# Keeps the drafter's random numbers apart from the sampler's, whatever the seed.
_OWN_STREAM = 0xD2AF7


class RecurrentDrafter:
    """Guess from hidden states of the passes before. One guess costs a call of the network.

    heat, seed: draw guesses from the network's distribution at that temperature, as the rejection rule
    makes the most of, instead of taking the likeliest. None takes the likeliest.
    """

    name = "recurrent"

    def __init__(
        self,
        network: DraftNetwork,
        clock: Callable[[], float] = time.perf_counter,
        *,
        heat: float | None = None,
        seed: Sequence[int] = (0,),
    ) -> None:
        self._network = network
        self._heat = heat
        self._random = np.random.Generator(np.random.PCG64([*seed, _OWN_STREAM]))
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
            self._chain.append(self._network.guess(before, token, self._heat))
            self._inputs.append(token)
            self.cost += 0.1 * (self._clock() - began - self.cost)
        best = self._chain[-1]
        # Of a drawn guess the kind tells how sure the network is, not which token came.
        kind, prior = stated_kind(self.name, len(drafted), best.probability)
        token = best.token
        if best.weights is not None:
            token = int(self._random.choice(best.weights.ids, p=best.weights.probabilities))
        return Proposal(token, kind, prior, best.weights)

    def accept(self, tokens: Sequence[int], features: Features | None, tail: Tail = ()) -> None:  # noqa: ARG002 - the protocol's
        self._chain, self._inputs = [], []
        self._features = features
        if tokens:
            self._last = tokens[-1]
