"""Grow partial answers by a step each, in lockstep, on forks of what they share."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from dataclasses import replace
from typing import TYPE_CHECKING

from edgetts.decoding.trace import TokenDrawn
from edgetts.errors import InvalidInput
from edgetts.selection.search.splitter import StepSplitter
from edgetts.selection.search.tree import ROOT, Grow, Node
from edgetts.types import Event, StepsTaken

if TYPE_CHECKING:
    from edgetts.answering.live import LiveRun

# What is thought of a partial answer that could not be scored.
_UNKNOWN = 0.5


def grow(
    run: LiveRun, move: Grow, splitter: StepSplitter, *, scored: bool
) -> Generator[Event, None, list[Node]]:
    """Continue nodes by one step; return their children, in order, those that ended included.

    Fewer where the budget ended first. Raises InvalidInput for a node that cannot be grown.
    """
    decoder, controller = run.decoder, run.controller
    _check(run, move)
    for dropped in sorted(move.drop):
        run.give_up(dropped)
    parents = [parent for parent, copies in move.copies.items() if copies > 0]
    width = max(1, controller.plan.width)
    known = [parent for parent in parents if parent != ROOT]
    for begin in range(0, len(known), width):
        if (stop := controller.may_pass(width, run.spent, 0)) is not None:
            run.stop = stop
            return []
        began = run.clock()
        decoder.ready(known[begin : begin + width])
        controller.observe_pass(decoder.last_width, run.clock() - began)
    waiting = deque((parent, move.copies[parent]) for parent in parents)
    children: list[int] = []
    opened: dict[int, str] = {}
    while waiting or decoder.active:
        drawn: list[TokenDrawn] = []
        while waiting and len(decoder.active) < width:
            parent, copies = waiting.popleft()
            count = min(copies, width - len(decoder.active))
            # A child's first token comes without a pass, but not for nothing.
            if (stop := controller.may_pass(1, run.spent, count)) is not None:
                run.stop = stop
                yield from run.take(drawn)
                return []
            if count < copies:
                waiting.appendleft((parent, copies - count))
            if parent == ROOT:
                started = decoder.start(count)
            else:
                started = decoder.branch_off(parent, count, last=count == copies)
            for one in started:
                run.texts.branch(parent, one.sample)
                children.append(one.sample)
            drawn += started
        if not drawn:
            stop = "cancelled" if run.cancelled() else None
            stop = stop or controller.may_pass(len(decoder.active), run.spent, len(decoder.active))
            if stop is not None:
                run.stop = stop
                return []
            drawn = run.step(None)
        yield from run.take(drawn)
        for sample in decoder.active:
            text, begins = run.texts.of(sample).text, run.texts.begins(sample)
            if sample not in opened:
                opened[sample] = splitter.opened(text[:begins])
            if splitter.ends(text[begins:], decoder.traces[sample].drawn, opened[sample]):
                decoder.pause(sample)
    nodes: list[Node] = []
    for child in children:
        if run.cancelled() or controller.late_in(run.slowest_check):
            run.stop = "cancelled" if run.cancelled() else "deadline"
            return []
        node = run.node(child)
        if node.score is None and scored:
            if (stop := controller.may_pass(width, run.spent, width)) is not None:
                run.stop = stop
                return []
            node = replace(node, score=_UNKNOWN)  # no room in the context to ask about it
        nodes.append(node)
    yield StepsTaken(max((n.depth for n in nodes), default=0), len(run.open), len(run.texts.samples))
    return nodes


def _check(run: LiveRun, move: Grow) -> None:
    """Refuse a move that a search should not have made."""
    if any(copies < 0 for copies in move.copies.values()) or set(move.copies) & move.drop:
        raise InvalidInput("The search grows a node a negative number of times, or grows and drops it.")
    going_on = len(set(run.open) - move.copies.keys() - move.drop) + sum(move.copies.values())
    if going_on > run.controller.plan.samples:
        raise InvalidInput(
            f"The search wants {going_on} partial answers at once, but the plan has room for {run.controller.plan.samples}.",
            hint="Keep to the samples that its task names.",
        )
    can = {ROOT, *run.open}
    for node in (*move.copies, *move.drop):
        if node not in can or (node == ROOT and node in move.drop):
            raise InvalidInput(f"The search names node {node}, which is not there or used up.")
