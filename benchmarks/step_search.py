"""Step-level search beside self-consistency at equal tokens, on recorded gsm_symbolic problems.

    python benchmarks/step_search.py --model PATH --recording RUN.jsonl --problems 60 --tokens 1000

Each strategy answers the recording's first problems within a budget of tokens, those read to score steps
included. Self-consistency takes recorded samples of the same problem and model for as long as they fit the tokens
that the strategy spent, averaged over `--orders` seeded orders of the samples, and so is not run again. Results are
written to `--out` line by line, and a run that was interrupted goes on where it stopped. Table first, JSON last.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from pathlib import Path
from typing import Any

from recordings import found_in, right, vote_of

import edgetts
from edgetts.selection.aggregation import Vote, self_consistency

STRATEGIES = (
    "particle",
    "particle:annealing=true,successors=2",
    "rebase",
    "a_star",
    "beam",
    "particle:scorer=logprob",
)


def vote_within(problem: dict[str, Any], tokens: int, orders: int, rng: random.Random) -> float:
    """Return how often a vote of as many recorded samples as fit the tokens is right; one sample in any case."""
    hits = 0.0
    samples = problem["samples"]
    for _ in range(orders):
        votes: list[Vote] = []
        left = tokens
        for i in rng.sample(range(len(samples)), len(samples)):
            sample = samples[i]
            if votes and len(sample["tokens"]) > left:
                break
            left -= len(sample["tokens"])
            votes.append(vote_of(i, sample, found_in(sample)))
        hits += right(self_consistency(votes).answer, problem["answer"])
    return hits / orders


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--recording", type=Path, required=True)
    parser.add_argument("--problems", type=int, default=60)
    parser.add_argument("--tokens", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--strategies", nargs="+", default=STRATEGIES)
    parser.add_argument("--splitter", default="line")
    parser.add_argument("--orders", type=int, default=200)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    lines = [json.loads(line) for line in options.recording.read_text(encoding="utf-8").splitlines()]
    header, problems = lines[0], lines[1 : 1 + options.problems]
    done: dict[tuple[str, str], dict[str, Any]] = {}
    if options.out.exists():
        for line in options.out.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            done[row["strategy"], row["id"]] = row
    with edgetts.load(options.model, measure=False) as engine, options.out.open("a", encoding="utf-8") as out:
        for number, problem in enumerate(problems):
            for strategy in options.strategies:
                if (strategy, problem["id"]) in done:
                    continue
                joint = "," if ":" in strategy else ":"
                began = time.perf_counter()
                answer = engine.answer(
                    problem["question"],
                    system=header["system"],
                    strategy=f"{strategy}{joint}splitter={options.splitter}",
                    budget=edgetts.Budget(samples=options.samples, tokens=options.tokens),
                    sampling=edgetts.SamplingParams(max_tokens=448, top_k=40, seed=number),
                )
                row = {
                    "strategy": strategy,
                    "id": problem["id"],
                    "right": right(answer.answer, problem["answer"]),
                    "generated": answer.usage.generated_tokens,
                    "scoring": answer.usage.scoring_tokens,
                    "seconds": round(time.perf_counter() - began, 2),
                    "stop": answer.stop_reason,
                }
                done[strategy, problem["id"]] = row
                out.write(json.dumps(row) + "\n")
                out.flush()
                print(number, strategy, row["right"], row["generated"], row["scoring"], flush=True)
    report(options, problems, done)


def report(
    options: argparse.Namespace, problems: list[dict[str, Any]], done: dict[tuple[str, str], dict[str, Any]]
) -> None:
    rng = random.Random(0)  # noqa: S311  # not for secrets
    heading = ("strategy", "right", "vote, equal tokens", "difference, 95%", "tokens", "scoring", "ended")
    print("{:40} {:>7} {:>19} {:>24} {:>7} {:>8} {:>6}".format(*heading))
    summary = {}
    for strategy in options.strategies:
        rows = [done[strategy, problem["id"]] for problem in problems]
        votes = [
            vote_within(problem, row["generated"] + row["scoring"], options.orders, rng)
            for problem, row in zip(problems, rows, strict=True)
        ]
        gaps = [row["right"] - vote for row, vote in zip(rows, votes, strict=True)]
        means = sorted(statistics.mean(rng.choices(gaps, k=len(gaps))) for _ in range(2000))
        low, high = means[50], means[1949]
        accuracy, voted = statistics.mean(r["right"] for r in rows), statistics.mean(votes)
        tokens = statistics.mean(r["generated"] + r["scoring"] for r in rows)
        scoring = statistics.mean(r["scoring"] for r in rows)
        ended = statistics.mean(r["stop"] == "complete" for r in rows)
        print(
            f"{strategy:40} {accuracy:7.1%} {voted:19.1%} {statistics.mean(gaps):+8.1%} [{low:+.1%}, {high:+.1%}] "
            f"{tokens:7.0f} {scoring:8.0f} {ended:6.0%}"
        )
        summary[strategy] = {"right": accuracy, "vote": voted, "low": low, "high": high, "tokens": tokens}
    print(
        json.dumps(
            {
                "benchmark": "step_search",
                "problems": len(problems),
                "tokens": options.tokens,
                "summary": summary,
            }
        )
    )


if __name__ == "__main__":
    main()
