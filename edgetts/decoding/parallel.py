"""Decode several samples of one prompt in lockstep: one pass a step, whatever their number.

The caller owns the loop: it starts samples, steps, and ends them when it likes. A sample that the
model ends leaves its place at once, and another may be started in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from edgetts.decoding.sampling import Sampler
from edgetts.decoding.session import Branch, Logits, Session
from edgetts.errors import InvalidInput
from edgetts.types import FinishReason, SamplingParams


@dataclass(frozen=True, slots=True)
class TokenDrawn:
    """One token of a sample, or, with `finish`, that the sample ended without one."""

    sample: int
    token: int | None
    logprob: float
    finish: FinishReason | None = None


@dataclass(slots=True)
class Trace:
    """What a sample has drawn so far: token ids, log-probs, and why it ended."""

    index: int
    sampler: Sampler
    branch: Branch | None = None
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish: FinishReason | None = None


class ParallelDecoder:
    """Samples that continue one prefilled prompt. Frees every branch it was given or made when closed."""

    def __init__(
        self,
        session: Session,
        prompt: Branch,
        logits: Logits,
        params: SamplingParams,
        *,
        prompt_tokens: Sequence[int] = (),
        max_tokens: int,
        greedy_first: bool,
    ) -> None:
        self._session = session
        self._prompt: Branch | None = prompt
        self._logits = logits
        self._params = params
        self._prompt_tokens = prompt_tokens
        self._max_tokens = max_tokens
        self._greedy_first = greedy_first
        self._running: list[Trace] = []
        self.traces: dict[int, Trace] = {}

    @property
    def active(self) -> tuple[int, ...]:
        """Samples still running, in the order they were started."""
        return tuple(trace.index for trace in self._running)

    @property
    def generated(self) -> int:
        """Tokens drawn so far, by all samples."""
        return sum(len(trace.tokens) for trace in self.traces.values())

    def start(self, count: int, *, last: bool = False) -> list[TokenDrawn]:
        """Start more samples and draw their first tokens.

        `last` says that none will be started later, so that one of them may take the prompt's own branch.
        """
        if self._prompt is None:
            raise InvalidInput("No more samples can be started: the last ones were announced before.")
        if count < 1:
            return []
        branches: list[Branch] = []
        if last:
            branches = [self._prompt]
            if count > 1:
                branches += self._session.fork(self._prompt, count - 1)
            # Only now: a fork that fails leaves the prompt's branch for `close` to free.
            self._prompt = None
        else:
            branches = self._session.fork(self._prompt, count)
        drawn: list[TokenDrawn] = []
        for branch in branches:
            index = len(self.traces)
            greedy = index == 0 and self._greedy_first
            sampler = Sampler(self._params, index, greedy=greedy, prompt=self._prompt_tokens)
            trace = Trace(index, sampler, branch)
            self.traces[index] = trace
            self._running.append(trace)
        for trace in self._running[-count:]:
            drawn.append(self._draw(trace, self._logits))
        self._evict()
        return drawn

    def step(self) -> list[TokenDrawn]:
        """Run one pass over the running samples and draw a token for each."""
        running = list(self._running)
        if not running:
            return []
        branches = [trace.branch for trace in running if trace.branch is not None]
        logits = self._session.step(branches, [trace.tokens[-1] for trace in running])
        drawn = [self._draw(trace, row) for trace, row in zip(running, logits, strict=True)]
        self._evict()
        return drawn

    def end(self, sample: int, reason: FinishReason) -> None:
        """End a sample and free its branch; one that has ended stays as it was."""
        trace = self.traces[sample]
        if trace.finish is None:
            trace.finish = reason
            self._evict()

    def close(self) -> None:
        """Free every branch."""
        for trace in self._running:
            trace.finish = trace.finish or "cancelled"
        self._evict()
        if self._prompt is not None:
            self._session.free(self._prompt)
            self._prompt = None

    def _draw(self, trace: Trace, logits: Logits) -> TokenDrawn:
        drawn = trace.sampler.draw(logits)
        if drawn.token in self._session.info.end_tokens:
            trace.finish = "end"
            return TokenDrawn(trace.index, None, drawn.logprob, "end")
        trace.tokens.append(drawn.token)
        trace.logprobs.append(drawn.logprob)
        if len(trace.tokens) >= self._max_tokens:
            trace.finish = "length"
        return TokenDrawn(trace.index, drawn.token, drawn.logprob, trace.finish)

    def _evict(self) -> None:
        for trace in [t for t in self._running if t.finish is not None]:
            self._running.remove(trace)
            if trace.branch is not None:
                branch, trace.branch = trace.branch, None
                self._session.free(branch)
