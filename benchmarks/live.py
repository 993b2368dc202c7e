"""Policies side by side on fresh problems, live: what they get right, and their tokens, seconds and joules.

    python benchmarks/live.py --model PATH_OR_NAME --problems 40 --seed 11 --out rows.jsonl \\
        --policy self_consistency:stop=none@8 --policy adaptive@16

Every problem is answered by each policy in turn, which one first changes from problem to problem. A policy is a strategy
with its settings, and @ how many samples it may have; --deadline adds a vote that has so many seconds. Needs the package reasoning-gym,
which makes the problems and scores the answers. Joules are what the engine's meter says, modelled where nothing measures. Intervals
are 95%, by drawing problems anew, in pairs with the first policy. Rows are kept in --out as they come; what was interrupted is
continued from there, or summed up with --problems 0. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from interleave import command, device
from rows import keep_row, read_rows

import edgetts
from edgetts.engine import Engine
from edgetts.interval import Interval
from edgetts.replay.policies import make_policy
from edgetts.selection.confidence import bootstrap

SYSTEM = (
    "You are a helpful assistant. Solve the problem step by step, briefly, and end with 'The answer is X'."
)
USUAL = ("self_consistency:stop=none@8", "adaptive@16")
AMOUNTS = ("tokens", "seconds", "joules", "samples")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="qwen2.5-coder-0.5b-instruct")
    parser.add_argument("--task", default="gsm_symbolic", help="a generator of reasoning-gym")
    parser.add_argument("--problems", type=int, default=40)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--policy", action="append", default=[], help=f"{' and '.join(USUAL)} without")
    parser.add_argument("--deadline", type=float, default=None)
    parser.add_argument("--max-tokens", type=int, default=448)
    parser.add_argument("--out", type=Path, default=None, help="JSONL; appended to")
    options = parser.parse_args()
    rows = read_rows(options.out)
    if len(rows) < options.problems:
        try:
            _measure(options, rows)
        except KeyboardInterrupt:
            print("interrupted")
    if not rows:
        raise SystemExit("There are no rows to sum up.")
    _report(options, rows)


def _measure(options: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    import reasoning_gym

    data = reasoning_gym.create_dataset(options.task, size=options.problems, seed=options.seed)
    asked: dict[str, dict[str, Any]] = {}
    for spec in options.policy or USUAL:
        policy = make_policy(spec)
        asked[spec] = {
            "strategy": policy.strategy,
            "budget": edgetts.Budget(samples=policy.samples),
        }
    if options.deadline is not None:
        asked[f"{options.deadline:g} s"] = {"budget": edgetts.Budget(seconds=options.deadline)}
    with edgetts.load(options.model, notify=print) as engine:
        engine.answer("Say hello.", budget=edgetts.Budget(samples=2))  # the first one allocates
        for number in range(len(rows), options.problems):
            problem = data[number]
            names = list(asked)
            turned = names[number % len(names) :] + names[: number % len(names)]
            found = {name: _answer(engine, data, problem, options, asked[name]) for name in turned}
            row = {"number": number, "policies": {name: found[name] for name in names}}
            rows.append(row)
            keep_row(options.out, row)
            said = "   ".join(
                f"{'right' if one['right'] else 'wrong'} {one['samples']:2d} samples {one['tokens']:5d} tokens {one['seconds']:5.1f} s"
                for one in row["policies"].values()
            )
            print(f"{number:3d}  {said}", flush=True)


def _answer(
    engine: Engine, data: Any, problem: Any, options: argparse.Namespace, asked: dict[str, Any]
) -> dict[str, Any]:
    began = time.perf_counter()
    answer = engine.answer(
        problem["question"],
        system=SYSTEM,
        answer_format="number",
        sampling=edgetts.SamplingParams(max_tokens=options.max_tokens, top_k=40, seed=options.seed),
        **asked,
    )
    took = time.perf_counter() - began
    right = answer.answer is not None and data.score_answer(answer=answer.answer, entry=problem) >= 1
    return {
        "right": right,
        "answer": answer.answer,
        "tokens": answer.usage.generated_tokens,
        "seconds": took,
        "joules": answer.usage.joules,
        "samples": len(answer.samples),
        "stop": answer.stop_reason,
    }


def _report(options: argparse.Namespace, rows: Sequence[dict[str, Any]]) -> None:
    names = list(rows[0]["policies"])
    of = {name: [row["policies"][name] for row in rows] for name in names}
    width = max(map(len, names))
    print(
        f"\n{'':{width}} {'right':>13} {'tokens':>7} {'seconds':>8} {'joules':>7} {'samples':>8}"
        f" {'points':>21} {'tokens ratio':>18} {'seconds ratio':>18} {'joules ratio':>18}"
    )
    summary: dict[str, Any] = {}
    for name in names:
        here, first = of[name], of[names[0]]
        right = sum(one["right"] for one in here)
        means = {amount: _mean(here, amount) for amount in AMOUNTS}
        summary[name] = {"right": right, "problems": len(here), **means}
        line = f"{name:{width}} {right:4d} of {len(here):4d}"
        for amount, size, digits in (
            ("tokens", 8, 0),
            ("seconds", 9, 1),
            ("joules", 8, 0),
            ("samples", 9, 2),
        ):
            value = means[amount]
            line += f"{'-':>{size}}" if value is None else f"{value:{size}.{digits}f}"
        if name != names[0]:
            points = bootstrap(
                lambda at, here=here, first=first: (
                    100 * sum(here[i]["right"] - first[i]["right"] for i in at) / len(at)
                ),
                len(rows),
            )
            ratios = {amount: _ratio(here, first, amount) for amount in ("tokens", "seconds", "joules")}
            line += f" {_said(points, '+.1f'):>21}"
            line += "".join(f" {_said(one, '.2f'):>18}" for one in ratios.values())
            summary[name] |= {
                "points": _plain(points),
                **{f"{k}_ratio": _plain(v) for k, v in ratios.items()},
            }
        print(line)
    body = {"benchmark": "live", "model": options.model, "task": options.task, "seed": options.seed}
    print(json.dumps(body | {"command": command(), "device": device(), "summary": summary}))


def _mean(found: Sequence[dict[str, Any]], amount: str) -> float | None:
    values = [one[amount] for one in found]
    return None if None in values else statistics.fmean(values)


def _ratio(here: Sequence[dict[str, Any]], first: Sequence[dict[str, Any]], amount: str) -> Interval | None:
    if _mean(here, amount) is None or _mean(first, amount) is None:
        return None
    figure: Callable[[Sequence[int]], float] = lambda at: (  # noqa: E731  # three words of a ratio
        math.fsum(here[i][amount] for i in at) / math.fsum(first[i][amount] for i in at)
    )
    return bootstrap(figure, len(here))


def _said(found: Interval | None, form: str) -> str:
    return "-" if found is None else f"{found.value:{form}} [{found.low:{form}}, {found.high:{form}}]"


def _plain(found: Interval | None) -> list[float] | None:
    return None if found is None else [found.value, found.low, found.high]


if __name__ == "__main__":
    main()
