"""The first tokens of a text where a space at its beginning does not count, as SentencePiece has it."""

from __future__ import annotations

from collections.abc import Sequence

from edgetts.errors import InvalidInput
from edgetts.structure.matching import GrammarMatcher, Mask
from edgetts.structure.vocabulary import Vocabulary


class OpeningMatcher:
    """A place in the language that is at its beginning until a token has written something. Implements `Matcher`.

    Two parsers of the same grammar: for `first` no token has the space that it begins with, so that it tells what may
    come at the beginning; `rest` is the one that goes on.
    """

    def __init__(self, first: GrammarMatcher | None, rest: GrammarMatcher, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._first = first
        self._rest = rest
        self._mask: Mask | None = None

    @property
    def may_end(self) -> bool:
        """Whether the text may end here."""
        return self._rest.may_end

    def allowed(self) -> Mask:
        """Return for each of V tokens whether it may come next."""
        if self._first is None:
            return self._rest.allowed()
        if self._mask is None:
            mask = self._first.allowed().copy()
            # A space alone writes nothing yet, and what follows it has its own.
            mask[list(self._vocabulary.lone_spaces)] = True
            mask.flags.writeable = False
            self._mask = mask
        return self._mask

    def allows(self, token: int) -> bool:
        """Whether a token may come next."""
        if self._first is None:
            return self._rest.allows(token)
        return token in self._vocabulary.lone_spaces or self._first.allows(token)

    def prefix(self, tokens: Sequence[int]) -> int:
        """Return how many of the first tokens may come next, one after the other."""
        if self._first is None or not tokens:
            return self._rest.prefix(tokens)
        if not self.allows(tokens[0]):
            return 0
        further = self.copy()
        further.take(tokens[0])
        return 1 + further.prefix(tokens[1:])

    def ending(self, most: int) -> tuple[int, ...] | None:
        """Return few tokens that lead to where the text may end; None where `most` were not enough."""
        return self._vocabulary.ways_out.find(self.copy(), most)

    def take(self, token: int) -> None:
        """Move on by a token that may come next."""
        if self._first is None:
            self._rest.take(token)
            return
        if not self.allows(token):
            raise InvalidInput(f"The token {token} may not come next.")
        self._mask = None
        if token in self._vocabulary.controls - self._vocabulary.end_tokens:
            # It writes nothing: the beginning is still to come.
            self._first.take(token)
            self._rest.take(token)
            return
        self._first = None
        written = self._vocabulary.writes[token]
        if not written.startswith(b" "):
            self._rest.take(token)
        else:
            self._rest.take_spelt(self._vocabulary.spell(written[1:]))

    def copy(self) -> OpeningMatcher:
        """Return a matcher that stands at the same place and moves by itself."""
        first = None if self._first is None else self._first.copy()
        other = OpeningMatcher(first, self._rest.copy(), self._vocabulary)
        other._mask = self._mask
        return other


def stripped(vocabulary: Vocabulary) -> list[bytes]:
    """Return what each token writes at the beginning of a text."""
    return [
        written if token in vocabulary.controls else written.removeprefix(b" ")
        for token, written in enumerate(vocabulary.writes)
    ]
