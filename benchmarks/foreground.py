"""Seconds to the first token of a question in the foreground, while jobs run in the background.

    python benchmarks/foreground.py [--model MODEL] [--jobs 8] [--rounds 15] [--words 60]

One engine. In each round the same kind of question (a prompt never seen before, so that nothing of it is cached) is asked once while
nothing else runs, once beside the jobs, which write without end (priority background), and once beside as many in the foreground. The order changes. Medians, and
the ratios within a round. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import threading
import time

import edgetts
from edgetts.answering.asked import Priority
from edgetts.decoding.session import Cancellation
from edgetts.engine import Engine
from edgetts.types import Finished, SamplingParams, TextDelta

WORDS = [
    "river",
    "stone",
    "light",
    "paper",
    "window",
    "garden",
    "copper",
    "engine",
    "letter",
    "harbour",
    "winter",
    "candle",
    "basket",
    "thunder",
]


def first_token(engine: Engine, salt: int, words: int) -> float:
    text = " ".join(WORDS[(salt * 5 + i * i) % len(WORDS)] for i in range(words))
    began = time.perf_counter()
    seconds = 0.0
    for event in engine.stream(f"{salt}: {text}. What is this about?", sampling=SamplingParams(max_tokens=4)):
        if isinstance(event, TextDelta) and not seconds:
            seconds = time.perf_counter() - began
        if isinstance(event, Finished) and not seconds:
            seconds = event.answer.usage.time_to_first_token or 0.0
    return seconds


class Jobs:
    """Write for ever, in threads, until told to stop."""

    def __init__(self, engine: Engine, count: int, priority: Priority) -> None:
        self.cancel = Cancellation()
        self.tokens = 0
        self._engine, self._priority = engine, priority
        self._threads = [threading.Thread(target=self._work, args=(i,)) for i in range(count)]

    def _work(self, number: int) -> None:
        ends = tuple((token, -100.0) for token in self._engine.session.info.end_tokens)
        sampling = SamplingParams(temperature=0.8, seed=number, logit_bias=ends)
        events = self._engine.stream(
            f"Job {number}: write a very long story.",
            sampling=sampling,
            priority=self._priority,
            cancel=self.cancel,
            decode="plain",
        )
        for event in events:
            self.tokens += isinstance(event, TextDelta)

    def __enter__(self) -> Jobs:
        for thread in self._threads:
            thread.start()
        while self.tokens < 3 * len(self._threads):
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel.request()
        for thread in self._threads:
            thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=None)
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--words", type=int, default=60, help="of the question")
    arguments = parser.parse_args()
    kinds = ("idle", "background", "foreground")
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    with edgetts.load(arguments.model, notify=lambda sentence: print(sentence, file=sys.stderr)) as engine:
        first_token(engine, 999, arguments.words)
        for i in range(arguments.rounds):
            for at, kind in enumerate(kinds[i % 3 :] + kinds[: i % 3]):
                salt = 10 * i + at
                if kind == "idle":
                    seconds[kind].append(first_token(engine, salt, arguments.words))
                    continue
                with Jobs(engine, arguments.jobs, "background" if kind == "background" else "foreground"):
                    seconds[kind].append(first_token(engine, salt, arguments.words))
    print(f"{'':44}{'seconds':>9}{'of idle':>9}{'worst':>9}")
    result: dict[str, object] = {"jobs": arguments.jobs, "rounds": arguments.rounds, "words": arguments.words}
    for kind in kinds:
        ratios = [a / b for a, b in zip(seconds[kind], seconds["idle"], strict=True)]
        name = "nothing else runs" if kind == "idle" else f"beside {arguments.jobs} jobs in the {kind}"
        print(
            f"{name:44}{statistics.median(seconds[kind]):9.3f}{statistics.median(ratios):9.2f}{max(ratios):9.2f}"
        )
        result[kind] = {
            "seconds": statistics.median(seconds[kind]),
            "of idle": statistics.median(ratios),
            "worst": max(ratios),
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
