"""The protocol of what keeps samples to a language: a JSON schema, a regular expression, a grammar. Knows token ids only.

Who implements it knows texts and vocabularies (`edgetts.structure`); decoding asks which tokens may come next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Matcher(Protocol):
    """Where one sample stands in the language; each token that it takes moves it on.

    An end token of the model may come where the text may end there. At any point some token may come.
    """

    def allowed(self) -> NDArray[np.bool_]:
        """Return for each of the model's V tokens whether it may come next; the array is not to be written to."""
        ...

    def allows(self, token: int) -> bool:
        """Whether a token may come next; cheaper than looking it up in `allowed`."""
        ...

    def prefix(self, tokens: Sequence[int]) -> int:
        """Return how many of the first tokens may come next, one after the other; the matcher stays where it is."""
        ...

    def ending(self, most: int) -> Sequence[int] | None:
        """Return tokens that lead to where the text may end, perhaps none, and few of them; None where `most` were not enough."""
        ...

    def take(self, token: int) -> None:
        """Move on by a token that may come next. Raises InvalidInput for another."""
        ...

    def copy(self) -> Matcher:
        """Return a matcher that stands at the same place and moves by itself."""
        ...


class Constraint(Protocol):
    """A language that samples are kept to. Used for any number of samples, and from any thread."""

    @property
    def name(self) -> str:
        """What it is, in a few words: "a JSON schema"."""
        ...

    def start(self) -> Matcher:
        """Return a matcher at the beginning."""
        ...
