"""Follow a search move by move, and make an answer of what there is when it ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from edgetts.answering.choosing import Choosing
from edgetts.answering.drawing import draw
from edgetts.answering.run import Run
from edgetts.decoding.session import Cancelled
from edgetts.errors import InvalidInput
from edgetts.selection.aggregation import Tally, Vote
from edgetts.selection.answers import minimum_bayes_risk
from edgetts.selection.search.tree import Draw, Node, Search
from edgetts.types import Answer, Event, FinishReason, Sample, StopReason

_CUT_BY: dict[StopReason, FinishReason] = {
    "complete": "pruned",
    "decided": "pruned",
    "deadline": "deadline",
    "tokens": "budget",
    "joules": "budget",
    "cancelled": "cancelled",
}


def follow(run: Run, search: Search, choosing: Choosing) -> Iterator[Event]:
    """Do what the search asks until it ends, or the budget does; `run` holds what there is then."""
    splitter = choosing.strategy.splitter
    try:
        yield from _moves(run, search, choosing)
    except Cancelled:  # a pass that waited behind others when the time was over
        run.stop = "cancelled" if run.cancelled() else "deadline"
    reason = _CUT_BY[run.stop or "complete"]
    if splitter is None:
        for sample in run.decoder.active:
            run.decoder.end(sample, reason)
        yield from run.close_ended()
        return
    # Partial answers count where they are all there is.
    for sample in (*run.decoder.active, *run.open):
        if run.texts.samples:
            run.give_up(sample)
        else:
            run.decoder.end(sample, reason)
    yield from run.close_ended()


def _moves(run: Run, search: Search, choosing: Choosing) -> Iterator[Event]:
    """Do what the search asks until it ends, or `run` says that it stops."""
    splitter = choosing.strategy.splitter
    idle = 0
    move = search.next(())
    while move is not None:
        nodes: Sequence[Node]
        if isinstance(move, Draw):
            before = set(run.texts.samples)
            yield from draw(run, move, all_there_is=splitter is None)
            nodes = [run.node(i) for i in sorted(set(run.texts.samples) - before)]
        elif splitter is None:
            raise InvalidInput(
                f"The strategy {choosing.strategy.name!r} grows steps, but does not say where steps end.",
                hint="Give it a splitter.",
            )
        else:
            nodes = yield from run.grow(move, splitter, scored=choosing.scorer is not None)
        if run.stop is None and run.cancelled():
            run.stop = "cancelled"
        if run.stop is not None:
            break
        if not nodes:
            # Nothing came of it, and nothing will: asked again, a search could go on so for ever.
            idle += 1
            if idle > 1:
                raise InvalidInput(
                    f"The strategy {choosing.strategy.name!r} asks for what it has got already."
                )
        else:
            idle = 0
        move = search.next(nodes)


def shown(votes: Sequence[Vote], tally: Tally, samples: Mapping[int, Sample], choosing: Choosing) -> Sample:
    """Return the sample to show: of free texts that say the same, the one most like the others."""
    winners = [vote for vote in votes if vote.counts and vote.answer == tally.answer]
    if choosing.answer_format.name == "text" and len(winners) > 2:
        texts = [samples[vote.sample].text for vote in winners]
        return samples[winners[minimum_bayes_risk(texts, [vote.weight for vote in winners])].sample]
    if tally.sample not in samples:
        raise InvalidInput(
            f"The strategy {choosing.strategy.name!r} chose sample {tally.sample}, which is not there."
        )
    return samples[tally.sample]


def conclude(
    answer: Answer, votes: Sequence[Vote], tally: Tally, chosen: Sample, choosing: Choosing
) -> Answer:
    """Fill in what the vote says: the text, the answer, how sure to be of it, and whether to give it at all."""
    confidence, source = tally.confidence, tally.confidence_source
    if len(votes) == 1:
        confidence, source = None, "none: one sample has nothing to agree with"
    if choosing.calibration is not None:
        confidence, source = choosing.calibration.confidence(votes, tally), choosing.calibration.source
        if confidence is None:
            source = f"none: {choosing.calibration.signal} is not known here"
    made = replace(
        answer, text=chosen.text, answer=tally.answer, confidence=confidence, confidence_source=source
    )
    if choosing.abstention is None:
        return made
    decision = choosing.abstention.decide(confidence)
    if decision.answer:
        return made
    return replace(made, text="", answer=None, abstained=True, abstention_reason=decision.reason)
