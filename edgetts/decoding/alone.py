"""The protocol of what computes the next tokens of a sample that runs alone, otherwise than one a pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from edgetts.decoding.sampling import Drawn
from edgetts.decoding.session import Branch, Session
from edgetts.decoding.trace import TokenDrawn, Trace


@dataclass(frozen=True, slots=True)
class Situation:
    """A sample, alone in its session, that has drawn at least one token which is not in its branch yet.

    room: tokens it may draw at most, at least 1. prompt, others: the prompt's tokens, and those of other
    samples of the same question. take: append a drawn token to the sample; says whether that ended it.
    """

    session: Session
    trace: Trace
    branch: Branch
    room: int
    prompt: Sequence[int]
    others: Sequence[Sequence[int]]
    take: Callable[[Drawn], TokenDrawn]


class Alone(Protocol):
    """Draw one or more tokens of a lone sample in one pass, or what counts as one."""

    @property
    def widest(self) -> int:
        """Tokens that a pass may run at most."""
        ...

    def step(self, at: Situation) -> tuple[list[TokenDrawn], int]:
        """Return what was drawn, and how many tokens the pass ran. The branch holds all but the last drawn."""
        ...
