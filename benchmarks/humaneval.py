"""Recorded HumanEval samples: pass@k, choosing by visible examples, by agreement, and when to give up.

    edgetts eval humaneval --model MODEL --samples 16 --strategy self_consistency:stop=none --record RUN.jsonl
    python benchmarks/humaneval.py RUN.jsonl --graded GRADED.jsonl

Every sample is run in the sandbox three times: against the hidden tests (whether it is right), against the examples
that the question shows (the verifier), and on those examples' calls alone (what it does, for agreement). That takes
minutes and is kept in GRADED, where an interrupted run goes on.

Rows at N samples are means over problems and over `--orders` seeded orders of a problem's samples:
pass@k, unbiased; one sample; the most frequent behaviour on the visible calls (no test's outcome is
looked at); until one passes the visible examples, else the most frequent behaviour. The verifier's error rates are measured on
all samples. fLaws: the number of attempts K chosen for each cost of a wrong program on every second problem, and what it
is worth on the others, where a program that passed is given and otherwise none. Table first, JSON last.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any

from edgetts.evaluation.loading import load_run
from edgetts.evaluation.tasks import make_task
from edgetts.evaluation.tasks.task import Attempt
from edgetts.sandbox import run_python
from edgetts.selection.stopping.flaws import best_attempts, ceiling
from edgetts.selection.verification.code import called_in, program_in, prompt_in
from edgetts.selection.verification.examples import examples_in
from edgetts.selection.verification.python import ExamplesVerifier
from edgetts.selection.verification.rates import measure
from edgetts.selection.verification.verifier import Verdict, Work

SIZES = (1, 2, 4, 8)


def behaviour(question: str, text: str, complete: bool) -> str | None:
    """Return what a sample's program gives for the visible calls; None where it gives nothing."""
    checks = examples_in(question)
    calls = [check.rpartition(" == ")[0] for check in checks if " == " in check and "\n" not in check]
    program = program_in(text, prompt=prompt_in(question), wanted=called_in(checks), complete=complete)
    if program is None:
        return None
    tried = (
        "def tried_(f):\n    try:\n        return repr(f())\n"
        "    except Exception as error:\n        return type(error).__name__\n"
    )
    result = ", ".join(f"tried_(lambda: {call.removeprefix('assert ')})" for call in calls)
    execution = run_python(f"{program}\n{tried}", result=f"[{result}]")
    return json.dumps(execution.value) if execution.outcome == "finished" else None


def grade(path: Path, graded: Path) -> list[dict[str, Any]]:
    """Grade every sample of a recording, those in `graded` only once."""
    done = {}
    if graded.exists():
        done = {row["id"]: row for row in map(json.loads, graded.read_text(encoding="utf-8").splitlines())}
    run = load_run(path)
    task = make_task("humaneval")
    known = {problem.id: problem for problem in task.problems()}
    verifier = ExamplesVerifier()
    rows = []
    with graded.open("a", encoding="utf-8") as out:
        for record in run.problems:
            if record.id in done:
                rows.append(done[record.id])
                continue
            problem, began = known[record.id], time.perf_counter()
            samples = []
            for sample in record.samples:
                verdict = verifier.verify(Work(problem.question, sample.text, None, sample.finished))
                samples.append(
                    {
                        "right": task.grade(problem, Attempt(None, "", sample.text)) >= 1,
                        "passed": verdict.passed,
                        "behaviour": behaviour(problem.question, sample.text, sample.finished),
                        "tokens": len(sample.tokens),
                    }
                )
            row = {"id": record.id, "examples": len(examples_in(problem.question)), "samples": samples}
            rows.append(row)
            out.write(json.dumps(row) + "\n")
            out.flush()
            right = sum(s["right"] for s in samples)
            print(
                f"{record.id}: {right} of {len(samples)} right, {time.perf_counter() - began:.1f} s",
                flush=True,
            )
    return rows


