"""Guess that a text goes on as it, its prompt, or another sample of the same question went on before.

Prompt lookup (Saxena, 2023) and phrase pools (Ouroboros, 2024), as one back-off model of n-grams.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgetts.decoding.session import Features
from edgetts.decoding.speculation.drafter import Proposal, Tail

_LONGEST = 5
# How often the guess after a match of so many tokens is right, before any was seen here.
_PRIORS = (0.1, 0.25, 0.4, 0.55, 0.65)


class NgramPool:
    """What followed every short run of tokens in some texts: the latest, and how often the same one did."""

    def __init__(self) -> None:
        self._followers: dict[tuple[int, ...], tuple[int, int]] = {}

    def add(self, tokens: Sequence[int], begin: int) -> None:
        """Take in tokens[begin:], each with the run before it."""
        followers = self._followers
        for at in range(max(1, begin), len(tokens)):
            token = tokens[at]
            for n in range(1, min(_LONGEST, at) + 1):
                run = tuple(tokens[at - n : at])
                last, times = followers.get(run, (-1, 0))
                followers[run] = (token, times + 1 if last == token else 1)

    def longest(self, tail: Sequence[int]) -> tuple[int, int, int] | None:
        """Return (token, length of the match, times in a row) for the longest end of `tail` that is known."""
        for n in range(min(_LONGEST, len(tail)), 0, -1):
            found = self._followers.get(tuple(tail[len(tail) - n :]))
            if found is not None:
                return (found[0], n, found[1])
        return None


class NgramDrafter:
    """Guess from the sample's own tokens, its prompt's, and what other samples of the same question said.

    Where none of them knows, from phrases that passes computed in vain: the model may come to say them yet.
    """

    name = "ngram"
    cost = 5e-6

    def __init__(self, prompt: Sequence[int], others: Sequence[Sequence[int]] = ()) -> None:
        self._tokens = list(prompt)
        self._own = NgramPool()
        self._own.add(self._tokens, 0)
        self._others = NgramPool()
        for tokens in others:
            self._others.add(tokens, 0)
        self._vain = NgramPool()

    def propose(self, drafted: Sequence[int]) -> Proposal | None:
        tail = [*self._tokens[-_LONGEST:], *drafted][-_LONGEST:]
        own, other = self._own.longest(tail), self._others.longest(tail)
        found = own if other is None or (own is not None and own[1] >= other[1]) else other
        if found is None and (vain := self._vain.longest(tail)) is not None:
            return Proposal(vain[0], (self.name, 200 + vain[1]), _PRIORS[0])
        if found is None:
            return None
        token, n, times = found
        kind = n + 10 * min(times, 3) + (0 if found is own else 100)
        return Proposal(token, (self.name, kind), _PRIORS[n - 1])

    def accept(self, tokens: Sequence[int], features: Features | None = None, tail: Tail = ()) -> None:  # noqa: ARG002 - the protocol's
        begin = len(self._tokens)
        self._tokens += tokens
        self._own.add(self._tokens, begin)
        if tail:
            guesses = [guess for guess, _ in tail]
            for i, (_, choice) in enumerate(tail):
                self._vain.add([*guesses[: i + 1], choice], i + 1)
