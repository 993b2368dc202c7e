"""How well deadlines are kept, and used, while a competing load comes and goes during the answers.

    python benchmarks/deadline.py --model smollm2-135m-instruct --runs 200 --out rows.jsonl
    python benchmarks/deadline.py --joules --runs 100

Deadlines of 1 to 20 s. A process of its own keeps a core busy for 1 to 5 s, then rests for 1 to 5 s, whatever the engine
does. More samples would help where neither a rule decided nor the 16 samples there are at most were drawn. --joules: caps of
energy instead, by the engine's meter (modelled where nothing measures). Rows are kept in --out as they come; what was interrupted
is continued from there, or summed up with --runs 0.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import statistics
import time
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

from interleave import command, device
from rows import keep_row, read_rows

import edgetts
from edgetts.engine import Engine
from edgetts.errors import InvalidInput
from edgetts.types import Finished, SampleDone

QUESTIONS = (
    "A baker sells 12 loaves in the morning and twice as many in the afternoon. How many loaves is that?",
    "A train leaves at 9:40 and arrives at 11:15. How many minutes does it take?",
    "Three friends share 84 marbles equally. How many does each get?",
    "Write a short story about a lighthouse keeper.",
    "Explain why the sky is blue.",
)
_MOST = 16
_TOLERANCE = 0.02


def compete(seed: int, busy: Synchronized[float]) -> None:
    """Keep one core busy, now and then; count the seconds in which it was."""
    draw = random.Random(seed)  # noqa: S311 - a benchmark's load
    x = 1.0
    while True:
        until = time.perf_counter() + draw.uniform(1, 5)
        while (now := time.perf_counter()) < until:
            for _ in range(20_000):
                x = x * 1.0000001 + 1e-9
            with busy.get_lock():
                busy.value += time.perf_counter() - now
        time.sleep(draw.uniform(1, 5))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=None)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--out", type=Path, default=None, help="JSONL; appended to")
    parser.add_argument("--joules", action="store_true", help="cap energy rather than time")
    options = parser.parse_args()
    rows = read_rows(options.out)
    if any(row["joules"] != options.joules for row in rows):
        raise SystemExit(f"{options.out} holds rows of the other kind of cap.")
    if len(rows) < options.runs:
        _measure(options, rows)
    if not rows:
        raise SystemExit("There are no rows to sum up.")
    _report(options, rows)


def _measure(options: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    # Spawned: a fork of a process with threads may hang.
    context = multiprocessing.get_context("spawn")
    busy = context.Value("d", 0.0)
    load = context.Process(target=compete, args=(options.seed, busy), daemon=True)
    with edgetts.load(options.model) as engine:
        engine.answer("Say hello.", budget=edgetts.Budget(samples=2))  # the first one allocates
        load.start()
        try:
            for number in range(len(rows), options.runs):
                row = _run(engine, number, options, busy)
                rows.append(row)
                keep_row(options.out, row)
                unit = "J" if options.joules else "s"
                print(
                    f"{number:3d}  cap {row['cap']:6.2f} {unit}  used {row['used']:7.1%}  "
                    f"loaded {row['loaded']:4.0%}  {row['stop']:9} {row['complete']:2d}/{row['samples']:2d} complete",
                    flush=True,
                )
        finally:
            load.terminate()
            load.join()


def _run(
    engine: Engine, number: int, options: argparse.Namespace, busy: Synchronized[float]
) -> dict[str, Any]:
    draw = random.Random(options.seed * 100_003 + number)  # noqa: S311 - a benchmark's choice of deadlines
    if options.joules:
        cap = draw.uniform(20, 300)
        budget = edgetts.Budget(joules=cap)
    else:
        cap = draw.uniform(1, 20)
        budget = edgetts.Budget(seconds=cap)
    answer, complete = None, 0
    was, began = busy.value, time.perf_counter()
    try:
        for event in engine.stream(QUESTIONS[number % len(QUESTIONS)], budget=budget):
            if isinstance(event, SampleDone):
                complete += event.sample.complete
            if isinstance(event, Finished):
                answer = event.answer
    except InvalidInput as error:
        raise SystemExit(str(error)) from error
    took = time.perf_counter() - began
    loaded = min(1.0, (busy.value - was) / took)
    assert answer is not None
    spent = answer.usage.joules if options.joules else took
    if spent is None:
        raise SystemExit("The engine says nothing of joules, so a cap cannot be checked.")
    return {
        "number": number,
        "joules": options.joules,
        "cap": cap,
        "seconds": took,
        "used": spent / cap,
        "loaded": loaded,
        "stop": answer.stop_reason,
        "samples": len(answer.samples),
        "complete": complete,
        "planned": answer.plan.samples,
    }


def _helps(row: dict[str, Any]) -> bool:
    return row["stop"] != "decided" and not (row["stop"] == "complete" and row["samples"] >= _MOST)


def _report(options: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    groups = {
        "no load": [r for r in rows if r["loaded"] < 0.1],
        "load part of the time": [r for r in rows if 0.1 <= r["loaded"] <= 0.9],
        "load all the time": [r for r in rows if r["loaded"] > 0.9],
        "all": rows,
    }
    print(
        f"\n{'':22} {'runs':>5} {'within cap + 2%':>16} {'within cap':>11} {'worst':>7} "
        f"{'more would help':>16} {'used, mean':>11} {'10th pct':>9} {'used 80% or more':>17}"
    )
    summary = {}
    for name, chosen in groups.items():
        if not chosen:
            continue
        helps = sorted(r["used"] for r in chosen if _helps(r))
        summary[name] = {
            "runs": len(chosen),
            "within_2_percent": statistics.fmean(r["used"] <= 1 + _TOLERANCE for r in chosen),
            "within": statistics.fmean(r["used"] <= 1 for r in chosen),
            "worst_used": max(r["used"] for r in chosen),
            "more_would_help": len(helps),
            "used_mean": statistics.fmean(helps) if helps else None,
            "used_10th": helps[len(helps) // 10] if helps else None,
            "used_80": statistics.fmean(u >= 0.8 for u in helps) if helps else None,
        }
        s = summary[name]
        used = "".join(
            f"{'':>{width}}" if value is None else f"{value:>{width}.1%}"
            for value, width in ((s["used_mean"], 12), (s["used_10th"], 10), (s["used_80"], 18))
        )
        print(
            f"{name:22} {s['runs']:5d} {s['within_2_percent']:>16.1%} {s['within']:>11.1%} "
            f"{s['worst_used']:>7.1%} {s['more_would_help']:>16d}{used}"
        )
    body = {"benchmark": "deadline", "cap": "joules" if options.joules else "seconds"}
    body |= {"model": options.model or "default", "seed": options.seed, "command": command()}
    print(json.dumps(body | {"device": device(), "summary": summary}))


if __name__ == "__main__":
    main()
