"""The texts of one question's samples: what they say, what they answer, and what others say of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from edgetts.answering.choosing import Choosing
from edgetts.decoding.trace import Trace
from edgetts.selection.aggregation import Vote
from edgetts.selection.answers import Extracted, answer_tokens, classes, extract
from edgetts.selection.search.tree import ROOT, Node
from edgetts.selection.verification.verifier import Verdict, Work
from edgetts.tokenizer import Tokenizer
from edgetts.transcript import Transcript
from edgetts.types import FinishReason, Sample, SamplingParams

Judgement = Callable[[int, bool], float | None]
"""Given a sample's index and whether its text is whole: the model's own probability that it is right."""

Check = Callable[[Work], Verdict]


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a sample comes from: the node it continues, its depth, and how long that node's text is."""

    parent: int
    depth: int
    begins: int


_WHOLE = Lineage(ROOT, 1, 0)


class Texts:
    """Transcripts of samples, by index, and the finished samples made of them."""

    def __init__(
        self, tokenizer: Tokenizer, sampling: SamplingParams, choosing: Choosing, question: str
    ) -> None:
        self._tokenizer = tokenizer
        self._stops = sampling.stop
        self._choosing = choosing
        self._question = question
        self._transcripts: dict[int, Transcript] = {}
        self._lineage: dict[int, Lineage] = {}
        self._found: dict[int, Extracted | None] = {}
        self._votes: dict[int, Vote] = {}
        self.samples: dict[int, Sample] = {}
        """Those that ended."""

    def branch(self, parent: int, child: int) -> None:
        """Have a sample continue a node's text: another sample's, or the prompt's."""
        if parent == ROOT:
            self._transcripts[child] = Transcript(self._tokenizer, self._stops)
            return
        before = self._transcripts[parent]
        self._transcripts[child] = before.fork()
        self._lineage[child] = Lineage(parent, self._lineage.get(parent, _WHOLE).depth + 1, len(before.text))

    def of(self, sample: int) -> Transcript:
        if sample not in self._transcripts:
            self.branch(ROOT, sample)
        return self._transcripts[sample]

    def begins(self, sample: int) -> int:
        """Return the character of a sample's text at which its own step begins."""
        return self._lineage.get(sample, _WHOLE).begins

    def close(self, trace: Trace, judge: Judgement, check: Check) -> tuple[Sample, str]:
        """Make a sample of a trace that ended; return it with the text that was held back until now."""
        transcript = self.of(trace.index)
        held = transcript.finish()
        # A stop string may appear only with the last, held back characters.
        reason: FinishReason = "stop" if transcript.stopped else trace.finish or "cancelled"
        sample = Sample(
            index=trace.index,
            tokens=tuple(trace.tokens),
            logprobs=tuple(trace.logprobs),
            finish_reason=reason,
            greedy=trace.sampler.greedy,
            text=transcript.text,
            top_logprobs=tuple(trace.top_logprobs),
            log_weight=trace.log_weight,
        )
        # What was asked for its answer and ended by itself has said it, though it was cut.
        said = trace.ending is not None and trace.ending.said
        found = self._found[trace.index] = self._extract(sample.text, sample.complete or said)
        answer = found.canonical if found else None
        # What the deadline or the user cut is shown as it is: nobody waits for what others think of it.
        rushed = reason in ("deadline", "cancelled")
        verdict = (
            Verdict(None) if rushed else check(Work(self._question, sample.text, answer, sample.complete))
        )
        sample = replace(sample, answer=answer, passed=verdict.passed, verdict=verdict.reason)
        self.samples[trace.index] = sample
        if not rushed:
            score = self.node(trace, judge).score
            sample = self.samples[trace.index] = replace(sample, score=score)
        self._votes[trace.index] = self._vote(sample)
        return sample, held

    def node(self, trace: Trace, judge: Judgement) -> Node:
        """Return what a search sees of a sample."""
        lineage = self._lineage.get(trace.index, _WHOLE)
        text = self.of(trace.index).text
        ended = self.samples.get(trace.index)
        complete = ended is not None and ended.complete
        found = self._extract(text, complete) if ended is None else self._found[trace.index]
        node = Node(
            id=trace.index,
            parent=lineage.parent,
            depth=lineage.depth,
            text=text,
            tokens=len(trace.tokens),
            logprob=math.fsum(trace.logprobs),
            step=text[lineage.begins :],
            step_tokens=trace.drawn,
            step_logprob=math.fsum(trace.logprobs[trace.inherited :]),
            ended=ended is not None,
            complete=complete,
            score=None if ended is None else ended.score,
            answer=found.canonical if found else None,
            log_weight=trace.log_weight,
        )
        # What ended was judged then, or could not be; its branch is gone.
        if node.score is not None or trace.index in self._votes:
            return node
        return replace(node, score=self._score(node, judge))

    def _score(self, node: Node, judge: Judgement) -> float | None:
        scorer = self._choosing.scorer
        if scorer is None:
            return None
        judgement = judge(node.id, node.complete) if scorer.judges else None
        if scorer.judges and judgement is None:
            return None
        return scorer.score(node, self._question, judgement)

    def _extract(self, text: str, complete: bool) -> Extracted | None:
        return extract(text, self._choosing.answer_format, complete=complete)

    @property
    def answered(self) -> bool:
        """Whether a sample that ended has an answer that counts. Asked at every pass: no answers are compared for it."""
        return any(vote.counts for vote in self._votes.values())

    def votes(self) -> list[Vote]:
        """Return the votes of the samples that ended, equivalent answers under one name."""
        chosen = sorted(self._votes)
        names = classes([self._found[i] for i in chosen], self._choosing.answer_format)
        return [replace(self._votes[i], answer=name) for i, name in zip(chosen, names, strict=True)]

    def _vote(self, sample: Sample) -> Vote:
        found = self._found[sample.index]
        spelled = range(0) if found is None else answer_tokens(self._pieces(sample), found.span)
        return replace(
            Vote.of(sample, found),
            answer_logprob=math.fsum(sample.logprobs[i] for i in spelled) if spelled else None,
            answer_tokens=len(spelled),
            score=sample.score,
            passed=sample.passed,
        )

    def _pieces(self, sample: Sample) -> list[str]:
        """Return what each token added to the text."""
        transcript = Transcript(self._tokenizer, ())
        return [transcript.push(token) for token in sample.tokens]
