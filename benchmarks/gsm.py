"""What more samples are worth: gsm_symbolic problems with one sample, several, and a deadline.

    python benchmarks/gsm.py --model PATH_OR_NAME --problems 30 --seed 11 --samples 8 --deadline 20

Needs the package reasoning-gym, which makes the problems and scores the answers. The first sample
of several is the greedy one, so it is also the answer of "1 sample", which is not run again. Ctrl-C
ends the run and prints what there is.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import NamedTuple

import reasoning_gym

import edgetts
from edgetts.types import SamplingParams

SYSTEM = (
    "You are a helpful assistant. Solve the problem step by step, briefly, and end with 'The answer is X'."
)


class Run(NamedTuple):
    """What one mode did with one problem; seconds are not a number where it was not run for itself."""

    right: bool
    tokens: int
    seconds: float
    samples: int


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="qwen2.5-coder-0.5b-instruct")
    parser.add_argument("--quantize", default=None)
    parser.add_argument("--problems", type=int, default=30)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--deadline", type=float, default=20.0)
    parser.add_argument("--max-tokens", type=int, default=448)
    options = parser.parse_args()
    data = reasoning_gym.create_dataset("gsm_symbolic", size=options.problems, seed=options.seed)
    sampling = SamplingParams(max_tokens=options.max_tokens, top_k=40)
    several, timed = f"{options.samples} samples", f"deadline {options.deadline:g} s"
    modes = {
        several: edgetts.Budget(samples=options.samples),
        timed: edgetts.Budget(seconds=options.deadline),
    }
    results: dict[str, list[Run]] = {"1 sample": [], several: [], timed: []}
    with edgetts.load(options.model, quantize=options.quantize, notify=print) as engine:
        try:
            for i in range(options.problems):
                problem = data[i]
                found: list[tuple[str, str | None, Run]] = []
                for mode, budget in modes.items():
                    began = time.perf_counter()
                    answer = engine.answer(
                        problem["question"], system=SYSTEM, budget=budget, sampling=sampling
                    )
                    took = time.perf_counter() - began
                    if mode == several:
                        first = answer.samples[0]
                        right = is_right(data, problem, first.answer)
                        one = Run(right, len(first.tokens), float("nan"), 1)
                        found.append(("1 sample", first.answer, one))
                    right = is_right(data, problem, answer.answer)
                    run = Run(right, answer.usage.generated_tokens, took, answer.usage.samples)
                    found.append((mode, answer.answer, run))
                for mode, text, run in found:
                    results[mode].append(run)
                    print(
                        f"{i:3d} {mode:14} {'right' if run.right else 'wrong'} {text or '-':>12.12} "
                        f"{problem['answer']:>10.10} {run.seconds:6.1f} s {run.tokens:6d} tokens "
                        f"{run.samples:3d} samples",
                        flush=True,
                    )
        except KeyboardInterrupt:
            print("interrupted")
    report(options, results)


def is_right(data: object, problem: object, found: str | None) -> bool:
    return found is not None and data.score_answer(answer=found, entry=problem) >= 1


def report(options: argparse.Namespace, results: dict[str, list[Run]]) -> None:
    heading = ("mode", "right", "tokens a problem", "median s", "worst s", "samples")
    print("\n{:16} {:>9} {:>18} {:>10} {:>9} {:>8}".format(*heading))
    summary = {}
    for mode, runs in results.items():
        count = sum(run.right for run in runs)
        tokens = statistics.mean(run.tokens for run in runs)
        seconds = sorted(run.seconds for run in runs)
        drawn = statistics.mean(run.samples for run in runs)
        print(
            f"{mode:16} {count:3d} / {len(runs):3d} {tokens:18.0f} {statistics.median(seconds):10.1f} "
            f"{seconds[-1]:9.1f} {drawn:8.1f}"
        )
        summary[mode] = {"right": count, "problems": len(runs), "tokens": tokens, "samples": drawn}
        if mode != "1 sample":
            summary[mode] |= {"median_seconds": statistics.median(seconds), "worst_seconds": seconds[-1]}
    print(json.dumps({"benchmark": "gsm", "model": options.model, "seed": options.seed, "summary": summary}))


if __name__ == "__main__":
    main()
