"""What a sample has drawn so far."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgetts.decoding.sampling import Sampler
from edgetts.decoding.session import Branch, Logits
from edgetts.types import FinishReason


@dataclass(frozen=True, slots=True)
class TokenDrawn:
    """One token of a sample, or, with `finish`, that the sample ended without one."""

    sample: int
    token: int | None
    logprob: float
    finish: FinishReason | None = None


@dataclass(slots=True)
class Trace:
    """One sample: its token ids, their log-probs, and why it ended.

    A sample that continues another's has the other's tokens first: `inherited` of them. A paused one runs
    no more but can be continued; `following` are the logits of what follows it, once they are known.
    """

    index: int
    sampler: Sampler
    branch: Branch | None = None
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish: FinishReason | None = None
    inherited: int = 0
    paused: bool = False
    following: Logits | None = None

    @property
    def drawn(self) -> int:
        """Tokens drawn for this sample itself."""
        return len(self.tokens) - self.inherited
