"""What a sample has drawn so far."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from edgetts.decoding.closing import Closing
from edgetts.decoding.sampling import Drawn, Sampler
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
class Ending:
    """How a sample is concluded: tokens that come next whatever the model finds likely, then some of the likeliest.

    left: how many those may be. sampler: what draws them. reason: why the sample ends. said: the model itself ended it.
    """

    forced: deque[int]
    left: int
    sampler: Sampler
    reason: FinishReason
    said: bool = False


@dataclass(slots=True)
class Trace:
    """One sample: its token ids, their log-probs, and why it ended.

    A sample that continues another's has the other's tokens first: `inherited` of them. A paused one runs
    no more but can be continued; `following` are the logits of what follows it, once they are known. `ending`: of
    one that is being concluded. log_shares: of a constrained sample, for each token the log of the share that the
    constraint allowed (`Drawn.log_share`), and one more for the end token. top_logprobs: `Drawn.top` of each token,
    where they are recorded.
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
    ending: Ending | None = None
    closing: Closing | None = None
    """Watches that a limit does not cut a constrained sample."""
    log_shares: list[float] = field(default_factory=list)
    top_logprobs: list[tuple[tuple[int, float], ...]] = field(default_factory=list)

    def append(self, drawn: Drawn) -> None:
        """Add a token; what ends the sample is none."""
        self.tokens.append(drawn.token)
        self.logprobs.append(drawn.logprob)
        if drawn.top:
            self.top_logprobs.append(drawn.top)

    def inherit(self, parent: Trace) -> None:
        """Begin with all that another sample has."""
        self.inherited = len(parent.tokens)
        self.tokens += parent.tokens
        self.logprobs += parent.logprobs
        self.log_shares += parent.log_shares
        self.top_logprobs += parent.top_logprobs

    def cut(self, length: int) -> None:
        """Take back all tokens but the first ones."""
        del self.tokens[length:], self.logprobs[length:], self.log_shares[length:], self.top_logprobs[length:]

    @property
    def log_weight(self) -> float:
        """The log of its importance weight, as `Sample.log_weight`."""
        return math.fsum(self.log_shares)

    @property
    def drawn(self) -> int:
        """Tokens drawn for this sample itself."""
        return len(self.tokens) - self.inherited
