"""Decode several samples of one prompt in lockstep: one pass a step, whatever their number.

The caller owns the loop: it starts samples, steps, and ends them when it likes. A sample that the
model ends leaves its place at once, and another may be started in it. A sample may be paused, and be
continued by several others that share what it has. A sample may be concluded: its next tokens are forced, and
what follows them is drawn greedily. How a sample that runs alone comes to its next tokens may be left to an `Alone`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from edgetts.decoding.alone import Alone, Situation
from edgetts.decoding.closing import Closings
from edgetts.decoding.constraint import Constraint
from edgetts.decoding.sampling import Drawn, Sampler
from edgetts.decoding.session import Branch, Logits, Session
from edgetts.decoding.trace import Ending, TokenDrawn, Trace
from edgetts.errors import InvalidInput
from edgetts.types import LONGEST_DRAFT, FinishReason, SamplingParams

# Tokens read on in one pass: the logits of all of them are in memory at once.
_READ = 64


class ParallelDecoder:
    """Samples that continue one prefilled prompt. Frees every branch it was given or made when closed.

    `alone` computes the tokens of a sample that runs alone; None decodes it as any other. keep_ended:
    samples that ended keep their branches until they are released, so that they can be read on. constraint: a language
    that every sample is kept to. crowded: whether others share passes with the samples now, so that none runs alone.
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
        alone: Alone | None = None,
        keep_ended: bool = False,
        constraint: Constraint | None = None,
        crowded: Callable[[], bool] = lambda: False,
    ) -> None:
        self._alone = alone
        self._keep_ended = keep_ended
        self._constraint = constraint
        self._crowded = crowded
        self.closings = None if constraint is None else Closings(constraint, max_tokens)
        self._prompt_length = prompt.length
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
        return sum(trace.drawn for trace in self.traces.values())

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
        return self._begin(branches, self._logits)

    def pause(self, sample: int) -> None:
        """Run a sample no further for now; it keeps its branch, so that others can continue it."""
        trace = self.traces[sample]
        trace.paused = True
        self._running.remove(trace)

    def ready(self, samples: Sequence[int]) -> None:
        """Run one pass over paused samples, so that they can be continued."""
        waiting = [t for t in map(self.traces.__getitem__, samples) if t.following is None]
        branches = [t.branch for t in waiting if t.branch is not None]
        if not branches:
            return
        for branch in branches:
            self._complete(branch)
        self.last_width = len(branches)
        rows = self._session.step(branches, [trace.tokens[-1] for trace in waiting])
        for trace, row in zip(waiting, rows, strict=True):
            trace.following = row.copy()

    def branch_off(self, sample: int, count: int, *, last: bool) -> list[TokenDrawn]:
        """Start `count` samples that continue a paused one which is ready, and draw their first tokens.

        `last` says that none will continue it later, so that one of them may take its branch.
        """
        parent = self.traces[sample]
        if parent.branch is None or parent.following is None:
            raise InvalidInput(f"Sample {sample} cannot be continued: it is not paused and ready.")
        branches: list[Branch] = []
        if count > last:
            branches = self._session.fork(parent.branch, count - last)
        logits = parent.following
        if last:
            branches.append(parent.branch)
            parent.branch = parent.following = None
        return self._begin(branches, logits, parent)

    def release(self, sample: int) -> None:
        """Free the branch of a sample that runs no more; it cannot be continued or read on then."""
        trace = self.traces[sample]
        if trace in self._running:
            raise InvalidInput(f"Sample {sample} is still running.")
        self._free(trace)

    def read_on(self, sample: int, tokens: Sequence[int]) -> Logits:
        """Return the logits [V] of what would follow a sample if `tokens` came next; nothing else changes.

        The sample is paused, or ended and kept. Works on a copy of its branch.
        """
        trace = self.traces[sample]
        if trace.branch is None:
            raise InvalidInput(f"Sample {sample} cannot be read on: its branch was given back.")
        self._complete(trace.branch)
        (copy,) = self._session.fork(trace.branch, 1)
        try:
            held = copy.length - self._prompt_length
            if held > len(trace.tokens):
                # A stop string took the last ones back.
                self._session.truncate(copy, self._prompt_length + len(trace.tokens))
                held = len(trace.tokens)
            rest = [*trace.tokens[held:], *tokens]
            for begin in range(0, len(rest), _READ):
                logits = self._session.extend(copy, rest[begin : begin + _READ])
            following: Logits = logits[-1].copy()
            return following
        finally:
            self._session.free(copy)

    def _begin(
        self, branches: Sequence[Branch], logits: Logits, parent: Trace | None = None
    ) -> list[TokenDrawn]:
        """Start a sample on each branch, and draw its first token from the logits."""
        begun: list[Trace] = []
        for branch in branches:
            index = len(self.traces)
            greedy = index == 0 and self._greedy_first
            before = () if parent is None else parent.tokens
            matcher = None
            if parent is not None and parent.sampler.matcher is not None:
                matcher = parent.sampler.matcher.copy()
            elif self._constraint is not None:
                matcher = self._constraint.start()
            prompt = self._prompt_tokens
            sampler = Sampler(
                self._params, index, greedy=greedy, prompt=prompt, drawn=before, matcher=matcher
            )
            trace = Trace(
                index, sampler, branch, closing=None if self.closings is None else self.closings.of()
            )
            if parent is not None:
                trace.inherit(parent)
            self.traces[index] = trace
            begun.append(trace)
        self._running += begun
        drawn = [self._draw(trace, logits) for trace in begun]
        self._close_in_time()
        self._evict()
        return drawn

    def step(self, most: int | None = None) -> list[TokenDrawn]:
        """Run one pass over the running samples and draw a token for each; for one alone, perhaps several.

        most: tokens that a sample alone may get; None is no limit.
        """
        running = list(self._running)
        if not running:
            return []
        if self._runs_alone and self._alone is not None:
            drawn = self._step_alone(running[0], self._alone, most)
        else:
            branches = [trace.branch for trace in running if trace.branch is not None]
            for branch in branches:
                self._complete(branch)
            self.last_width = len(branches)
            logits = self._session.step(branches, [trace.tokens[-1] for trace in running])
            drawn = [self._draw(trace, row) for trace, row in zip(running, logits, strict=True)]
        self._close_in_time()
        self._evict()
        return drawn

    @property
    def widest(self) -> int:
        """Tokens that the next pass may run at most."""
        if self._runs_alone and self._alone is not None:
            return self._alone.widest
        return len(self._running)

    def conclude(self, sample: int, tokens: Sequence[int], most: int, reason: FinishReason) -> None:
        """Have a running sample go on with `tokens`, then with the likeliest ones until the model ends it, `most` at most.

        A token a pass, as for the others, with the log-probs that the model gives it. It ends for the reason given;
        once concluded, a sample stays so. Raises InvalidInput for one that does not run.
        """
        trace = self.traces[sample]
        if trace not in self._running:
            raise InvalidInput(f"Sample {sample} cannot be concluded: it does not run.")
        matcher = trace.sampler.matcher
        if matcher is not None and matcher.prefix(tokens) < len(tokens):
            raise InvalidInput(
                f"Sample {sample} is kept to {self._constraint.name if self._constraint else 'a language'}, "
                "which what concludes it would break."
            )
        if not tokens or most < 0:
            raise InvalidInput(
                f"A sample is concluded by one token at least, not {len(tokens)}, and {most} more."
            )
        if trace.ending is None:
            greedy = Sampler(
                self._params,
                sample,
                greedy=True,
                prompt=self._prompt_tokens,
                drawn=trace.tokens,
                matcher=matcher,
            )
            trace.ending = Ending(deque(tokens), most, greedy, reason)

    @property
    def _runs_alone(self) -> bool:
        """Whether the next pass is one sample's that may come to its tokens otherwise."""
        if len(self._running) != 1 or self._crowded():
            return False
        only = self._running[0]
        closes = only.closing is not None and only.closing.near(len(only.tokens), LONGEST_DRAFT)
        return only.ending is None and not closes

    def end(self, sample: int, reason: FinishReason, keep: int | None = None) -> None:
        """End a sample and free its branch; one that has ended stays as it was.

        keep: the tokens it has, where a pass drew more before its end was seen.
        """
        trace = self.traces[sample]
        if keep is not None and keep < len(trace.tokens):
            trace.cut(keep)
            trace.finish = reason
        elif trace.finish is None:
            trace.finish = reason
        if trace.paused and not self._keep_ended:
            self._free(trace)
        self._evict()

    def close(self) -> None:
        """Free every branch."""
        for trace in self._running:
            trace.finish = trace.finish or "cancelled"
        self._evict()
        for trace in self.traces.values():
            self._free(trace)
        if self._prompt is not None:
            self._session.free(self._prompt)
            self._prompt = None

    def _draw(self, trace: Trace, logits: Logits) -> TokenDrawn:
        ending = trace.ending
        if ending is None:
            return self._take(trace, trace.sampler.draw(logits))
        if ending.forced:
            return self._take(trace, ending.sampler.take(logits, ending.forced.popleft()), forced=True)
        ending.left -= 1
        return self._take(trace, ending.sampler.draw(logits))

    def _take(self, trace: Trace, drawn: Drawn, *, forced: bool = False) -> TokenDrawn:
        """Append a token to a sample; the model's end token and the limit end it."""
        ending = trace.ending
        if trace.sampler.matcher is not None:
            trace.log_shares.append(drawn.log_share)
        if drawn.token in self._session.info.end_tokens and not forced:
            trace.finish = "end" if ending is None else ending.reason
            if ending is not None:
                ending.said = True
            return TokenDrawn(trace.index, None, drawn.logprob, trace.finish)
        trace.append(drawn)
        if len(trace.tokens) >= self._max_tokens:
            trace.finish = "length"
        elif ending is not None and not ending.forced and ending.left < 1:
            trace.finish = ending.reason
        return TokenDrawn(trace.index, drawn.token, drawn.logprob, trace.finish)

    def _step_alone(self, trace: Trace, alone: Alone, most: int | None) -> list[TokenDrawn]:
        if trace.branch is None:
            return []
        room = min(self._max_tokens - len(trace.tokens), self._session.info.context - trace.branch.length)
        situation = Situation(
            session=self._session,
            trace=trace,
            branch=trace.branch,
            room=max(1, room if most is None else min(room, most)),
            prompt=self._prompt_tokens,
            others=[other.tokens for other in self.traces.values() if other is not trace],
            take=lambda drawn: self._take(trace, drawn),
        )
        drawn, self.last_width = alone.step(situation)
        return drawn

    def _close_in_time(self) -> None:
        """Have constrained samples end as their language allows, rather than be cut by the limit of tokens."""
        for trace in self._running:
            matcher = trace.sampler.matcher
            if (
                trace.closing is None
                or trace.finish is not None
                or trace.ending is not None
                or matcher is None
            ):
                continue
            way = trace.closing.due(len(trace.tokens), matcher)
            if way:
                self.conclude(trace.index, way, 0, "length")
            elif way is not None:
                trace.finish = "length"

    def _complete(self, branch: Branch) -> None:
        if branch.pending:  # it ran alone until now, and left the network early
            self._session.complete(branch)

    def _evict(self) -> None:
        for trace in [t for t in self._running if t.finish is not None]:
            self._running.remove(trace)
            if not self._keep_ended:
                self._free(trace)

    def _free(self, trace: Trace) -> None:
        if trace.branch is not None:
            branch, trace.branch = trace.branch, None
            self._session.free(branch)
