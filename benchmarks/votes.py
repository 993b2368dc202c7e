"""What more samples are worth: replay recorded samples through extraction and the vote, without a model.

    python benchmarks/votes.py TRACES.jsonl

Accuracy at k samples is the mean over problems and over subsets of k of a problem's samples: all of
them for one sample and for all, otherwise `--subsets` random ones (seeded). "ties shared" gives each
of m tied answers 1/m of the credit, which is what breaking ties by chance expects. "naive regex" is
the same with a plain pattern for the answer, for comparison. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from edgetts.selection.aggregation import Tally, Vote, self_consistency
from edgetts.selection.answers import extract
from edgetts.selection.answers.canonical import canonical_number

SIZES = (1, 2, 4, 8, 16)
ROWS = ("self-consistency", "ties shared", "naive regex, ties shared", "some sample right")


def naive(text: str) -> str | None:
    number = r"-?\d[\d,]*\.?\d*"
    for pattern in (rf"\\boxed\{{[^}}\d-]*({number})", rf"(?i)answer is\D{{0,20}}?({number})", f"({number})"):
        if found := re.findall(pattern, text):
            return canonical_number(found[-1])
    return None


def subsets(indices: Sequence[int], size: int, count: int, rng: random.Random) -> Iterator[Sequence[int]]:
    if size == 1:
        yield from ([index] for index in indices)
    elif size == len(indices):
        yield indices
    else:
        yield from (rng.sample(indices, size) for _ in range(count))


def right(answer: str | None, truth: str) -> bool:
    try:
        return answer is not None and Fraction(answer) == Fraction(truth)
    except ValueError:  # the answer is text
        return False


def shared_credit(tally: Tally, truth: str) -> float:
    tied = [answer for answer, votes in tally.counts.items() if votes == tally.counts[tally.answer or ""]]
    return sum(right(answer, truth) for answer in tied) / len(tied)


def replay(path: Path, count: int, seed: int) -> dict[str, Any]:
    with path.open(encoding="utf-8") as lines:
        problems = [record for record in map(json.loads, lines) if record.get("kind") != "header"]
    sizes = [size for size in SIZES if size <= min(len(problem["samples"]) for problem in problems)]
    accuracy = {row: dict.fromkeys(sizes, 0.0) for row in ROWS}
    rng = random.Random(seed)  # noqa: S311  # not for secrets
    for problem in problems:
        votes, naive_votes = [], []
        for index, sample in enumerate(problem["samples"]):
            found = extract(sample["text"], complete=sample["finished"])
            logprob, tokens = math.fsum(sample["logprobs"]), len(sample["tokens"])
            stated = found is not None and found.explicit
            answer = found.canonical if found else None
            votes.append(Vote(index, answer, logprob, tokens, sample["finished"], stated))
            naive_votes.append(Vote(index, naive(sample["text"]), logprob, tokens))
        for size in sizes:
            drawn = list(subsets(range(len(votes)), size, count, rng))
            for chosen in drawn:
                credit = 1 / len(drawn) / len(problems)
                tally = self_consistency([votes[i] for i in chosen])
                plain = self_consistency([naive_votes[i] for i in chosen])
                truth = problem["answer"]
                accuracy["self-consistency"][size] += credit * right(tally.answer, truth)
                accuracy["some sample right"][size] += credit * any(right(a, truth) for a in tally.counts)
                if tally.counts:
                    accuracy["ties shared"][size] += credit * shared_credit(tally, truth)
                if plain.counts:
                    accuracy["naive regex, ties shared"][size] += credit * shared_credit(plain, truth)
    accuracy = {row: {size: round(share, 4) for size, share in of.items()} for row, of in accuracy.items()}
    return {"problems": len(problems), "subsets": count, "seed": seed, "accuracy": accuracy}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("traces", type=Path)
    parser.add_argument("--subsets", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    result = replay(arguments.traces, arguments.subsets, arguments.seed)
    sizes = list(result["accuracy"][ROWS[0]])
    print(f"{'samples':>26}", *(f"{size:>6}" for size in sizes))
    for row in ROWS:
        print(f"{row:>26}", *(f"{100 * result['accuracy'][row][size]:5.1f}%" for size in sizes))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
