"""What more samples are worth: gsm_symbolic problems with one sample, several, and a deadline.

    python benchmarks/gsm.py --model PATH_OR_NAME --problems 30 --seed 11 --samples 8 --deadline 20

Needs the package reasoning-gym, which makes the problems and scores the answers.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import reasoning_gym

import edgetts
from edgetts.types import Answer, SamplingParams

SYSTEM = (
    "You are a helpful assistant. Solve the problem step by step, briefly, and end with 'The answer is X'."
)


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
    modes = {
        "1 sample": edgetts.Budget(samples=1),
        f"{options.samples} samples": edgetts.Budget(samples=options.samples),
        f"deadline {options.deadline:g} s": edgetts.Budget(seconds=options.deadline),
    }
    results: dict[str, list[tuple[float, Answer, float]]] = {mode: [] for mode in modes}
    with edgetts.load(options.model, quantize=options.quantize, notify=print) as engine:
        for i in range(options.problems):
            problem = data[i]
            for mode, budget in modes.items():
                began = time.perf_counter()
                answer = engine.answer(problem["question"], system=SYSTEM, budget=budget, sampling=sampling)
                took = time.perf_counter() - began
                score = data.score_answer(answer=answer.answer, entry=problem) if answer.answer else 0.0
                results[mode].append((float(score >= 1.0), answer, took))
                print(
                    f"{i:3d} {mode:14} {'right' if score >= 1 else 'wrong'} {answer.answer or '-':>12.12} "
                    f"{problem['answer']:>10.10} {took:6.1f} s {answer.usage.generated_tokens:6d} tokens "
                    f"{answer.usage.samples:3d} samples {answer.stop_reason}",
                    flush=True,
                )
    print(
        f"\n{'mode':16} {'right':>8} {'tokens a problem':>18} {'median s':>10} {'worst s':>9} {'samples':>8}"
    )
    summary = {}
    for mode, runs in results.items():
        right = sum(r[0] for r in runs)
        tokens = statistics.mean(r[1].usage.generated_tokens for r in runs)
        seconds = [r[2] for r in runs]
        drawn = statistics.mean(r[1].usage.samples for r in runs)
        print(
            f"{mode:16} {right:3.0f} / {len(runs)} {tokens:18.0f} {statistics.median(seconds):10.1f} "
            f"{max(seconds):9.1f} {drawn:8.1f}"
        )
        summary[mode] = {
            "right": right,
            "problems": len(runs),
            "tokens": tokens,
            "median_seconds": statistics.median(seconds),
            "worst_seconds": max(seconds),
        }
    print(json.dumps({"benchmark": "gsm", "model": options.model, "seed": options.seed, "summary": summary}))


if __name__ == "__main__":
    main()
