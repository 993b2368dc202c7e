"""What the adaptive policy needs of the tokens of a fixed number of samples, at equal accuracy, on recorded samples.

    python benchmarks/adaptive.py RECORD.jsonl [MORE.jsonl] [--orders 10] [--rounds 1,2,4,8,16] [--share 0.4]

Samples of a round run in lockstep: a pass draws a token for each, a rule looks whenever one ends, and what
was cancelled counts up to then. Every problem is replayed in `--orders` orders of its sampled texts (the greedy one stays
first; seeded). The fixed policy is the majority of N = 4, 8 and 16. Everything that is tuned (what samples are like, and one price
a token for each N: the one that spends `--share` of the fixed tokens there) is tuned on one half of the problems and
reported on the other, both ways; "points" is the accuracy less that of the fixed policy, `equal` the least share of its
tokens at which the curve over all prices comes to its accuracy less one point. Levers are taken away one at a time. Intervals are 95%, by drawing
problems anew, paired. With two files the first one is tuned on and the second reported, in place of halves, too.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from edgetts.evaluation.loading import load_run, votes_of
from edgetts.evaluation.record import ProblemRecord
from edgetts.selection.aggregation import Vote, self_consistency
from edgetts.selection.confidence import bootstrap
from edgetts.selection.stopping.evidence import USUAL_TOKENS, Shown, shown
from edgetts.selection.stopping.posterior import leads
from edgetts.selection.stopping.progress import Progress
from edgetts.selection.stopping.progress_fitting import Example, fit_progress
from edgetts.selection.stopping.rule import Running
from edgetts.selection.stopping.worth import WorthOfNext
from edgetts.selection.stopping.wrong_step import WrongEquation

FIXED = (4, 8, 16)
LOOK_EVERY = 16


@dataclass(frozen=True, slots=True)
class Problem:
    """votes: with answers of one class under one name. cut: tokens after which a wrong equation shows, by sample."""

    id: str
    votes: tuple[Vote, ...]
    right: frozenset[str | None]
    shown: tuple[Shown, ...]
    cut: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Stop:
    """What there is when a sample has ended: the value a rule looks at, and the answer's grade and cost then."""

    value: float
    right: bool
    tokens: int


Line = list[list[Stop]]
"""Of one problem: for each order, what there is after each end."""


def read(path: Path) -> list[Problem]:
    return [_problem(one) for one in load_run(path).problems if len(one.samples) >= max(FIXED)]


def _problem(record: ProblemRecord) -> Problem:
    votes = votes_of(record)
    samples = record.samples
    return Problem(
        id=record.id,
        votes=tuple(votes),
        right=frozenset(vote.answer for vote, one in zip(votes, samples, strict=True) if one.right),
        shown=tuple(
            shown(record.question, one.text, math.fsum(one.logprobs), len(one.tokens), complete=one.finished)
            for one in samples
        ),
        cut=tuple(_cut(one.text, len(one.tokens)) for one in samples),
    )


