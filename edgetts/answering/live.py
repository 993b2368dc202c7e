"""The samples of one question that a model draws: what a pass brings, and what becomes of a sample that ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence

from edgetts.answering.forcing import Concluding
from edgetts.answering.growing import grow
from edgetts.answering.judge import Judge
from edgetts.answering.texts import Texts
from edgetts.answering.watching import Watcher
from edgetts.control.controller import Controller
from edgetts.decoding.parallel import ParallelDecoder
from edgetts.decoding.trace import Ending, TokenDrawn
from edgetts.errors import PromptTooLong
from edgetts.meter import Meter
from edgetts.selection.search.splitter import StepSplitter
from edgetts.selection.search.tree import Grow, Node
from edgetts.selection.verification.verifier import Verdict, Verifier, Work
from edgetts.types import Event, FinishReason, SampleDone, StopReason, TextDelta


class LiveRun:
    """The samples of one question under way. A sample's index is its node's id."""

    def __init__(
        self,
        texts: Texts,
        decoder: ParallelDecoder,
        controller: Controller,
        meter: Meter,
        judge: Judge,
        clock: Callable[[], float],
        cancelled: Callable[[], bool],
        *,
        streams: bool,
        verifier: Verifier | None = None,
        watcher: Watcher | None = None,
        forcing: Concluding | None = None,
    ) -> None:
        """streams: text is yielded as it is drawn. forcing: None leaves samples that run out of time as they are."""
        self.texts = texts
        self.decoder = decoder
        self.controller = controller
        self.clock = clock
        self.cancelled = cancelled
        self.stop: StopReason | None = None
        """Why everything ended; None while it goes on."""
        self.lengths: list[int] = []
        """Tokens of the samples that the model ended."""
        self.detail = ""
        """What the stopping rule said."""
        self._meter = meter
        self._judge = judge
        self._streams = streams
        self._given_up: set[int] = set()
        self._watcher = watcher
        self._forcing = forcing
        self._draws: Counter[int] = Counter()
        self._verifier = verifier
        self.slowest_check = 0.0

    @property
    def spent(self) -> int:
        """Tokens drawn, and read to have texts judged."""
        return self.decoder.generated + self._meter.scoring_tokens

    @property
    def open(self) -> list[int]:
        """Paused samples that can still be continued."""
        return [i for i, trace in self.decoder.traces.items() if trace.paused and trace.branch is not None]

    @property
    def closing(self) -> int:
        """Passes in which the running samples can be made to state their answers; 0 is never.

        Never where an answer is there already: what is asked for too early had better not outvote it. Nor where
        no text is longer than that takes: it would be asked before it has begun.
        """
        if self._forcing is None or not self._forcing.passes or self.texts.answered or not self._begun:
            return 0
        return self._forcing.passes

    def conclude(self, reason: FinishReason) -> None:
        """Have every running sample that has not stated its answer do so in its next passes; it ends for the reason."""
        if self._forcing is None:
            return
        for sample in self._begun:
            made = None
            if self.decoder.traces[sample].ending is None:
                matcher = self.decoder.traces[sample].sampler.matcher
                made = self._forcing.conclusion(self.text(sample), matcher)
            if made is not None:
                self.decoder.conclude(sample, made.tokens, made.most, reason)

    @property
    def _begun(self) -> list[int]:
        """Return the running samples that are long enough to be concluded."""
        least = 0 if self._forcing is None else self._forcing.least
        return [i for i in self.decoder.active if len(self.decoder.traces[i].tokens) > least]

    def text(self, sample: int) -> str:
        """Return what a sample says so far."""
        return self.texts.of(sample).text

    def take(self, drawn: Sequence[TokenDrawn]) -> Iterator[Event]:
        """Take the tokens of one pass; end samples at stop strings; yield text and finished samples."""
        self._meter.tokens_drawn(self.decoder.generated)
        for one in drawn:
            self._draws[one.sample] += 1
            transcript = self.texts.of(one.sample)
            ended = transcript.stopped
            if one.token is not None and not ended:
                yield from self._delta(one.sample, transcript.push(one.token))
                if transcript.stopped:
                    # A pass may have drawn more tokens than the text needed.
                    self.decoder.end(one.sample, "stop", keep=transcript.tokens)
        yield from self.close_ended()
        if self._watcher is not None:
            self._watcher.taken(self.clock(), self._meter.joules(), self.closing, self.decoder.widest)

    def step(self, most: int | None) -> list[TokenDrawn]:
        """Run one pass over the samples that run."""
        began = self.clock()
        drawn = self.decoder.step(most)
        ended = self.clock()
        if self._watcher is not None:
            self._watcher.passed(self.decoder.last_width, began, ended, len(drawn))
        self.controller.observe_pass(self.decoder.last_width, ended - began)
        return drawn

    def close_ended(self) -> Iterator[Event]:
        """Make samples of the traces that ended since the last call."""
        for index, trace in self.decoder.traces.items():
            if trace.finish is None or index in self.texts.samples or index in self._given_up:
                continue
            sample, held = self.texts.close(trace, self.judge, self.check)
            self.decoder.release(index)
            yield from self._delta(index, held)
            if sample.complete:
                self.controller.observe_end(len(sample.tokens))
                self.lengths.append(len(sample.tokens))
            if self._watcher is not None:
                vote = next(vote for vote in self.texts.votes() if vote.sample == index)
                self._watcher.sample_ended(
                    sample,
                    vote,
                    self._draws[index],
                    concluded=_came_to_its_end(trace.ending),
                    scoring=self._meter.scoring_tokens,
                )
            yield SampleDone(sample, len(self.texts.samples), self.controller.plan.samples)

    def grow(self, move: Grow, splitter: StepSplitter, *, scored: bool) -> Generator[Event, None, list[Node]]:
        """Continue nodes by one step each."""
        return grow(self, move, splitter, scored=scored)

    def give_up(self, sample: int) -> None:
        """End a partial answer that becomes no sample."""
        self._given_up.add(sample)
        self.decoder.end(sample, "pruned")
        self.decoder.release(sample)

    def check(self, work: Work) -> Verdict:
        """Return the verifier's verdict, or that it cannot tell where there is no time left to ask it."""
        if self._verifier is None:
            return Verdict(None)
        if self.cancelled() or self.controller.late_in(self.slowest_check):
            return Verdict(None, "not checked: no time was left")
        began = self.clock()
        verdict = self._verifier.verify(work)
        self.slowest_check = max(self.slowest_check, self.clock() - began)
        return verdict

    def judge(self, sample: int, complete: bool) -> float | None:
        """Return the model's own probability that a text is right; None where the budget has no room for it."""
        question = self._judge.question(complete)
        if (
            self.cancelled()
            or self.controller.may_pass(len(question) + 1, self.spent, len(question)) is not None
        ):
            return None
        try:
            logits = self.decoder.read_on(sample, question)
        except PromptTooLong:
            return None
        self._meter.scoring_tokens += len(question)
        return self._judge.probability(logits)

    def node(self, sample: int) -> Node:
        """Return what a search sees of a sample that is paused or has ended, with its score."""
        began = self.clock()
        node = self.texts.node(self.decoder.traces[sample], self.judge)
        self.slowest_check = max(self.slowest_check, self.clock() - began)
        return node

    def _delta(self, sample: int, text: str) -> Iterator[Event]:
        if text and self._streams:
            yield TextDelta(text, sample)


def _came_to_its_end(ending: Ending | None) -> bool:
    """Whether a sample that was concluded drew all that it might."""
    return ending is not None and (ending.said or (not ending.forced and ending.left < 1))
