"""Spend samples by a strategy of your own: two samples first, and more only where they disagree.

python examples/own_strategy.py

A strategy holds settings and starts a search for each question. A search is asked what to do next, and gets what
came of it; it may be ended at any time, when the budget is spent, and is then asked to choose. `Draw(n)` asks for n
whole samples in all; `Grow({node: copies})` continues partial answers by a step, for which the strategy has to name
a splitter. Register it as an entry point of the group "edgetts.strategies", and `edgetts ask --strategy` knows it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import edgetts
from edgetts.selection.aggregation import Tally, Vote, make_aggregator
from edgetts.selection.need import Need
from edgetts.selection.search import Draw, Move, Node, Search, Task
from edgetts.selection.strategies import Strategy


@dataclass(frozen=True)
class AskAgain(Strategy):
    """Draw `first` samples, and twice as many again and again for as long as no answer has `share` of the votes."""

    first: int = 2
    share: float = 0.6

    @property
    def name(self) -> str:
        return "ask_again"

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"several"})

    @property
    def stops(self) -> str:
        return f"when an answer has {self.share:.0%} of the votes"

    def start(self, task: Task) -> Search:
        return _Rounds(task, self)


class _Rounds:
    """The search for one question's answer."""

    def __init__(self, task: Task, settings: AskAgain) -> None:
        self._task, self._settings = task, settings
        self._answers: list[str | None] = []
        self._asked = 0

    def next(self, nodes: Sequence[Node]) -> Move | None:
        self._answers += [node.answer for node in nodes]
        known = [answer for answer in self._answers if answer is not None]
        agree = max((known.count(answer) for answer in set(known)), default=0)
        if self._asked and (
            agree >= self._settings.share * len(self._answers) or self._asked >= self._task.samples
        ):
            return None
        self._asked = min(self._task.samples, max(self._settings.first, 2 * self._asked))
        return Draw(self._asked)

    def choose(self, votes: Sequence[Vote]) -> Tally:
        return make_aggregator("majority")(votes)


def main() -> None:
    questions = ("What is 2 + 3?", "A pen costs 3 euros and a book 12. What do two pens and a book cost?")
    with edgetts.load(notify=lambda sentence: print(sentence, file=sys.stderr)) as engine:
        for question in questions:
            answer = engine.answer(question, strategy=AskAgain(), budget=edgetts.Budget(samples=16))
            print(
                f"{question}\n{answer.text}\n\n{answer.answer=} {answer.usage.samples=} {answer.confidence=}\n"
            )


if __name__ == "__main__":
    main()
