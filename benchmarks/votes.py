"""What more samples are worth, and which vote makes most of them: replay recorded samples, without a model.

    python benchmarks/votes.py TRACES.jsonl --tokenizer MODEL.edge

Accuracy at n samples is the mean over problems and over subsets of n of a problem's samples: all of
them for one sample and for all, otherwise at least `--subsets` random ones (seeded, the same for every vote).
Settings of aggregators are tuned on the problems of even index, by the mean accuracy at 4, 8 and 16,
and reported on the others; then each half with the settings of the other half, together; then the
default settings. Intervals are 95%, by resampling problems; "against majority" resamples the
difference, problem by problem. "reaches" is the number of samples, interpolated, with which a vote
has the accuracy that majority has with all.

Recordings hold no scores, so that best-of-n and its relatives are given the mean token probability as
one, unless a sample has a "score"; a sample may have "passed", a verifier's verdict (or `--verify arithmetic`
makes some), without which "verified" is left out. "ties shared" gives each of m tied answers 1/m of the credit, which is what
breaking ties by chance expects. "some sample right" is what a perfect choice would reach. The last line is JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import recordings
from recordings import found_in, right, vote_of

from edgetts.bundle import read_manifest
from edgetts.errors import InvalidInput
from edgetts.selection.aggregation import AGGREGATORS, Aggregator, Vote, make_aggregator, self_consistency
from edgetts.selection.answers import answer_tokens
from edgetts.selection.verification.registry import make_verifier
from edgetts.selection.verification.verifier import Verifier, Work
from edgetts.tokenizer import TextStream, Tokenizer

SIZES = (1, 2, 4, 8, 16)
TUNED_AT = (4, 8, 16)
GRID: Mapping[str, Mapping[str, Sequence[Any]]] = {
    "probability": {"temperature": (2.0, 1.0, 0.5, 0.2, 0.1, 0.05, 0.02)},
    "confidence": {"temperature": (1.0, 0.5, 0.25, 0.1, 0.05, 0.02)},
    "likelihood": {"per_token": (False, True)},
    "rpc": {"probability": ("mean", "path"), "prune_from": (0, 8)},
    "shortest_few": {"keep": (1, 2, 3, 5, 8)},
    "length_filtered": {"groups": (2, 3, 4), "keep": (1, 2, 3)},
    "best_of_majority": {"alpha": (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)},
    "verified": {"passes_right": (0.9, 0.95, 0.98), "passes_wrong": (0.2, 0.3, 0.4, 0.5, 0.6)},
}
"""What is tried of each aggregator that has settings."""
RESAMPLES = 2000

Share = Callable[[Sequence[Vote], Set["str | None"]], float]
"""Given votes and which answers are right: how much credit the choice deserves, 0 to 1."""
Column = np.ndarray[Any, np.dtype[np.float64]]
Credit = dict[str, Column]
"""Of each row of a table, the mean credit, [problems, sizes]."""


class Problem(NamedTuple):
    number: int
    truth: str
    votes: list[Vote]


def answer_logprob(
    sample: Mapping[str, Any], span: tuple[int, int], tokenizer: Tokenizer
) -> tuple[float, int]:
    """Sum the log-probs of the tokens that spell the characters of the span."""
    stream = TextStream(tokenizer)
    pieces = [stream.push(token) for token in sample["tokens"]]
    spelling = answer_tokens(pieces, span)
    if not spelling or len("".join(pieces)) < len(sample["text"]):
        raise SystemExit("The tokenizer is not the one that the samples were recorded with.")
    return math.fsum(sample["logprobs"][i] for i in spelling), len(spelling)


def read(path: Path, tokenizer: Tokenizer | None, verifier: Verifier | None = None) -> list[Problem]:
    problems = []
    for record in recordings.problems(path):
        votes = []
        for index, sample in enumerate(record["samples"]):
            found = found_in(sample)
            of_answer: tuple[float | None, int] = (None, 0)
            if tokenizer and found:
                of_answer = answer_logprob(sample, found.span, tokenizer)
            vote = vote_of(
                index,
                sample,
                found,
                answer_logprob=of_answer[0],
                answer_tokens=of_answer[1],
                path=tuple(sample["tokens"]),
                passed=sample.get("passed") if verifier is None else verdict(verifier, record, sample),
            )
            votes.append(replace(vote, score=sample.get("score", vote.weight if vote.tokens else 0.0)))
        problems.append(Problem(record["index"], record["answer"], votes))
    return problems


def verdict(verifier: Verifier, record: Mapping[str, Any], sample: Mapping[str, Any]) -> bool | None:
    work = Work(record["question"], sample["text"], None, sample["finished"])
    return verifier.verify(work).passed


def specs(name: str) -> list[str]:
    """Every combination of an aggregator's settings that is one, its default first and once."""
    found = [name]
    for key, values in GRID.get(name, {}).items():
        found = [f"{spec}{',' if '=' in spec else ':'}{key}={value}" for spec in found for value in values]
    made = {make_aggregator(name): name}
    for spec in found:
        with contextlib.suppress(InvalidInput):  # settings that contradict each other
            made.setdefault(make_aggregator(spec), spec)
    return list(made.values())


