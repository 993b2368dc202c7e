"""The protocol of what guesses at a cut."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgetts.decoding.session import Features, Logits
from edgetts.errors import InvalidLogits


class ExitHead(Protocol):
    """Guess, from the residual stream at a cut, what the whole network would say next."""

    @property
    def cut(self) -> int:
        """Layers below it."""
        ...

    @property
    def vocabulary(self) -> NDArray[np.int64]:
        """Ids its logits are of, ascending, [reduced]. Without end tokens among them it can end nothing."""
        ...

    def read(self, stream: Features) -> Logits:
        """Return logits [reduced] from one token's stream [hidden]; valid until the next call."""
        ...

    def confidence(self, probability: float) -> float:
        """Return how often a first choice of this stated probability is the whole network's: calibrated."""
        ...


def first_probability(logits: Logits) -> float:
    """Return the probability of the likeliest token. Raises InvalidLogits where a head computed no numbers."""
    top = float(logits.max())
    if not math.isfinite(top):
        raise InvalidLogits(
            f"An exit head computed {top} where a number should be.",
            hint="The head may be damaged; train it again, or decode without early exit.",
        )
    return 1.0 / float(np.exp(logits - np.float32(top)).sum(dtype=np.float64))
