"""Compute one question's answer, from the prompt to the choice among its samples."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from edgetts.answering.choosing import Choosing
from edgetts.answering.following import conclude, follow, shown
from edgetts.answering.forcing import Concluding, Forcing, LanguageForcing
from edgetts.answering.judge import Judge
from edgetts.answering.live import LiveRun
from edgetts.answering.texts import Texts
from edgetts.answering.watching import Known, WatchedSearch, Watcher
from edgetts.budget import Budget
from edgetts.control.controller import Controller
from edgetts.decoding.alone import Alone
from edgetts.decoding.constraint import Constraint
from edgetts.decoding.parallel import ParallelDecoder
from edgetts.decoding.session import Branch, Cancellation, Cancelled, Logits
from edgetts.meter import Meter
from edgetts.scheduling.seat import Seat
from edgetts.selection.search.tree import Search, Task
from edgetts.tokenizer import Tokenizer
from edgetts.types import (
    Answer,
    Event,
    Finished,
    Plan,
    PlanMade,
    SamplingParams,
    StopReason,
    TextDelta,
)


class SeatFinder(Protocol):
    """Wait for a place at the session, until a cancellation is requested, which raises Cancelled."""

    def __call__(self, *, cancel: Cancellation) -> AbstractContextManager[Seat]: ...


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, of which model, within what, and by what means: everything that is known before the first pass.

    text: the last message. tokens: the whole prompt. alone: how a sample that runs alone comes to its tokens.
    """

    text: str
    tokens: Sequence[int]
    model: str
    budget: Budget
    sampling: SamplingParams
    choosing: Choosing
    plan: Plan
    tokenizer: Tokenizer
    seat: SeatFinder
    alone: Alone | None
    judge: Judge
    controller: Controller
    meter: Meter
    clock: Callable[[], float]
    cancel: Cancellation
    closed: Callable[[], bool]
    """Whether the session was closed meanwhile, and has freed every branch."""
    ended: Callable[[Sequence[int]], None]
    """Told how long the samples were that the model ended."""
    known: Known | None = None
    """What the controller knows beforehand; for the watcher."""
    watcher: Watcher | None = None
    constraint: Constraint | None = None
    yields: bool = False
    """Whether a sample alone gives up its guesses where others could share its passes."""


def compute(question: Question) -> Iterator[Event]:
    """Yield the events of an answer, Finished last."""
    choosing, plan = question.choosing, question.plan
    watcher = question.watcher
    if watcher is not None:
        watcher.begin(question)
    yield PlanMade(plan)
    texts = Texts(question.tokenizer, question.sampling, choosing, question.text)
    # All that others wrote, which may fail, is asked before there is a branch to free.
    rates = None if choosing.verifier is None else choosing.verifier.rates
    effort = question.controller.effort
    task = Task(
        plan.samples, question.sampling.seed, rates, question.text, plan.rounds_at, plan.price, effort
    )
    search: Search = choosing.strategy.start(task)
    if watcher is not None:
        search = WatchedSearch(search, watcher)
    with ExitStack() as place:
        try:
            with _alarm(question, question.controller.ends[0]) as guard:
                seat = place.enter_context(question.seat(cancel=guard))
                branch, logits = _read_prompt(question, seat, guard)
        except Cancelled:
            answer = _unchosen(
                question, texts, "cancelled" if question.cancel.requested else question.controller.ends[1]
            )
            if watcher is not None:
                watcher.end(question.clock(), answer, ())
            yield Finished(answer)
            return
        # Joules are spent by passes, not by waiting: only what is sure ends the wait for one.
        due = question.controller.deadline
        seat.cancel = place.enter_context(_alarm(question, math.inf if due is None else due))
        decoder = _decoder(question, seat, branch, logits)
        run = LiveRun(
            texts,
            decoder,
            question.controller,
            question.meter,
            question.judge,
            question.clock,
            lambda: question.cancel.requested,
            streams=_streams(question),
            verifier=choosing.verifier,
            watcher=watcher,
            forcing=None if choosing.steps else _forcing(question, decoder),
        )
        if watcher is not None:
            watcher.prompt_read(question.clock())
        try:
            yield from follow(run, search, choosing)
        finally:
            if not question.closed():
                decoder.close()
            question.meter.crowded = seat.shared
    question.ended(run.lengths)
    answer = _unchosen(question, texts, run.stop or "complete", run.detail)
    if votes := texts.votes():
        tally = search.choose(votes)
        chosen = shown(votes, tally, texts.samples, choosing)
        usage = question.meter.usage(answer.samples, chosen)
        answer = conclude(replace(answer, usage=usage), votes, tally, chosen, choosing)
        if not _streams(question) and answer.text:
            yield TextDelta(answer.text, chosen.index)
    question.controller.closed(shared=question.meter.shared or question.meter.crowded)
    if watcher is not None:
        watcher.end(question.clock(), answer, votes)
    yield Finished(answer)