def subsets(problem: Problem, size: int, count: int, seed: int) -> Iterator[list[Vote]]:
    """Deal shuffled samples out in hands of one size, so that every sample is drawn about equally often."""
    votes, rng = problem.votes, random.Random(f"{seed} {problem.number} {size}")  # noqa: S311  # no secret
    hands = len(votes) // size
    deals = 1 if size in (1, len(votes)) else -(-count // hands)
    for _ in range(deals):
        dealt = rng.sample(votes, len(votes))
        yield from (dealt[hand * size : (hand + 1) * size] for hand in range(hands))


class Replay:
    """Some problems, and how often each vote is right on them; what was worked out once is kept."""

    def __init__(self, problems: Sequence[Problem], count: int, seed: int) -> None:
        self.problems, self.count, self.seed = problems, count, seed
        self._known: dict[tuple[str, int], Column] = {}

    def credit(self, rows: Iterable[str], sizes: Sequence[int]) -> Credit:
        return {row: np.stack([self._column(row, size) for size in sizes], axis=1) for row in rows}

    def _column(self, row: str, size: int) -> Column:
        if (row, size) not in self._known:
            share = SHARES.get(row) or decided_by(make_aggregator(row))
            column = []
            for problem in self.problems:
                correct = {vote.answer for vote in problem.votes if right(vote.answer, problem.truth)}
                drawn = [share(votes, correct) for votes in subsets(problem, size, self.count, self.seed)]
                column.append(math.fsum(drawn) / len(drawn))
            self._known[row, size] = np.asarray(column)
        return self._known[row, size]


def decided_by(aggregator: Aggregator) -> Share:
    return lambda votes, correct: float(aggregator(votes).answer in correct)


def ties_shared(votes: Sequence[Vote], correct: Set[str | None]) -> float:
    counts = self_consistency(votes).counts
    tied = [answer for answer, n in counts.items() if n == max(counts.values())]
    return sum(answer in correct for answer in tied) / max(1, len(tied))


def some_right(votes: Sequence[Vote], correct: Set[str | None]) -> float:
    return float(any(answer in correct for answer in self_consistency(votes).counts))


SHARES: Mapping[str, Share] = {"ties shared": ties_shared, "some sample right": some_right}
"""Rows that no aggregator decides."""


def interval(values: Sequence[float]) -> tuple[float, float]:
    low, high = np.quantile(values, (0.025, 0.975))
    return round(float(low), 4), round(float(high), 4)


def reaches(curve: np.ndarray[Any, Any], level: float) -> float:
    """Interpolate the number of samples with which a curve over 1, 2, 3, ... comes to a level; infinite if never."""
    for n, value in enumerate(curve, start=1):
        if value >= level - 1e-12:
            before = curve[n - 2] if n > 1 else value
            return n if n == 1 else n - 1 + float((level - before) / (value - before))
    return math.inf


def summary(credit: Credit, sizes: Sequence[int], seed: int) -> dict[str, Any]:
    """Means and intervals at SIZES, and what a curve over 1, 2, 3, ... samples needs."""
    result: dict[str, Any] = {}
    majority = credit["majority"]
    draws = np.random.default_rng(seed).integers(0, len(majority), (RESAMPLES, len(majority)))
    for row, values in credit.items():
        columns = [sizes.index(size) for size in SIZES if size in sizes]
        means, gains = values.mean(0), (values - majority).mean(0)
        boot = values[draws].mean(1)
        gained = (values - majority)[draws].mean(1)
        result[row] = {
            "accuracy": {sizes[c]: round(float(means[c]), 4) for c in columns},
            "interval": {sizes[c]: interval(boot[:, c]) for c in columns},
            "against majority": {
                sizes[c]: (round(float(gains[c]), 4), *interval(gained[:, c])) for c in columns
            },
        }
        levels = majority[draws].mean(1)[:, -1]
        needed = [reaches(curve, level) for curve, level in zip(boot, levels, strict=True)]
        ends = np.quantile(needed, (0.025, 0.975), method="nearest")
        result[row]["reaches"] = [
            None if math.isinf(n) else round(float(n), 1)
            for n in (reaches(means, float(majority.mean(0)[-1])), *ends)
        ]
    return result


def show(title: str, table: Mapping[str, Any]) -> None:
    sizes = list(next(iter(table.values()))["accuracy"])
    print(f"\n{title}\n{'samples':>32}", *(f"{size:>19}" for size in sizes), "  reaches")
    for row, of in table.items():
        shares = [(of["accuracy"][size], *of["interval"][size]) for size in sizes]
        cells = ["{:.1f} [{:.1f}, {:.1f}]".format(*(100 * x for x in share)) for share in shares]
        first, low, high = ("-" if n is None else n for n in of["reaches"])
        print(f"{row:>32}", *(f"{cell:>19}" for cell in cells), f"  {first} [{low}, {high}]")
    print(f"{'against majority, points':>32}")
    for row, of in table.items():
        gains = [of["against majority"][size] for size in sizes]
        cells = ["{:+.1f} [{:+.1f}, {:+.1f}]".format(*(100 * x for x in gain)) for gain in gains]
        print(f"{row:>32}", *(f"{cell:>19}" for cell in cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("traces", type=Path)
    parser.add_argument("--subsets", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verify", help="a verifier of edgetts ask whose verdicts 'verified' takes")
    parser.add_argument("--tokenizer", type=Path, help="a bundle; without it 'likelihood' is left out")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="these aggregators beside majority, not all"
    )
    options = parser.parse_args()
    began = time.monotonic()
    tokenizer = None
    if options.tokenizer:
        facts = read_manifest(options.tokenizer).tokenizer
        tokenizer = Tokenizer.load(options.tokenizer / "tokenizer.json", facts)
    verifier = make_verifier(options.verify) if options.verify else None
    problems = read(options.traces, tokenizer, verifier)
    most = min(len(problem.votes) for problem in problems)
    judged = any(vote.passed is not None for problem in problems for vote in problem.votes)
    left_out = {"auto", *([] if tokenizer else ["likelihood"]), *([] if judged else ["verified"])}
    for name in options.only or ():
        make_aggregator(name)  # says so where there is none
    wanted = {"majority", *options.only} if options.only else AGGREGATORS
    names = [name for name in AGGREGATORS if name in wanted and name not in left_out]

    sizes = list(range(1, most + 1))

    sizes, tuned_at = list(range(1, most + 1)), [n for n in TUNED_AT if n <= most]
    even = Replay([p for p in problems if p.number % 2 == 0], options.subsets, options.seed)
    odd = Replay([p for p in problems if p.number % 2], options.subsets, options.seed)

    def tune(half: Replay) -> tuple[dict[str, str], dict[str, float]]:
        """The best settings of every aggregator, and the score of all that were tried."""
        tried = half.credit([spec for name in names for spec in specs(name)], tuned_at)
        score = {row: float(values.mean()) for row, values in tried.items()}
        return {name: max(specs(name), key=lambda spec: score[spec]) for name in names}, score

    def together(of_even: Mapping[str, str], of_odd: Mapping[str, str]) -> Credit:
        halves = (even.credit(of_even.values(), sizes), odd.credit(of_odd.values(), sizes))
        return {row: np.concatenate([halves[0][of_even[row]], halves[1][of_odd[row]]]) for row in of_odd}

    (best, score), (best_of_odd, _) = tune(even), tune(odd)
    winner = max(best.values(), key=lambda spec: score[spec])
    itself = {row: row for row in (*names, *SHARES)}
    held_out = odd.credit([*best.values(), *SHARES], sizes)
    crossed = together({**itself, **best_of_odd}, {**itself, **best})
    plain = together(itself, itself)
    tables = {
        f"Tuned on {len(even.problems)} problems, reported on the other {len(odd.problems)}": held_out,
        f"Each half with settings tuned on the other, {len(problems)} problems": crossed,
        f"Default settings, {len(problems)} problems": plain,
    }
    summaries = {title: summary(credit, sizes, options.seed) for title, credit in tables.items()}
    for title, table in summaries.items():
        show(title, table)
    reported, _, _ = summaries.values()
    first, low, high = ("more" if n is None else n for n in reported[winner]["reaches"])
    print(f"\nBest on the tuning half: {winner}. It reaches majority of {most} with {first} samples", end=" ")
    print(f"[{low}, {high}] on the other half. {time.monotonic() - began:.0f} s.")
    result = {
        "traces": options.traces.name,
        "problems": len(problems),
        "subsets": options.subsets,
        "seed": options.seed,
        "accuracy": {
            "self-consistency" if row == "majority" else row: of["accuracy"]
            for row, of in summaries[list(tables)[-1]].items()
        },
        "tuning": {row: round(value, 4) for row, value in score.items()},
        "best": winner,
        "settings": best,
        "settings of the other half": best_of_odd,
        "tables": summaries,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
