"""Languages of token ids that a test can enumerate: finite automata that count what they are asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgetts.errors import InvalidInput

Moves = Mapping[str, Mapping[int, str]]


class Walker:
    """A place in an automaton; obeys the Matcher protocol. Its asked tokens and masks are its automaton's."""

    def __init__(self, automaton: Automaton, state: str, taken: tuple[int, ...] = ()) -> None:
        self.automaton, self.state, self.taken = automaton, state, taken

    def allowed(self) -> NDArray[np.bool_]:
        self.automaton.masks += 1
        mask = np.zeros(self.automaton.vocab, np.bool_)
        mask[list(self.automaton.moves[self.state])] = True
        mask.flags.writeable = False
        return mask

    def allows(self, token: int) -> bool:
        self.automaton.asked.append(token)
        return token in self.automaton.moves[self.state]

    def prefix(self, tokens: Sequence[int]) -> int:
        state = self.state
        for place, token in enumerate(tokens):
            if token not in self.automaton.moves[state]:
                return place
            state = self.automaton.moves[state][token]
        return len(tokens)

    def ending(self, most: int) -> Sequence[int] | None:
        return self.automaton.ways.get(self.state, None) if most else None

    def take(self, token: int) -> None:
        if token not in self.automaton.moves[self.state]:
            raise InvalidInput(f"The token {token} may not come next.")
        self.state = self.automaton.moves[self.state][token]
        self.taken += (token,)

    def copy(self) -> Walker:
        return Walker(self.automaton, self.state, self.taken)


@dataclass
class Automaton:
    """A language as a table of states; the first one begins. Obeys the Constraint protocol."""

    vocab: int
    moves: Moves
    asked: list[int] = field(default_factory=list)
    """Tokens that `allows` was called with."""
    ways: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """By state, the tokens that lead to where a text may end."""
    masks: int = 0
    """Calls of `allowed`."""

    @property
    def name(self) -> str:
        return "an automaton"

    def start(self) -> Walker:
        return Walker(self, next(iter(self.moves)))

    def holds(self, tokens: Sequence[int]) -> bool:
        """Whether a sample may begin like this."""
        return self.start().prefix(tokens) == len(tokens)

    def samples(
        self, shares: Callable[[tuple[int, ...]], Sequence[float]], end: int, max_tokens: int
    ) -> Iterator[tuple[tuple[int, ...], float, float]]:
        """Yield every sample, how likely it is without the constraint, and when drawn within it token by token.

        shares: the distribution of the next token behind those of a sample.
        """
        waiting: list[tuple[tuple[int, ...], str, float, float]] = [((), next(iter(self.moves)), 1.0, 1.0)]
        while waiting:
            tokens, state, free, within = waiting.pop()
            row = shares(tokens)
            whole = sum(row[token] for token in self.moves[state])
            for token, then in self.moves[state].items():
                longer = (free * row[token], within * row[token] / whole)
                if token == end:
                    yield tokens, *longer
                elif len(tokens) + 1 == max_tokens:
                    yield (*tokens, token), *longer
                else:
                    waiting.append(((*tokens, token), then, *longer))


def one_place(vocab: int, allowed: Sequence[int]) -> Automaton:
    """A language in which the same tokens may always come."""
    return Automaton(vocab, {"a": dict.fromkeys(allowed, "a")})
