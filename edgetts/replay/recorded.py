"""The samples of one question that a record has, in place of a model that draws them."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

from edgetts.control.controller import Controller
from edgetts.errors import InvalidInput
from edgetts.replay.decoder import RecordedDecoder, Redrawn
from edgetts.replay.samples import Recorded
from edgetts.selection.aggregation import Vote
from edgetts.selection.search.splitter import StepSplitter
from edgetts.selection.search.tree import ROOT, Grow, Node, Scorer
from edgetts.types import Event, FinishReason, Sample, SampleDone, StopReason

if TYPE_CHECKING:
    from edgetts.decoding.trace import TokenDrawn


class Pass(NamedTuple):
    """What a pass took. width: tokens that it ran; draws: tokens that each sample drew."""

    width: int
    seconds: float
    draws: int


class World(Protocol):
    """What passes cost: time, that a controller reads from its clock."""

    @property
    def scoring(self) -> int:
        """Tokens read by now to have texts judged, which count towards a budget of tokens."""
        ...

    def step(self, width: int, held: int, most: int) -> Pass:
        """Run a pass over `width` samples that hold `held` tokens together, beside a prompt each, or several at once.

        No sample may draw more than `most` tokens, the number with which the next one ends.
        """
        ...

    def closed(self, index: int) -> None:
        """Be told that a sample ended."""
        ...

    def taken(self) -> None:
        """Be told that what the last pass, or the beginning of samples, brought was taken."""
        ...


class Scores:
    """What a scorer says of recorded samples; each is asked about once, however often it is drawn again."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._known: dict[tuple[int, bool], tuple[Recorded, float]] = {}

    def of(self, recorded: Recorded, node: Node, question: str) -> float:
        key = (id(recorded), node.complete)
        if key not in self._known:
            # Kept with the sample, so that no other gets its identity.
            self._known[key] = recorded, self._scorer.score(node, question, None)
        return self._known[key][1]


class RecordedTexts:
    """The samples that ended, and what they vote for."""

    def __init__(self, question: str = "", scores: Scores | None = None) -> None:
        self._question = question
        self._scores = scores
        self.samples: dict[int, Sample] = {}
        self._votes: dict[int, Vote] = {}

    def votes(self) -> list[Vote]:
        return [self._votes[index] for index in sorted(self._votes)]

    def close(self, index: int, trace: Redrawn) -> Sample:
        """Make a sample of what ended. A text that was cut says nothing here: what it states by then is not recorded."""
        record = trace.recorded.record
        finish = trace.finish or "cancelled"
        whole = trace.whole
        tokens, logprobs = (
            (record.tokens, record.logprobs) if whole else (tuple(trace.tokens), tuple(trace.logprobs))
        )
        logprob = trace.recorded.logprob if whole else math.fsum(logprobs)
        sample = Sample(
            index=index,
            tokens=tokens,
            logprobs=logprobs,
            finish_reason=finish,
            greedy=record.greedy,
            text=record.text if whole else "",
            answer=record.answer if whole else None,
            score=record.score if whole else None,
            passed=record.passed if whole else None,
        )
        if whole and self._scores is not None:
            score = self._scores.of(trace.recorded, node_of(sample), self._question)
            sample = replace(sample, score=score)
        self.samples[index] = sample
        if whole:
            vote = trace.recorded.vote
            self._votes[index] = replace(vote, sample=index, complete=sample.complete, score=sample.score)
        else:
            self._votes[index] = Vote(
                index, None, logprob, len(tokens), complete=False, explicit=False, path=tokens
            )
        return sample


class RecordedRun:
    """A `Run` whose samples were drawn before. A pass costs what `world` says."""

    def __init__(
        self,
        decoder: RecordedDecoder,
        controller: Controller,
        world: World,
        question: str = "",
        scores: Scores | None = None,
        *,
        observed: bool = True,
    ) -> None:
        """scores: of whole samples by a strategy's scorer; None leaves them those that were recorded.

        observed: the controller is told what passes take, of which it needs to know nothing where no limit is set.
        """
        self.decoder = decoder
        self.texts = RecordedTexts(question, scores)
        self.controller = controller
        self.stop: StopReason | None = None
        self.detail = ""
        self._world = world
        self._observed = observed

    @property
    def spent(self) -> int:
        return self.decoder.generated + self._world.scoring

    @property
    def open(self) -> list[int]:
        return []

    def cancelled(self) -> bool:
        return False

    @property
    def closing(self) -> int:
        """What a text would have stated had it been asked is not recorded."""
        return 0

    def conclude(self, reason: FinishReason) -> None:
        """Leave the samples as they are, since `closing` is never."""

    def text(self, sample: int) -> str:
        """Return as much of the recorded text as of its tokens was drawn: which token spells what is not recorded."""
        trace = self.decoder.traces[sample]
        whole = trace.recorded.record
        return whole.text[: len(whole.text) * trace.count // max(1, len(whole.tokens))]

    def step(self, most: int | None) -> list[TokenDrawn]:  # noqa: ARG002  # a pass draws one token
        """Run one pass, or as many as the world takes at once."""
        decoder = self.decoder
        done = self._world.step(len(decoder.active), decoder.held, decoder.draws_left())
        decoder.step(done.draws)
        if self._observed:
            self.controller.observe_pass(done.width, done.seconds)
        return []

    def take(self, drawn: Sequence[TokenDrawn]) -> Iterator[Event]:  # noqa: ARG002  # there are none
        if self.decoder.ended:
            yield from self.close_ended()
        self._world.taken()

    def close_ended(self) -> Iterator[Event]:
        ended, self.decoder.ended = self.decoder.ended, []
        for index in sorted(ended):
            sample = self.texts.close(index, self.decoder.traces[index])
            self._world.closed(index)
            if sample.complete:
                self.controller.observe_end(len(sample.tokens))
            yield SampleDone(sample, len(self.texts.samples), self.controller.plan.samples)

    def node(self, sample: int) -> Node:
        return node_of(self.texts.samples[sample])

    def grow(
        self,
        move: Grow,  # noqa: ARG002  # the protocol's, as the others
        splitter: StepSplitter,  # noqa: ARG002
        *,
        scored: bool,  # noqa: ARG002
    ) -> Generator[Event, None, list[Node]]:
        raise InvalidInput(
            "Steps cannot be replayed: a record holds whole samples.",
            hint="Take a strategy of whole samples, such as self_consistency.",
        )

    def give_up(self, sample: int) -> None:
        raise InvalidInput(f"Sample {sample} is no partial answer.")


def node_of(ended: Sample) -> Node:
    """Return what a search sees of a whole sample that ended."""
    logprob = math.fsum(ended.logprobs)
    return Node(
        id=ended.index,
        parent=ROOT,
        depth=1,
        text=ended.text,
        tokens=len(ended.tokens),
        logprob=logprob,
        step=ended.text,
        step_tokens=len(ended.tokens),
        step_logprob=logprob,
        ended=True,
        complete=ended.complete,
        score=ended.score,
        answer=ended.answer,
        log_weight=ended.log_weight,
    )