def agreed(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the first sample of the most frequent behaviour."""
    counts = Counter(s["behaviour"] for s in samples if s["behaviour"] is not None)
    if not counts:
        return samples[0]
    most = max(counts.values())
    return next(s for s in samples if counts[s["behaviour"]] == most)


def until_passed(samples: list[dict[str, Any]]) -> tuple[dict[str, Any], int]:
    """Return the first sample that passes, else the one agreed on, and how many were drawn."""
    for drawn, sample in enumerate(samples, 1):
        if sample["passed"]:
            return sample, drawn
    return agreed(samples), len(samples)


def accuracies(rows: list[dict[str, Any]], orders: int) -> dict[str, dict[int, float]]:
    rng = random.Random(0)  # noqa: S311  # not for secrets
    names = ("pass@k", "one sample", "agreement", "until visible examples pass", "samples drawn until then")
    table: dict[str, dict[int, float]] = {name: {} for name in names}
    for size in (*SIZES, min(len(row["samples"]) - 1 for row in rows)):
        sums = dict.fromkeys(names, 0.0)
        for row in rows:
            # The greedy sample is no draw of the distribution.
            pool = row["samples"][1:]
            right = sum(s["right"] for s in pool)
            wrong = len(pool) - right
            sums["pass@k"] += 1 - math.comb(wrong, size) / math.comb(len(pool), size)
            for _ in range(orders):
                some = rng.sample(pool, size)
                sums["one sample"] += some[0]["right"] / orders
                sums["agreement"] += agreed(some)["right"] / orders
                chosen, drawn = until_passed(some)
                sums["until visible examples pass"] += chosen["right"] / orders
                sums["samples drawn until then"] += drawn / orders
        for name in names:
            table[name][size] = sums[name] / len(rows)
    return table


def worth(rows: list[dict[str, Any]], attempts: int, cost: float, orders: int) -> float:
    """Return the mean gain of giving the first of `attempts` samples that passes: 1 if right, -cost if wrong."""
    rng = random.Random(1)  # noqa: S311  # not for secrets
    gains = []
    for row in rows:
        pool = row["samples"][1:]
        for _ in range(orders):
            some = rng.sample(pool, min(attempts, len(pool)))
            first = next((s for s in some if s["passed"]), None)
            gains.append(0.0 if first is None else 1.0 if first["right"] else -cost)
    return statistics.mean(gains)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recording", type=Path)
    parser.add_argument("--graded", type=Path, required=True)
    parser.add_argument("--orders", type=int, default=50)
    options = parser.parse_args()
    rows = grade(options.recording, options.graded)
    table = accuracies(rows, options.orders)
    shown = sum(row["examples"] > 0 for row in rows)
    print(f"\n{len(rows)} problems; {shown} show examples that can be read")
    sizes = list(table["pass@k"])
    print(f"{'':28}" + "".join(f"{size:>8}" for size in sizes))
    for name, of in table.items():
        cells = (f"{of[s]:8.1%}" if "drawn" not in name else f"{of[s]:8.2f}" for s in sizes)
        print(f"{name:28}" + "".join(cells))
    outcomes = [(Verdict(s["passed"]), s["right"]) for row in rows for s in row["samples"][1:]]
    measured = measure(outcomes)
    low, high = measured.passes_wrong
    print(
        f"the verifier passes {measured.rates.passes_right:.1%} of right programs and "
        f"{measured.rates.passes_wrong:.1%} [{low:.1%}, {high:.1%}] of wrong ones; of what passes "
        f"{1 - (measured.precision or 0):.1%} is wrong"
    )
    even, odd = rows[::2], rows[1::2]
    seen = measure((Verdict(s["passed"]), s["right"]) for row in even for s in row["samples"][1:]).rates
    success = [statistics.mean(s["right"] for s in row["samples"][1:]) for row in even]
    flaws: dict[str, Any] = {"ceiling": ceiling(success, seen)}
    print(f"ceiling of resampling until it passes, from the tuning half: {flaws['ceiling']:.1%}")
    print(
        f"{'cost of a wrong program':>24} {'K, tuned':>13} {'worth held out: K=1':>18} {'K':>7} {'K=15':>7}"
    )
    for cost in (0.0, 0.5, 1.0, 2.0, 4.0, 8.0):
        best = best_attempts(success, seen, cost, most=15)
        values = [worth(odd, k, cost, options.orders) if k else 0.0 for k in (1, best, 15)]
        print(f"{cost:>24} {best:>13} {values[0]:>18.3f} {values[1]:>7.3f} {values[2]:>7.3f}")
        flaws[str(cost)] = {"K": best, "worth": values}
    print(
        json.dumps(
            {
                "benchmark": "humaneval",
                "problems": len(rows),
                "accuracy": table,
                "passes_right": measured.rates.passes_right,
                "passes_wrong": measured.rates.passes_wrong,
                "precision": measured.precision,
                "flaws": flaws,
            }
        )
    )


if __name__ == "__main__":
    main()
