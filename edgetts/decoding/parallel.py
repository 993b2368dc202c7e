"""Decode several samples of one prompt in lockstep: one pass a step, whatever their number.

The caller owns the loop: it starts samples, steps, and ends them when it likes. A sample that the
model ends leaves its place at once, and another may be started in it. A sample that runs alone may
verify guesses at its next tokens in the same pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from edgetts.decoding.sampling import Sampler
from edgetts.decoding.session import Branch, Features, Logits, Session
from edgetts.decoding.speculation import Drafter, Speculator
from edgetts.errors import InvalidInput
from edgetts.types import LONGEST_DRAFT, FinishReason, SamplingParams


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
    drafters: Sequence[Drafter] | None = None
    known: int = 0
    """Tokens the drafters were told of."""
    features: Features | None = None
    """The hidden state the last token was drawn from, where the sample was alone then."""
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish: FinishReason | None = None


class ParallelDecoder:
    """Samples that continue one prefilled prompt. Frees every branch it was given or made when closed.

    `speculator` may draft for a sample that runs alone; None decodes plainly.
    """

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
        speculator: Speculator | None = None,
    ) -> None:
        able = session.capabilities.extend and session.capabilities.truncate
        self._speculator = speculator if able else None
        self.last_width = 0
        """Tokens that the latest pass ran."""
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

    def step(self, most: int | None = None) -> list[TokenDrawn]:
        """Run one pass over the running samples and draw a token for each; for one alone, perhaps several.

        most: tokens that a sample alone may get; None is no limit.
        """
        running = list(self._running)
        if not running:
            return []
        if len(running) == 1 and self._speculator is not None:
            drawn = self._speculate(running[0], self._speculator, most)
        else:
            branches = [trace.branch for trace in running if trace.branch is not None]
            self.last_width = len(branches)
            logits = self._session.step(branches, [trace.tokens[-1] for trace in running])
            for trace in running:
                trace.features = None
            drawn = [self._draw(trace, row) for trace, row in zip(running, logits, strict=True)]
        self._evict()
        return drawn

    @property
    def widest(self) -> int:
        """Tokens that the next pass may run at most."""
        alone = len(self._running) == 1 and self._speculator is not None
        return 1 + LONGEST_DRAFT if alone else len(self._running)

    def end(self, sample: int, reason: FinishReason, keep: int | None = None) -> None:
        """End a sample and free its branch; one that has ended stays as it was.

        keep: the tokens it has, where a pass drew more before its end was seen.
        """
        trace = self.traces[sample]
        if keep is not None and keep < len(trace.tokens):
            del trace.tokens[keep:], trace.logprobs[keep:]
            trace.finish = reason
        elif trace.finish is None:
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

    def _speculate(self, trace: Trace, speculator: Speculator, most: int | None) -> list[TokenDrawn]:
        """Verify guesses behind the last token: what is drawn from their logits, as plain decoding draws, decides."""
        branch, last = trace.branch, trace.tokens[-1]
        if branch is None:
            return []
        began = speculator.clock()
        if trace.drafters is None:
            others = [other.tokens for other in self.traces.values() if other is not trace]
            trace.drafters = speculator.drafters(self._prompt_tokens, others)
        for drafter in trace.drafters:
            drafter.accept(trace.tokens[trace.known :], trace.features)
        trace.known = len(trace.tokens)
        # The last token a limit allows is drawn, not guessed.
        room = min(self._max_tokens - len(trace.tokens), self._session.info.context - branch.length) - 1
        if most is not None:
            room = min(room, most - 1)
        draft = speculator.draft(trace.drafters, room)
        guesses = draft.tokens
        length = branch.length
        self.last_width = 1 + len(guesses)
        if guesses:
            logits = self._session.extend(branch, [last, *guesses])
        else:
            logits = self._session.step([branch], [last])
        drawn: list[TokenDrawn] = []
        emitted: list[int] = []
        for row, guess in zip(logits, [*guesses, None], strict=True):
            drawn.append(self._draw(trace, row))
            token = drawn[-1].token
            if token is not None:
                emitted.append(token)
            elif guess in self._session.info.end_tokens:
                emitted.append(guess)
            if trace.finish is not None or token != guess:
                break
        if self._session.capabilities.hidden_states:
            trace.features = self._session.features()[len(drawn) - 1].copy()
        if len(drawn) <= len(guesses):
            self._session.truncate(branch, length + len(drawn))
        speculator.settle(draft, emitted, speculator.clock() - began)
        return drawn

    def _evict(self) -> None:
        for trace in [t for t in self._running if t.finish is not None]:
            self._running.remove(trace)
            if trace.branch is not None:
                branch, trace.branch = trace.branch, None
                self._session.free(branch)
