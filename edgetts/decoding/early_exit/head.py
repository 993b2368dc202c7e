"""The protocol of what guesses at a cut."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgetts.decoding.session import Features, Logits


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
