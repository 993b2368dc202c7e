"""What stopping rules save of a fixed number of samples, and what they lose, on recorded samples.

    python benchmarks/stopping.py TRACES.jsonl [--rounds 1,2,4,8,16] [--lose 1] [--orders 10]

Samples are drawn in rounds; after each a rule may stop, and the majority of what was drawn is the answer. Every
problem is replayed in `--orders` orders of its samples (the first, greedy one stays first; seeded) and counts
with their mean. Settings are tuned on the problems of even index: the fewest tokens among those that lose at most
`--lose` points to all samples there. They are reported on those of odd index; "crossed" judges every
problem by settings tuned on the other half. `points`: accuracy less that of all samples; `at equal tokens`: less that of
a fixed number of samples of the same mean cost (interpolated), which any rule must beat to be worth having.
`unsolved`: part of the tokens that went to problems whose answer was wrong. Intervals are 95%, by drawing
problems anew, paired. "confidence" is calibrated on the tuning half (several signals after 2, 4 and 8 samples).

Then samples ended early while they run: `--warmup` samples end by themselves, the others run side by side
and are looked at every 16 tokens; a sample that was ended has no vote. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from typing import Any

from calibration import COMBINED, Problem, load

from edgetts.selection.aggregation import Vote, self_consistency
from edgetts.selection.confidence import SIGNALS, Calibration, Example, bootstrap, calibrate, fit_combination
from edgetts.selection.stopping import Pruning, Running, StoppingRule, make_pruning, make_rule

LOOK_EVERY = 16
FIXED = (1, 2, 4, 8, 12, 16)


@dataclass(frozen=True, slots=True)
class Spent:
    """Means over the orders of one problem: right answers, tokens, tokens of wrong answers, share stopped early."""

    right: float
    tokens: float
    wrong_tokens: float
    stopped: float


Outcome = list[Spent]
"""One for each problem."""


def orders(problem: Problem, count: int) -> Iterator[list[Vote]]:
    rng = random.Random(problem.index)  # noqa: S311  # not for secrets
    for number in range(count):
        rest = list(problem.votes[1:])
        if number:
            rng.shuffle(rest)
        yield [problem.votes[0], *rest]


def mean(runs: Sequence[tuple[bool, int, bool]]) -> Spent:
    n = len(runs)
    return Spent(
        right=sum(right for right, _, _ in runs) / n,
        tokens=sum(tokens for _, tokens, _ in runs) / n,
        wrong_tokens=sum(tokens for right, tokens, _ in runs if not right) / n,
        stopped=sum(stopped for _, _, stopped in runs) / n,
    )


def replay(problems: Sequence[Problem], rule: StoppingRule, rounds: Sequence[int], count: int) -> Outcome:
    outcome = []
    for problem in problems:
        runs = []
        for votes in orders(problem, count):
            drawn = votes
            for size in rounds:
                drawn = votes[:size]
                if rule.stop(drawn, rounds[-1] - size):
                    break
            answer = self_consistency(drawn).answer
            runs.append((problem.right(answer), sum(v.tokens for v in drawn), len(drawn) < rounds[-1]))
        outcome.append(mean(runs))
    return outcome


def fixed(problems: Sequence[Problem], size: int, count: int) -> Outcome:
    return replay(problems, make_rule("none"), (size,), count)


def prune(problems: Sequence[Problem], rule: Pruning, warmup: int, samples: int, count: int) -> Outcome:
    outcome = []
    for problem in problems:
        runs = []
        for votes in orders(problem, count):
            lengths, pruned = run_side_by_side(problem, [v.sample for v in votes[:samples]], rule, warmup)
            kept = [vote for vote in votes[:samples] if vote.sample not in pruned]
            runs.append((problem.right(self_consistency(kept).answer), sum(lengths.values()), bool(pruned)))
        outcome.append(mean(runs))
    return outcome


def run_side_by_side(
    problem: Problem, order: Sequence[int], rule: Pruning, warmup: int
) -> tuple[dict[int, int], set[int]]:
    """Return the tokens drawn of each sample, and which were pruned."""
    # Samples are numbered in the order drawn: the first of them set a rule's example.
    lengths = {sample: len(problem.tokens[sample]) for sample in order}
    number = {sample: at for at, sample in enumerate(order)}
    ended = list(order[:warmup])
    live, pruned = list(order[warmup:]), set()
    for now in range(LOOK_EVERY, max(lengths.values()) + LOOK_EVERY, LOOK_EVERY):
        ended += [sample for sample in live if lengths[sample] <= now]
        live = [sample for sample in live if lengths[sample] > now]
        if not live:
            break

        def seen(sample: int, length: int) -> Running:
            return Running(number[sample], problem.tokens[sample][:length], problem.logprobs[sample][:length])

        found = rule.prune([seen(s, now) for s in live], [seen(s, lengths[s]) for s in ended])
        for sample in [s for s in live if number[s] in found]:
            lengths[sample] = now
            pruned.add(sample)
            live.remove(sample)
    return lengths, pruned


def calibrated(problems: Sequence[Problem], count: int, data: str) -> Calibration:
    """Combine signals after 2, 4 and 8 samples, so that one calibration serves every round."""
    rows: list[list[float | None]] = []
    right: list[bool] = []
    ids: list[str] = []
    for problem in problems:
        for votes in orders(problem, count):
            for size in (2, 4, 8):
                tally = self_consistency(votes[:size])
                if tally.answer is not None:
                    rows.append([SIGNALS[name](votes[:size], tally) for name in COMBINED])
                    right.append(problem.right(tally.answer))
                    ids.append(str(problem.index))
    combination = fit_combination(COMBINED, rows, right)
    found = [combination.log_odds(dict(zip(COMBINED, row, strict=True))) for row in rows]
    fitted = [
        Example(one, value, hit)
        for one, value, hit in zip(ids, found, right, strict=True)
        if value is not None
    ]
    return calibrate(
        fitted,
        signal=combination.name,
        data=data,
        rule="the tuning half",
        combination=combination,
        method="platt",
    )


def grids(calibration: Calibration) -> dict[str, list[StoppingRule]]:
    sure, floors, patience = (0.7, 0.8, 0.9, 1.0), (-1.0, 0.0, 0.1, 0.2), (4, 8)
    return {
        "vote": [make_rule("vote")],
        "posterior": [make_rule(f"posterior:{p}") for p in (0.75, 0.85, 0.9, 0.95, 0.98)],
        "certaindex": [
            make_rule(f"certaindex:{t},floor={f},patience={p}") for t, f, p in product(sure, floors, patience)
        ],
        "confidence": [
            make_rule(f"confidence:{t},floor={f},patience={p}", calibration=calibration)
            for t, f, p in product((0.6, 0.7, 0.8, 0.9), (-1.0, 0.05, 0.1, 0.15, 0.2), patience)
        ],
        "value": [
            make_rule(f"value:{t},unseen={u}")
            for t, u in product((100, 200, 300, 500, 800, 1200, 2000, 4000), (0, 2, 8))
        ],
        "posterior+certaindex": [
            make_rule(f"posterior:{p}+certaindex:1,floor={f},patience=8")
            for p, f in product((0.9, 0.95, 0.98), (0.0, 0.1, 0.2))
        ],
    }


PRUNING_GRID = {
    "repetition": ["repetition"],
    "too-long": [f"too-long:{q},slack={s}" for q, s in product((0.5, 0.9, 1), (1, 1.25, 1.5, 2))],
    "low-confidence": [
        f"low-confidence:{k},window={w}" for k, w in product((10, 50, 75, 90, 100), (16, 32, 64))
    ],
}


def total(outcome: Outcome, figure: Callable[[Spent], float], rows: Sequence[int]) -> float:
    return sum(figure(outcome[row]) for row in rows) / len(rows)


def right(spent: Spent) -> float:
    return spent.right


def tokens(spent: Spent) -> float:
    return spent.tokens


def tune(outcomes: Sequence[Outcome], everything: Outcome, rows: Sequence[int], lose: float) -> int:
    """Return which setting spends the fewest tokens among those that lose little; the most accurate if none does."""
    least = total(everything, right, rows) - lose / 100 - 1e-9
    good = [at for at, one in enumerate(outcomes) if total(one, right, rows) >= least]
    if good:
        return min(good, key=lambda at: (total(outcomes[at], tokens, rows), at))
    return max(range(len(outcomes)), key=lambda at: (total(outcomes[at], right, rows), -at))


def at_equal_tokens(line: Sequence[Outcome], spent: float, rows: Sequence[int]) -> float:
    """Return the accuracy of a fixed number of samples with this mean cost, between the numbers there are."""
    points = [(total(one, tokens, rows), total(one, right, rows)) for one in line]
    for (low, worse), (high, better) in pairwise(points):
        if spent <= high:
            return worse + (better - worse) * max(0.0, spent - low) / (high - low)
    return points[-1][1]


def report(
    outcome: Outcome, everything: Outcome, line: Sequence[Outcome], rows: Sequence[int]
) -> dict[str, Any]:
    def interval(figure: Callable[[Sequence[int]], float]) -> list[float]:
        found = bootstrap(lambda places: figure([rows[at] for at in places]), len(rows), draws=1000)
        assert found is not None
        return [round(found.value, 4), round(found.low, 4), round(found.high, 4)]

    return {
        "accuracy": interval(lambda r: total(outcome, right, r)),
        "points": interval(lambda r: 100 * (total(outcome, right, r) - total(everything, right, r))),
        "tokens": round(total(outcome, tokens, rows), 1),
        "saved": interval(lambda r: 1 - total(outcome, tokens, r) / total(everything, tokens, r)),
        "at_equal_tokens": interval(
            lambda r: 100 * (total(outcome, right, r) - at_equal_tokens(line, total(outcome, tokens, r), r))
        ),
        "stopped": round(total(outcome, lambda one: one.stopped, rows), 4),
        "unsolved": round(
            total(outcome, lambda one: one.wrong_tokens, rows) / total(outcome, tokens, rows), 4
        ),
    }


def show(name: str, setting: str, row: dict[str, Any]) -> None:
    def span(key: str, scale: float, form: str) -> str:
        value, low, high = (scale * one for one in row[key])
        return f"{value:{form}} [{low:{form}}, {high:{form}}]"

    print(
        f"{name:>21} {100 * row['accuracy'][0]:5.1f}% {span('points', 1, '+.1f'):>19} {row['tokens']:7.0f}"
        f" {span('saved', 100, '.0f'):>13} {span('at_equal_tokens', 1, '+.1f'):>19}"
        f" {100 * row['stopped']:6.0f}% {100 * row['unsolved']:7.0f}%  {setting}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("traces", type=Path)
    parser.add_argument("--rounds", default="1,2,4,8,16", help="samples after which a rule is asked")
    parser.add_argument("--lose", type=float, default=1.0, help="points a rule may lose on the tuning half")
    parser.add_argument("--orders", type=int, default=10, help="orders of each problem's samples")
    parser.add_argument("--warmup", type=int, default=4, help="samples that end before others are pruned")
    arguments = parser.parse_args()
    rounds = [int(size) for size in arguments.rounds.split(",")]
    problems = load(arguments.traces)
    n, count, data = len(problems), arguments.orders, arguments.traces.name
    even = [at for at in range(n) if problems[at].tuned_on]
    odd = [at for at in range(n) if not problems[at].tuned_on]
    everything = fixed(problems, rounds[-1], count)
    line = [fixed(problems, size, count) for size in FIXED if size <= rounds[-1]]
    results: dict[str, Any] = {}

    def add(name: str, kinds: dict[str, tuple[str, Outcome]]) -> None:
        """kinds: by tuning half, the setting and its outcome on all problems."""
        (setting, first), (other, second) = kinds["even"], kinds["odd"]
        crossed = [first[at] if not problems[at].tuned_on else second[at] for at in range(n)]
        results[name] = {
            "setting": setting,
            "other_setting": other,
            "held_out": report(first, everything, line, odd),
            "crossed": report(crossed, everything, line, range(n)),
        }

    for size, outcome in zip(FIXED, line, strict=False):
        add(f"{size} samples", {"even": ("", outcome), "odd": ("", outcome)})
    halves = {"even": even, "odd": odd}
    by_half = {
        half: grids(calibrated([problems[at] for at in rows], count, data)) for half, rows in halves.items()
    }
    replayed: dict[StoppingRule, Outcome] = {}  # only the calibration differs between halves
    for name in by_half["even"]:
        chosen = {}
        for half, rows in halves.items():
            rules = by_half[half][name]
            for rule in rules:
                if rule not in replayed:
                    replayed[rule] = replay(problems, rule, rounds, count)
            outcomes = [replayed[rule] for rule in rules]
            best = tune(outcomes, everything, rows, arguments.lose)
            chosen[half] = (rules[best].name, outcomes[best])
        add(name, chosen)
    for name, specs in PRUNING_GRID.items():
        outcomes = [
            prune(problems, make_pruning(spec), arguments.warmup, rounds[-1], min(count, 3)) for spec in specs
        ]
        best = {half: tune(outcomes, everything, rows, arguments.lose) for half, rows in halves.items()}
        add(f"prune {name}", {half: (specs[at], outcomes[at]) for half, at in best.items()})
    for part, where in (("held_out", f"{len(odd)} problems of odd index"), ("crossed", f"all {n}, crossed")):
        print(f"{where}; rounds {arguments.rounds}; tuned to lose at most {arguments.lose:g} points")
        print(
            f"{'':>21} {'right':>6} {'points':>19} {'tokens':>7} {'saved %':>13} {'at equal tokens':>19}"
            f" {'stopped':>7} {'unsolved':>8}  setting"
        )
        for name, row in results.items():
            show(name, row["setting"], row[part])
        print()
    print(
        json.dumps(
            {
                "benchmark": "stopping",
                "traces": data,
                "problems": n,
                "rounds": rounds,
                "orders": count,
                "lose": arguments.lose,
                "rules": results,
            }
        )
    )


if __name__ == "__main__":
    main()
