"""Draw whole samples side by side, and start another where one has ended."""

from __future__ import annotations

from collections.abc import Iterator

from edgetts.answering.run import Run
from edgetts.decoding.trace import TokenDrawn
from edgetts.selection.search.tree import Draw
from edgetts.selection.stopping.rule import Pruning, Running
from edgetts.types import Event, PlanMade

# Passes between two looks at which samples under way are not worth going on with.
_LOOK = 16


def draw(run: Run, move: Draw, *, all_there_is: bool) -> Iterator[Event]:
    """Draw until there are as many samples as wanted, a rule is met, or the budget ends.

    all_there_is: nothing will be started from the prompt once the plan's samples are.
    """
    decoder, controller, texts = run.decoder, run.controller, run.texts
    plan = controller.plan
    total = min(move.total, plan.samples)
    start = min(plan.width - len(decoder.active), total - _begun(run))
    most: int | None = None
    passes = 0
    if _begun(run):
        # The plan answers for the first samples only: those of a later move are started in what is left.
        directive = controller.direct(
            {i: len(decoder.traces[i].tokens) for i in decoder.active},
            _begun(run),
            run.spent,
            decoder.widest,
            total,
            closing=run.closing,
        )
        if directive.stop is not None:
            run.stop = None if directive.stop == "complete" else directive.stop
            return
        start, most = directive.start, directive.most
    while True:
        drawn: list[TokenDrawn] = []
        if start > 0:
            last = all_there_is and _begun(run) + start == plan.samples
            drawn = decoder.start(start, last=last)
        elif decoder.active:
            drawn = run.step(most)
            passes += 1
        before = len(texts.samples)
        yield from run.take(drawn)
        if run.cancelled():
            run.stop = "cancelled"
            return
        if move.prune is not None and passes and passes % _LOOK == 0:
            yield from _prune(run, move.prune)
        # What this move leaves of the plan's samples, another may draw: a rule ends all of them.
        remaining = plan.samples - len(texts.samples)
        if move.stop is not None and remaining > 0 and len(texts.samples) > before:
            said = move.stop.stop(texts.votes(), remaining)
            if said is not None:
                run.stop, run.detail = "decided", said
                return
        running = {i: len(decoder.traces[i].tokens) for i in decoder.active}
        directive = controller.direct(
            running, _begun(run), run.spent, decoder.widest, total, closing=run.closing
        )
        for sample in directive.cut:
            decoder.end(sample, directive.reason)
        if directive.cut and controller.plan is not plan:
            plan = controller.plan
            yield PlanMade(plan)
        if directive.stop is not None:
            # That everything wanted is there ends a draw, not the search.
            run.stop = None if directive.stop == "complete" else directive.stop
            return
        if directive.conclude:
            run.conclude(directive.reason)
        start, most = directive.start, directive.most


def _begun(run: Run) -> int:
    """Count whole samples, ended or running; partial answers of a search are none."""
    return len(run.texts.samples) + len(run.decoder.active)


def _prune(run: Run, rule: Pruning) -> Iterator[Event]:
    """End the samples that are not worth going on with; yield them."""
    traces = run.decoder.traces
    running = [Running(i, traces[i].tokens, traces[i].logprobs, run.text(i)) for i in run.decoder.active]
    ended = [Running(i, traces[i].tokens, traces[i].logprobs) for i in sorted(run.texts.samples)]
    for sample in sorted(rule.prune(running, ended) & set(run.decoder.active)):
        run.decoder.end(sample, "pruned")
    yield from run.close_ended()