def _read_prompt(question: Question, seat: Seat, guard: Cancellation) -> tuple[Branch, Logits]:
    """Read the prompt, and take in how long that took where it says something of the model's speed."""
    began = question.clock()
    branch, logits = seat.prefill(question.tokens, guard)
    question.meter.cached_tokens = seat.cached
    alone = not seat.shared and not seat.cached
    question.controller.prompt_read(question.clock() - began if alone else None)
    if question.controller.late:
        # A copy of a long prompt for every sample takes time too, and there is none.
        seat.free(branch)
        raise Cancelled
    return branch, logits


def _several(question: Question) -> bool:
    """Whether samples are drawn of which one is chosen."""
    return question.plan.samples > 1 and not question.choosing.strategy.apart


def _streams(question: Question) -> bool:
    """Whether text is shown as it is drawn. Who may abstain does not show what it may take back."""
    return not _several(question) and question.choosing.abstention is None


def _decoder(question: Question, seat: Seat, branch: Branch, logits: Logits) -> ParallelDecoder:
    choosing, sampling = question.choosing, question.sampling
    return ParallelDecoder(
        seat,
        branch,
        logits,
        sampling,
        prompt_tokens=question.tokens,
        max_tokens=question.plan.max_tokens,
        greedy_first=not choosing.steps and (_several(question) or sampling.temperature is None),
        alone=question.alone,
        keep_ended=choosing.scorer is not None and choosing.scorer.judges,
        constraint=question.constraint,
        crowded=lambda: question.yields and seat.crowded,
    )


def _unchosen(question: Question, texts: Texts, stop: StopReason, detail: str = "") -> Answer:
    """Return the answer with the samples there are, before one is chosen."""
    samples = tuple(texts.samples[i] for i in sorted(texts.samples))
    return Answer(
        text="",
        answer=None,
        confidence=None,
        confidence_source="none: there is no sample",
        samples=samples,
        plan=question.plan,
        revisions=tuple(question.controller.revisions),
        usage=question.meter.usage(samples, None),
        stop_reason=stop,
        model=question.model,
        budget=question.budget.to_json(),
        stop_detail=detail,
    )


def _forcing(question: Question, decoder: ParallelDecoder) -> Concluding:
    """Return what concludes the samples of a question that runs out of its budget."""
    if decoder.closings is not None:
        return LanguageForcing(decoder.closings)
    return Forcing(
        question.tokenizer,
        question.choosing.answer_format,
        template=question.tokenizer.facts.chat_template or "",
        prompt=question.tokens,
        stops=question.sampling.stop,
        several=question.plan.samples > 1,
    )


@contextmanager
def _alarm(question: Question, end: float) -> Iterator[Cancellation]:
    """Yield a cancellation that is requested with the question's, or at a time on its clock."""
    guard = Cancellation()
    question.cancel.register(guard.request)
    timer = None
    if end < math.inf:
        seconds = min(max(0.0, end - question.clock()), threading.TIMEOUT_MAX)
        timer = threading.Timer(seconds, guard.request)
        timer.daemon = True
        timer.start()
    try:
        yield guard
    finally:
        if timer is not None:
            timer.cancel()
        question.cancel.unregister(guard.request)
