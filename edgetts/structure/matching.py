"""Where one sample stands in a language, by llguidance's parser. Knows token ids and nothing of what made the grammar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgetts.errors import InvalidInput, RuntimeFailure
from edgetts.structure.vocabulary import Vocabulary

if TYPE_CHECKING:
    from llguidance import LLMatcher

Mask = NDArray[np.bool_]


class GrammarMatcher:
    """A place in the language of a grammar. Used by one thread at a time; implements `Matcher`.

    After an end token nothing may come. Raises RuntimeFailure where the parser gives up: at a place too ambiguous or
    too large for its limits, never silently.
    """

    def __init__(self, parser: LLMatcher, vocabulary: Vocabulary, *, ended: bool = False) -> None:
        self._parser = parser
        self._vocabulary = vocabulary
        self._ended = ended
        self._mask: Mask | None = None

    @property
    def may_end(self) -> bool:
        """Whether the text may end here."""
        return not self._ended and self._parser.is_accepting()

    def allowed(self) -> Mask:
        """Return for each of V tokens whether it may come next."""
        if self._mask is None:
            self._mask = self._computed()
            self._mask.flags.writeable = False
        return self._mask

    def allows(self, token: int) -> bool:
        """Whether a token may come next."""
        if self._ended or not 0 <= token < self._vocabulary.vocab:
            return False
        if self._mask is not None:
            return bool(self._mask[token])
        if token in self._vocabulary.end_tokens:
            return self.may_end
        return self._valid([token]) == 1

    def prefix(self, tokens: Sequence[int]) -> int:
        """Return how many of the first tokens may come next, one after the other."""
        if self._ended:
            return 0
        inner = list(tokens)
        for place, token in enumerate(inner):
            if token in self._vocabulary.end_tokens or not 0 <= token < self._vocabulary.vocab:
                inner = inner[:place]
                break
        most = self._valid(inner) if inner else 0
        if most < len(inner) or most == len(tokens) or tokens[most] not in self._vocabulary.end_tokens:
            return most
        further = self.copy()
        for token in inner:
            further.take(token)
        return most + further.may_end

    def ending(self, most: int) -> tuple[int, ...] | None:
        """Return few tokens that lead to where the text may end; None where `most` were not enough."""
        return self._vocabulary.ways_out.find(self.copy(), most)

    def take(self, token: int) -> None:
        """Move on by a token that may come next."""
        if not self.allows(token):
            raise InvalidInput(f"The token {token} may not come next.")
        self._mask = None
        if token in self._vocabulary.end_tokens:
            self._ended = True
        elif not self._parser.consume_token(token):
            self._check()

    def take_spelt(self, tokens: Sequence[int]) -> None:
        """Move on by tokens that only the parser has, which spell what may come next; perhaps none."""
        self._mask = None
        if tokens and self._parser.try_consume_tokens(list(tokens)) < len(tokens):
            self._check()
            raise InvalidInput("The text may not go on like this.")

    def copy(self) -> GrammarMatcher:
        """Return a matcher that stands at the same place and moves by itself."""
        other = GrammarMatcher(self._parser.deep_copy(), self._vocabulary, ended=self._ended)
        other._mask = self._mask
        return other

    def _valid(self, tokens: list[int]) -> int:
        valid = self._parser.validate_tokens(tokens)
        self._check()
        return valid

    def _computed(self) -> Mask:
        vocabulary = self._vocabulary
        if self._ended:
            return np.zeros(vocabulary.vocab, np.bool_)
        bits = np.frombuffer(self._parser.compute_bitmask(), np.uint8)
        self._check()
        mask = np.unpackbits(bits, count=vocabulary.vocab, bitorder="little").view(np.bool_)
        # A grammar may name ids, but what ends a sample comes where the text may end.
        mask[list(vocabulary.end_tokens)] = self.may_end
        if not mask.any():
            raise RuntimeFailure("Nothing may follow here, and the text may not end either.")
        return mask

    def _check(self) -> None:
        if self._parser.is_error():
            raise RuntimeFailure(
                f"The constraint cannot be followed further: {reason(self._parser)}.",
                hint="Make what is asked for simpler: fewer optional parts, fewer or shorter repetitions.",
            )


def reason(parser: LLMatcher) -> str:
    """Return the first line of what a parser says is wrong."""
    return parser.get_error().partition("\n")[0].strip().rstrip(".") or "the parser failed"
