"""Follow the samples of one question: their texts, their answers, and the vote among them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgetts.budget import Budget
from edgetts.control.controller import Controller
from edgetts.decoding.parallel import ParallelDecoder
from edgetts.decoding.trace import TokenDrawn
from edgetts.meter import Meter
from edgetts.selection.aggregation import Vote, self_consistency
from edgetts.selection.answers import AnswerFormat, extract
from edgetts.selection.stopping import vote_decided
from edgetts.tokenizer import Tokenizer
from edgetts.transcript import Transcript
from edgetts.types import (
    Answer,
    Event,
    FinishReason,
    Plan,
    Sample,
    SampleDone,
    SamplingParams,
    StopReason,
    TextDelta,
)

_CUT_BY: dict[StopReason, FinishReason] = {
    "complete": "length",
    "vote-decided": "pruned",
    "deadline": "deadline",
    "tokens": "budget",
    "cancelled": "cancelled",
}


class Answering:
    """The text side of one answer. `plan` is the first one; revisions never raise its samples."""

    def __init__(
        self, tokenizer: Tokenizer, sampling: SamplingParams, answer_format: AnswerFormat, plan: Plan
    ) -> None:
        self._tokenizer = tokenizer
        self._sampling = sampling
        self._format = answer_format
        self._plan = plan
        self._transcripts: dict[int, Transcript] = {}
        self._samples: dict[int, Sample] = {}
        self._votes: dict[int, Vote] = {}
        self._new_lengths: list[int] = []
        self.chosen = 0
        """Index of the sample that became the answer."""

    def take(self, drawn: Sequence[TokenDrawn], decoder: ParallelDecoder) -> Iterator[Event]:
        """Take the tokens of one pass; end samples at stop strings; yield text and finished samples."""
        for one in drawn:
            if one.sample not in self._transcripts:
                self._transcripts[one.sample] = Transcript(self._tokenizer, self._sampling.stop)
            transcript = self._transcripts[one.sample]
            ended = transcript.stopped
            if one.token is not None and not ended:
                yield from self._delta(one.sample, transcript.push(one.token))
                if transcript.stopped:
                    # A pass may have drawn more tokens than the text needed.
                    decoder.end(one.sample, "stop", keep=transcript.tokens)
        yield from self._close_ended(decoder)

    def end(self, decoder: ParallelDecoder, stop: StopReason) -> Iterator[Event]:
        """End every sample still running."""
        for sample in decoder.active:
            decoder.end(sample, _CUT_BY[stop])
        yield from self._close_ended(decoder)

    def new_lengths(self) -> list[int]:
        """Return the lengths of samples the model ended since the last call."""
        lengths, self._new_lengths = self._new_lengths, []
        return lengths

    def decided(self, cancelled: bool) -> StopReason | None:
        """Return why to stop now, as far as the texts tell."""
        if cancelled:
            return "cancelled"
        open_votes = self._plan.samples - len(self._votes)
        if self._plan.samples > 1 and open_votes > 0 and self._votes:
            tally = self_consistency(list(self._votes.values()))
            if tally.answer is not None and vote_decided(tally.counts, open_votes):
                return "vote-decided"
        return None

    def answer(
        self, stop: StopReason, controller: Controller, meter: Meter, model: str, budget: Budget
    ) -> Answer:
        """Choose among the samples there are."""
        samples = tuple(self._samples[i] for i in sorted(self._samples))
        chosen: Sample | None = None
        confidence: float | None = None
        source = "none: one sample has nothing to agree with" if samples else "none: there is no sample"
        answer: str | None = None
        if samples:
            tally = self_consistency([self._votes[s.index] for s in samples])
            self.chosen, answer = tally.sample, tally.answer
            chosen = self._samples[self.chosen]
            if len(samples) > 1:
                confidence, source = tally.confidence, tally.confidence_source
        return Answer(
            text=chosen.text if chosen is not None else "",
            answer=answer,
            confidence=confidence,
            confidence_source=source,
            samples=samples,
            plan=self._plan,
            revisions=tuple(controller.revisions),
            usage=meter.usage(samples, chosen),
            stop_reason=stop,
            model=model,
            budget=budget.to_json(),
        )

    def _close_ended(self, decoder: ParallelDecoder) -> Iterator[Event]:
        for index, trace in decoder.traces.items():
            if trace.finish is None or index in self._samples:
                continue
            transcript = self._transcripts.setdefault(index, Transcript(self._tokenizer, self._sampling.stop))
            yield from self._delta(index, transcript.finish())
            # A stop string may appear only with the last, held back characters.
            reason: FinishReason = "stop" if transcript.stopped else trace.finish
            sample = Sample(
                index=index,
                tokens=tuple(trace.tokens),
                logprobs=tuple(trace.logprobs),
                finish_reason=reason,
                greedy=trace.sampler.greedy,
                text=transcript.text,
            )
            found = extract(sample.text, self._format, complete=sample.complete)
            if found is not None:
                sample = Sample(
                    sample.index,
                    sample.tokens,
                    sample.logprobs,
                    sample.finish_reason,
                    sample.greedy,
                    sample.text,
                    found.canonical,
                )
            self._samples[index] = sample
            self._votes[index] = Vote.of(sample, found)
            if sample.complete:
                self._new_lengths.append(len(sample.tokens))
            yield SampleDone(sample, len(self._samples), self._plan.samples)

    def _delta(self, sample: int, text: str) -> Iterator[Event]:
        if text and self._plan.samples == 1:
            yield TextDelta(text, sample)
