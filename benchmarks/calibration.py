"""How well confidence tells right answers from wrong ones, before and after calibration, on recorded samples.

    python benchmarks/calibration.py TRACES.jsonl [--samples 16] [--method auto] [--save FILE]

Every signal is calibrated on the problems of even index and judged on those of odd index: expected
calibration error over ten bins of one width (ECE) and of one size (adaptive), Brier score, AUROC, accuracy of the
surest 50% and 80% of answers, and the mean gain at a risk of 1 (right +1, wrong -1, no answer 0), abstaining below
one half, beside answering always. The answer is the majority of the first `--samples`. "before" reads the signal as a
probability as it stands; log-probs become per-token probabilities. `combined` is a logistic
regression over the signals named. A problem without a value for a signal, or without an answer, is left out of its
row ("left out"). One half may be easier than the other by chance, so that everything is repeated on random halves, whose
means follow. With 50 problems in ten bins even a perfect forecast has an ECE of about 0.1. Intervals are 95%, by drawing problems anew. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import recordings
from recordings import found_in, vote_of

from edgetts.interval import Interval
from edgetts.selection.aggregation import Tally, Vote, make_aggregator, self_consistency
from edgetts.selection.confidence import (
    SIGNALS,
    Abstention,
    Calibration,
    Example,
    Signal,
    accuracy_at,
    auroc,
    bootstrap,
    brier,
    by_sample,
    calibrate,
    calibration_error,
    fit_combination,
    mean_gain,
    save_calibration,
    share_by,
    tail_logprob,
)

COMBINED = ("vote-share", "certaindex", "winner-logprob")
RULE = "fitted on even indices, tested on odd ones"
RISK = 1.0
REPEATED = (
    "ece_before",
    "ece_after",
    "brier_before",
    "brier_after",
    "auroc_after",
    "at_50_after",
    "at_80_after",
)


@dataclass(frozen=True, slots=True)
class Problem:
    """One recorded problem: its votes in the order drawn, and the raw log-probs and tokens of each sample."""

    index: int
    truth: str
    votes: list[Vote]
    tokens: list[list[int]]
    logprobs: list[list[float]]

    @property
    def tuned_on(self) -> bool:
        return self.index % 2 == 0

    def right(self, answer: str | None) -> bool:
        return recordings.right(answer, self.truth)


def load(path: Path) -> list[Problem]:
    problems = []
    for record in recordings.problems(path):
        samples = record["samples"]
        votes = [
            vote_of(i, sample, found_in(sample), score=sample.get("score"), passed=sample.get("passed"))
            for i, sample in enumerate(samples)
        ]
        problems.append(
            Problem(
                record["index"],
                record["answer"],
                votes,
                [sample["tokens"] for sample in samples],
                [sample["logprobs"] for sample in samples],
            )
        )
    return problems


def signals_of(problem: Problem) -> dict[str, Signal]:
    tails = {i: tail_logprob(logprobs) or 0.0 for i, logprobs in enumerate(problem.logprobs)}
    others = (share_by(make_aggregator("rpc")), by_sample("tail-logprob", tails, nats=True))
    return {**SIGNALS, **{one.name: one for one in others}}


@dataclass(frozen=True, slots=True)
class Case:
    """The answer chosen for a problem, whether it is right, and the value of every signal."""

    problem: Problem
    tally: Tally
    right: bool
    values: dict[str, float | None]


def measure(problems: Sequence[Problem], samples: int) -> list[Case]:
    cases = []
    for problem in problems:
        votes = problem.votes[:samples]
        tally = self_consistency(votes)
        values = {name: one(votes, tally) for name, one in signals_of(problem).items()}
        cases.append(Case(problem, tally, problem.right(tally.answer), values))
    return cases


def examples(cases: Sequence[Case], name: str) -> list[Example]:
    return [
        Example(str(case.problem.index), value, case.right)
        for case in cases
        if (value := case.values[name]) is not None
    ]


def judge(calibration: Calibration, held_out: Sequence[Example], left_out: int) -> dict[str, Any]:
    probabilities = [calibration.apply(one.value) for one in held_out]
    right = [one.right for one in held_out]
    policy = Abstention.at_risk(RISK)
    answered = [policy.decide(p).answer for p in probabilities]
    assert calibration.before is not None
    assert calibration.after is not None

    def interval(figure: Any) -> list[float] | None:
        def at(rows: Sequence[int]) -> float | None:
            value: float | None = figure([probabilities[i] for i in rows], [right[i] for i in rows])
            return value

        found: Interval | None = bootstrap(at, len(right), draws=500)
        return None if found is None else [round(found.low, 4), round(found.high, 4)]

    return {
        "method": calibration.method,
        "fitted_on": len(calibration.split.fitted),
        "held_out": len(held_out),
        "left_out": left_out,
        "before": {name: value and round(value, 4) for name, value in asdict(calibration.before).items()},
        "after": {name: value and round(value, 4) for name, value in asdict(calibration.after).items()},
        "intervals": {
            "ece": interval(calibration_error),
            "brier": interval(brier),
            "auroc": interval(auroc),
            "at_50": interval(lambda p, hits: accuracy_at(p, hits, 0.5)),
            "at_80": interval(lambda p, hits: accuracy_at(p, hits, 0.8)),
        },
        "gain_at_risk_1": round(mean_gain(answered, right, RISK), 4),
        "gain_of_always": round(mean_gain([True] * len(right), right, RISK), 4),
        "answered": round(sum(answered) / len(answered), 4),
    }


def over_random_halves(
    cases: Sequence[Case], splits: int, method: Any, data: str
) -> dict[str, dict[str, float]]:
    """Fit and judge on many random halves: means, since one half may differ from the other by chance."""
    rng = random.Random(0)  # noqa: S311  # not for secrets
    sums: dict[str, dict[str, list[float]]] = {}
    for _ in range(splits):
        order = list(range(len(cases)))
        rng.shuffle(order)
        halves = [[cases[at] for at in order[part::2]] for part in (0, 1)]
        combination = fit_combination(
            COMBINED,
            [[case.values[name] for name in COMBINED] for case in halves[0]],
            [case.right for case in halves[0]],
        )
        for case in cases:
            case.values["combined"] = combination.log_odds(case.values)
        for name in cases[0].values:
            first, second = (examples(half, name) for half in halves)
            if not first or not second:
                continue
            combined = name == "combined"
            made = calibrate(
                first,
                second,
                signal=combination.name if combined else name,
                data=data,
                rule="random halves",
                method=method,
                combination=combination if combined else None,
            )
            assert made.before is not None
            assert made.after is not None
            row = sums.setdefault(name, {})
            for when, found in (("before", made.before), ("after", made.after)):
                for key in ("ece", "brier", "auroc", "at_50", "at_80"):
                    value = getattr(found, key)
                    if value is not None:
                        row.setdefault(f"{key}_{when}", []).append(value)
    return {
        name: {key: round(math.fsum(values) / len(values), 4) for key, values in row.items()}
        for name, row in sums.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("traces", type=Path)
    parser.add_argument("--samples", type=int, default=16, help="votes for each answer")
    parser.add_argument("--method", choices=("auto", "platt", "isotonic"), default="auto")
    parser.add_argument("--splits", type=int, default=50, help="random halves to repeat everything on")
    parser.add_argument("--save", type=Path, help="write the combined calibration here")
    arguments = parser.parse_args()
    cases = measure(load(arguments.traces), arguments.samples)
    fitted = [case for case in cases if case.problem.tuned_on]
    held_out = [case for case in cases if not case.problem.tuned_on]
    data = arguments.traces.name
    rows: dict[str, dict[str, Any]] = {}
    for name in cases[0].values:
        first, second = examples(fitted, name), examples(held_out, name)
        if first and second:
            made = calibrate(first, second, signal=name, data=data, rule=RULE, method=arguments.method)
            rows[name] = judge(made, second, len(held_out) - len(second))
    combination = fit_combination(
        COMBINED,
        [[case.values[name] for name in COMBINED] for case in fitted],
        [case.right for case in fitted],
    )
    for case in cases:
        case.values["combined"] = combination.log_odds(case.values)
    combined = calibrate(
        [Example(one.id, one.value, one.right) for one in examples(fitted, "combined")],
        second := examples(held_out, "combined"),
        signal=combination.name,
        data=data,
        rule=RULE,
        method=arguments.method,
        combination=combination,
    )
    rows["combined"] = judge(combined, second, len(held_out) - len(second))
    if arguments.save:
        save_calibration(combined, arguments.save)
    accuracy = sum(case.right for case in held_out) / len(held_out)
    print(
        f"{len(fitted)} problems to fit, {len(held_out)} held out, majority of {arguments.samples}: "
        f"{100 * accuracy:.1f}% right on the latter; combined: {', '.join(COMBINED)}"
    )
    heads = ("method", "ECE", "-> after", "adaptive", "Brier", "-> after", "AUROC", "at 50%", "at 80%")
    print(f"{'signal':>20}", *(f"{head:>9}" for head in heads), f"{'gain, risk 1 (always)':>22}", "left out")
    for name, row in rows.items():
        before, after = row["before"], row["after"]
        figures = (
            before["ece"],
            after["ece"],
            after["adaptive_ece"],
            before["brier"],
            after["brier"],
            after["auroc"],
        )
        print(
            f"{name:>20} {row['method']:>9}",
            *(f"{'-' if value is None else format(value, '.3f'):>9}" for value in figures),
            *(f"{100 * after[at]:8.1f}%" for at in ("at_50", "at_80")),
            f"{row['gain_at_risk_1']:+12.3f} ({row['gain_of_always']:+.3f})",
            f"{row['left_out']:>8}",
        )
    repeated = over_random_halves(cases, arguments.splits, arguments.method, data)
    print(f"means over {arguments.splits} random halves")
    for name, means in repeated.items():
        figures = [means.get(key, math.nan) for key in REPEATED]
        print(
            f"{name:>20} {'':>9} {figures[0]:9.3f} {figures[1]:9.3f} {'':>9} {figures[2]:9.3f} {figures[3]:9.3f}"
            f" {figures[4]:9.3f} {100 * figures[5]:8.1f}% {100 * figures[6]:8.1f}%"
        )
    print(
        json.dumps(
            {
                "benchmark": "calibration",
                "traces": data,
                "samples": arguments.samples,
                "split": RULE,
                "split_sha256": combined.split.sha256,
                "accuracy_held_out": round(accuracy, 4),
                "signals": rows,
                "random_halves": {"splits": arguments.splits, "means": repeated},
            }
        )
    )


if __name__ == "__main__":
    main()