def _cut(text: str, tokens: int) -> int:
    """Return when a wrong equation shows, as if every token spelled as many characters."""
    rule = WrongEquation()
    for now in range(LOOK_EVERY, tokens, LOOK_EVERY):
        if rule.prune([Running(0, (), (), text[: len(text) * now // tokens])], []):
            return now
    return tokens


def orders(problem: Problem, count: int) -> Iterator[list[int]]:
    rng = random.Random(problem.id)  # noqa: S311  # not for secrets
    for _ in range(count):
        rest = list(range(1, len(problem.votes)))
        rng.shuffle(rest)
        yield [0, *rest]


def lockstep(
    problem: Problem, order: Sequence[int], rounds: Sequence[int], *, cuts: bool
) -> Iterator[tuple[list[int], int]]:
    """Yield, each time a sample ends, those that have, and the tokens drawn by then."""
    length = problem.cut if cuts else tuple(vote.tokens for vote in problem.votes)
    ended: list[int] = []
    before = 0
    for low, high in pairwise((0, *rounds)):
        running = sorted(order[low:high], key=lambda one: length[one])
        for at, sample in enumerate(running):
            ended.append(sample)
            now = length[sample]
            spent = sum(length[one] for one in running[:at]) + now * (len(running) - at)
            yield list(ended), before + spent
        before += sum(length[one] for one in running)


@dataclass(frozen=True, slots=True)
class Policy:
    """weigh: votes count by their evidence, else one each. look: at what, to stop. cuts: at wrong equations."""

    weigh: bool = True
    look: str = "worth"
    cuts: bool = True
    rounds: tuple[int, ...] = (1, 2, 4, 8, 16)
    evidence: str = "all"


@cache
def votes_in_order(problem: Problem, count: int) -> tuple[tuple[Vote, ...], ...]:
    return tuple(tuple(problem.votes[at] for at in order) for order in orders(problem, count))


def play(problems: Sequence[Problem], progress: Progress, policy: Policy, count: int) -> list[Line]:
    rule = WorthOfNext(0.0, progress)
    if policy.look == "worth, no memory":
        rule = replace(rule, progress=replace(progress, memory=1e5))
    asked = [one.shown[0].passed is not None and policy.evidence != "log-probs" for one in problems]
    return [
        _lines(problem, replace(rule, checked=checked), policy, count)
        for problem, checked in zip(problems, asked, strict=True)
    ]


def _lines(problem: Problem, rule: WorthOfNext, policy: Policy, count: int) -> Line:
    scored = []
    for vote, seen, cut in zip(problem.votes, problem.shown, problem.cut, strict=True):
        found = blind(seen, policy.evidence)
        if policy.cuts and cut < vote.tokens:
            vote = replace(vote, answer=None, complete=False, tokens=cut)
            found = replace(found, passed=None if found.passed is None else False)
        scored.append(replace(vote, score=rule.progress.evidence.probability(found) if policy.weigh else 1.0))
    known: dict[frozenset[int], tuple[float, bool]] = {}
    lines = []
    for order in orders(problem, count):
        line = []
        for ended, tokens in lockstep(problem, order, policy.rounds, cuts=policy.cuts):
            key = frozenset(ended)
            if key not in known:
                known[key] = _look([scored[at] for at in ended], rule, policy, problem)
            line.append(Stop(*known[key], tokens))
        lines.append(line)
    return lines


def blind(seen: Shown, evidence: str) -> Shown:
    """Leave out part of what a text shows."""
    if evidence == "log-probs":
        return Shown(seen.logprob, tokens=seen.tokens)
    if evidence == "no length":
        return replace(seen, tokens=USUAL_TOKENS)
    if evidence == "no coverage":
        return replace(seen, covered=0.0)
    return seen


def _look(votes: list[Vote], rule: WorthOfNext, policy: Policy, problem: Problem) -> tuple[float, bool]:
    value = 0.0
    if policy.weigh:
        weights: dict[str, list[float]] = {}
        for vote in votes:
            if vote.answer is not None and vote.counts:
                weights.setdefault(vote.answer, []).append(vote.score or 0.0)
        answer = min(weights, key=lambda one: (-math.fsum(weights[one]), one), default=None)
    else:
        tally = self_consistency(votes)
        answer = tally.answer
    if policy.look == "posterior":
        counts = sorted((*tally.counts.values(), 0, 0), reverse=True)
        value = 1 - leads(counts[0], counts[1])
    elif policy.look == "leader":
        value = 1 - rule.standing(votes).leader
    else:
        now = rule.standing(votes)
        value = now.gain / now.tokens
    return value, answer in problem.right


def at_price(lines: Line, price: float) -> tuple[float, float]:
    """Return accuracy and tokens where one stops as soon as the value is at most the price."""
    stops = [next((one for one in line if one.value <= price), line[-1]) for line in lines]
    return sum(one.right for one in stops) / len(stops), sum(one.tokens for one in stops) / len(stops)


@cache
def fixed(problems: tuple[Problem, ...], size: int, count: int) -> list[tuple[float, float]]:
    found = []
    for problem in problems:
        runs = []
        for votes in votes_in_order(problem, count):
            drawn = votes[:size]
            runs.append((self_consistency(drawn).answer in problem.right, sum(vote.tokens for vote in drawn)))
        found.append((sum(right for right, _ in runs) / len(runs), sum(t for _, t in runs) / len(runs)))
    return found


def mean(pairs: Sequence[tuple[float, float]], which: int) -> float:
    return sum(one[which] for one in pairs) / len(pairs)


def tune(lines: Sequence[Line], tokens: float) -> float:
    """Return the price at which a policy spends as many tokens, or as near to that as it comes. Tokens fall with the price."""
    values = [*sorted({one.value for line in lines for order in line for one in order}), math.inf]

    def spent(at: int) -> float:
        return mean([at_price(one, values[at]) for one in lines], 1)

    low, high = 0, len(values) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if spent(middle) <= tokens else (middle + 1, high)
    near = [at for at in (low - 1, low) if at >= 0]
    return values[min(near, key=lambda at: abs(spent(at) - tokens))]


def interval(figure: Any, n: int) -> list[float]:
    found = bootstrap(figure, n, draws=1000)
    assert found is not None
    return [round(found.value, 4), round(found.low, 4), round(found.high, 4)]


def report(
    chosen: Sequence[tuple[float, float]], against: Sequence[tuple[float, float]]
) -> dict[str, list[float]]:
    n = len(chosen)

    def tokens(rows: Sequence[int]) -> float:
        return sum(chosen[at][1] for at in rows) / sum(against[at][1] for at in rows)

    def points(rows: Sequence[int]) -> float:
        return 100 * sum(chosen[at][0] - against[at][0] for at in rows) / len(rows)

    return {
        "accuracy": [round(100 * mean(chosen, 0), 2)],
        "fixed": [round(100 * mean(against, 0), 2)],
        "tokens": [round(mean(chosen, 1), 1)],
        "share": interval(tokens, n),
        "points": interval(points, n),
    }


def reaches(points: Sequence[Sequence[tuple[float, float]]], against: Sequence[tuple[float, float]]) -> float:
    """Return the least share of the fixed tokens at which a curve has the fixed accuracy less a point."""
    goal = mean(against, 0) - 0.01
    found = [mean(one, 1) for one in points if mean(one, 0) >= goal - 1e-9]
    return min(found, default=math.inf) / mean(against, 1)


POLICIES = {
    "adaptive": Policy(),
    "without cutting at wrong equations": Policy(cuts=False),
    "without the question's numbers": Policy(evidence="no coverage"),
    "without the length": Policy(evidence="no length"),
    "without learning from the question": Policy(look="worth, no memory"),
    "leader's probability alone": Policy(look="leader"),
    "log-probs alone": Policy(evidence="log-probs", cuts=False),
    "majority, posterior": Policy(weigh=False, look="posterior", cuts=False),
}


def fit(problems: Sequence[Problem], evidence: str = "all") -> Progress:
    examples = [
        Example(blind(seen, evidence), vote.answer in problem.right)
        for problem in problems
        for vote, seen in zip(problem.votes, problem.shown, strict=True)
    ]
    return fit_progress(examples)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("records", type=Path, nargs="+")
    parser.add_argument("--orders", type=int, default=10)
    parser.add_argument("--rounds", default="1,2,4,8,16")
    parser.add_argument("--only", nargs="+", choices=POLICIES, default=list(POLICIES), metavar="POLICY")
    parser.add_argument("--share", type=float, default=0.4)
    arguments = parser.parse_args()
    rounds = tuple(int(size) for size in arguments.rounds.split(","))
    files = [read(path) for path in arguments.records]
    every = [one for of in files for one in of]
    count = arguments.orders
    even, odd = tuple(every[::2]), tuple(every[1::2])
    halves = [(even, odd), (odd, even)]
    designs = {"crossed halves": halves}
    if len(files) > 1:
        designs[f"tuned on {arguments.records[0].name}, reported on the rest"] = [
            (tuple(files[0]), tuple(one for of in files[1:] for one in of))
        ]
    result: dict[str, Any] = {"benchmark": "adaptive", "problems": len(every), "orders": count, "designs": {}}
    for design, splits in designs.items():
        n = sum(len(test) for _, test in splits)
        print(
            f"\n{design}: {n} problems reported; rounds {arguments.rounds}; aim {arguments.share:.0%} of the tokens"
        )
        print(
            f"{'':>36} {'N':>3} {'fixed':>6} {'right':>6} {'points':>20} {'tokens':>7} {'share':>20} {'equal':>6}"
        )
        rows: dict[str, Any] = {}
        base = {size: [one for _, test in splits for one in fixed(test, size, count)] for size in FIXED}
        for name in arguments.only:
            policy = replace(POLICIES[name], rounds=rounds)
            tuned, tested, price = [], [], {}
            for train, test in splits:
                progress = fit(train, policy.evidence)
                tuned.append(play(train, progress, policy, count))
                tested.append(play(test, progress, policy, count))
            spans = [goal * mean(base[max(FIXED)], 1) / 50 for goal in range(2, 51)]
            curve = [
                [at_price(one, price) for price, lines in zip(prices, tested, strict=True) for one in lines]
                for prices in ([tune(lines, goal) for lines in tuned] for goal in spans)
            ]
            for size in FIXED:
                chosen = []
                for (train, _), known, lines in zip(splits, tuned, tested, strict=True):
                    goal = arguments.share * mean(fixed(train, size, count), 1)
                    found = tune(known, goal)
                    price.setdefault(size, []).append(found)
                    chosen += [at_price(one, found) for one in lines]
                row: dict[str, Any] = report(chosen, base[size])
                row["equal"] = round(reaches(curve, base[size]), 3)
                row["prices"] = [float(f"{one:.3g}") for one in price[size]]
                rows.setdefault(name, {})[size] = row
                points, share = row["points"], row["share"]
                print(
                    f"{name if size == FIXED[0] else '':>36} {size:>3} {row['fixed'][0]:6.1f} {row['accuracy'][0]:6.1f}"
                    f" {points[0]:+6.1f} [{points[1]:+.1f}, {points[2]:+.1f}] {row['tokens'][0]:7.0f}"
                    f" {share[0]:6.3f} [{share[1]:.3f}, {share[2]:.3f}] {row['equal']:6.3f}"
                )
        result["designs"][design] = rows
    print(json.dumps(result))


if __name__ == "__main__":
    main()
