"""How well time, tokens and joules are predicted: varied runs, each predicted before it begins.

    python benchmarks/prediction.py --model smollm2-135m-instruct --runs 100 --out rows.jsonl

Prompts of 20 to 1,500 tokens, 1 to 16 samples, 32 to 400 tokens a sample at most, several kinds of question. Each run is
predicted three times from the same state of the cost model: with lengths as guessed, with lengths as learned from the runs
before, by kind of question (as the plan itself is, since kinds are named as tasks), and with the lengths that the samples turned out to have, which leaves the error of the cost
model itself. Joules: what the engine's meter says; where there is none, watts by the process's share of the
processor (--idle-watts, --busy-watts), against the prediction from the same watts. Rows are kept in --out as they
come; a run that is there already is not done again, so that what was interrupted can be continued, or summed up with --runs 0.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
from interleave import PROMPT, command, device
from rows import keep_row, read_rows

import edgetts
from edgetts.control.cost.lengths import KnownLengths, LengthBook, Lengths
from edgetts.control.cost.model import CostModel
from edgetts.control.cost.work import LengthLaw, Work
from edgetts.engine import Engine
from edgetts.profiles.device import PowerDraw
from edgetts.profiles.figure import Figure
from edgetts.types import Finished, PlanMade

KINDS = {
    "sum": "A baker sells {a} loaves in the morning and {b} in the afternoon, for {c} cents each. How much is earned?",
    "word": "Answer with one word: which is larger, {a} or {b}?",
    "list": "Name {c} things that one may find in a kitchen, one a line.",
    "story": "Write a short story about {a} sailors and a lighthouse.",
    "explain": "Explain in a few sentences why {a} is not the same as {b}.",
}
WAYS = ("guessed", "learned", "true")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=None)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--after", type=int, default=30, help="runs that only teach, summed up without")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--out", type=Path, default=None, help="JSONL; appended to")
    parser.add_argument("--idle-watts", type=float, default=5.0)
    parser.add_argument("--busy-watts", type=float, default=25.0)
    options = parser.parse_args()
    rows = read_rows(options.out)
    if len(rows) < options.runs:
        rows = _measure(options, rows)
    if not rows:
        raise SystemExit("There are no rows to sum up.")
    _report(options, rows)


def _measure(options: argparse.Namespace, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    watts = [Figure(value, "default") for value in (options.idle_watts, options.busy_watts)]
    power = PowerDraw(*watts)
    book = LengthBook()
    for row in rows:
        for tokens, ended in row["lengths"]:
            book.observe(row["kind"], tokens, bool(ended))
    with edgetts.load(options.model) as engine:
        engine.answer("Say hello.", budget=edgetts.Budget(samples=2))  # the first one allocates
        for number in range(len(rows), options.runs):
            row = _run(engine, number, options.seed, book, power)
            rows.append(row)
            keep_row(options.out, row)
            said = "  ".join(
                f"{way} {row[way]['seconds']['value']:6.2f} [{row[way]['seconds']['low']:.2f}, {row[way]['seconds']['high']:.2f}]"
                for way in WAYS
            )
            print(
                f"{number:3d} {row['kind']:8} prompt {row['prompt']:4d}  {row['samples']:2d} of at most {row['cap']:3d}"
                f"  took {row['seconds']:6.2f}  {said}",
                flush=True,
            )
    return rows


def _run(engine: Engine, number: int, seed: int, book: LengthBook, power: PowerDraw) -> dict[str, Any]:
    draw = random.Random(seed * 100_003 + number)  # noqa: S311 - a benchmark's choice of questions
    kind = draw.choice(list(KINDS))
    question = KINDS[kind].format(a=draw.randint(12, 99), b=draw.randint(100, 999), c=draw.randint(3, 9))
    wanted = math.exp(draw.uniform(math.log(20), math.log(1500)))
    ids = list(engine.tokenizer.encode(PROMPT, special=False)) * 8
    if wanted > 60:
        question = engine.tokenizer.decode(ids[: int(wanted) - 50]) + "\n\n" + question
    samples = draw.choice((1, 1, 2, 3, 4, 6, 8, 12, 16))
    cap = round(math.exp(draw.uniform(math.log(32), math.log(400))))
    host = engine.hosts[0]
    before, process = host.drift.copy(), psutil.Process()
    used = sum(process.cpu_times()[:2])
    began = time.perf_counter()
    answer, plan = None, None
    for event in engine.stream(
        question,
        budget=edgetts.Budget(samples=samples),
        sampling=edgetts.SamplingParams(max_tokens=cap, seed=number),
        strategy="self_consistency:stop=none",
        task=kind,
    ):
        if isinstance(event, PlanMade) and plan is None:
            plan = event.plan
        if isinstance(event, Finished):
            answer = event.answer
    seconds = time.perf_counter() - began
    used = sum(process.cpu_times()[:2]) - used
    assert answer is not None
    assert plan is not None
    cores = psutil.cpu_count(logical=False) or 1
    lengths = [(len(s.tokens), s.complete) for s in answer.samples]
    cost = CostModel(host.times, before, power=power)
    joules = answer.usage.joules
    if joules is None:
        joules = seconds * power.at(used / (cores * seconds))
        # As the engine does of what its own meter says.
        CostModel(host.times, host.drift, power=power).observe_joules(joules, seconds)

    def predicted(law: LengthLaw) -> dict[str, Any]:
        work = Work(answer.usage.prompt_tokens, samples, plan.width, cap, law)
        return asdict(cost.predict(work))

    row = {
        "number": number,
        "kind": kind,
        "prompt": answer.usage.prompt_tokens,
        "samples": samples,
        "width": plan.width,
        "cap": cap,
        "seconds": seconds,
        "tokens": answer.usage.generated_tokens,
        "joules": joules,
        "lengths": lengths,
        "load": psutil.getloadavg()[0],
        "plan": asdict(plan.seconds) if getattr(plan, "seconds", None) is not None else None,
        "guessed": predicted(Lengths()),
        "learned": predicted(book.of(kind)),
        "true": predicted(KnownLengths(tuple(lengths))),
    }
    for tokens, ended in lengths:
        book.observe(kind, tokens, ended)
    return row


def _report(options: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    summary: dict[str, Any] = {}
    print(
        f"\n{len(rows)} runs{'':14} {'median error':>13} {'90th percentile':>16} {'in the 90% interval':>20} {'width / value':>14}"
    )
    for figure in ("seconds", "tokens", "joules"):
        for way in WAYS:
            summary[f"{figure}, {way} lengths"] = _scores(rows, figure, [row[way][figure] for row in rows])
    if all(row["plan"] for row in rows):
        summary["seconds, by the plan"] = _scores(rows, "seconds", [row["plan"] for row in rows])
    if len(rows) > options.after:
        known = rows[options.after :]
        for way in ("learned", "plan"):
            predicted = [row[way] if way == "plan" else row[way]["seconds"] for row in known]
            summary[f"seconds, {way}, after {options.after}"] = _scores(known, "seconds", predicted)
    for name, scores in summary.items():
        print(
            f"{name:26} {scores['median_error']:>12.1%} {scores['error_90']:>15.1%} "
            f"{scores['coverage']:>19.1%} {scores['relative_width']:>14.2f}"
        )
    body = {"benchmark": "prediction", "model": options.model or "default", "seed": options.seed}
    body |= {"command": command(), "device": device(), "runs": len(rows), "summary": summary}
    print(json.dumps(body))


def _scores(rows: list[dict[str, Any]], figure: str, predicted: list[dict[str, float]]) -> dict[str, float]:
    errors = [abs(p["value"] / row[figure] - 1) for row, p in zip(rows, predicted, strict=True)]
    inside = [p["low"] <= row[figure] <= p["high"] for row, p in zip(rows, predicted, strict=True)]
    widths = [(p["high"] - p["low"]) / p["value"] for p in predicted]
    return {
        "median_error": statistics.median(errors),
        "error_90": sorted(errors)[int(0.9 * (len(errors) - 1))],
        "coverage": statistics.fmean(inside),
        "relative_width": statistics.median(widths),
    }


if __name__ == "__main__":
    main()
