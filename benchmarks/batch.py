"""Throughput of several samples of one prompt, and what one costs beside a sample drawn alone.

    python benchmarks/batch.py --model smollm2-135m-instruct --peer llama=Q4_0.gguf --peer genai=DIR

Ours: `engine.answer` with that many samples; the worker asserts that the prompt was read once.
llama: that many sequences on one unified cache, low-level API, a sampler chain each. genai: one
generator with that batch size, which reads the prompt once for each row.
"""

from __future__ import annotations

import argparse

from interleave import (
    OURS,
    PROMPT,
    add_arguments,
    interleave,
    open_contestants,
    print_json,
    print_table,
    spread,
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser, rounds=5)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=64, help="tokens a sample")
    parser.add_argument("--temperature", type=float, default=0.7)
    arguments = parser.parse_args()
    contestants = open_contestants(arguments)
    asked = {"prompt": PROMPT, "tokens": arguments.tokens, "temperature": arguments.temperature}
    alone = interleave(contestants, "batch", asked | {"samples": 1}, arguments)
    together = interleave(contestants, "batch", asked | {"samples": arguments.samples}, arguments)
    for title, figure in (
        ("after the first token", "tokens_per_second"),
        ("with the prompt", "tokens_per_second_with_prompt"),
    ):
        print(f"\n{arguments.samples} samples, {title}")
        print_table(together, figure, "tokens/s")
    one, many = (spread(r.values(OURS, "tokens_per_second"))["median"] for r in (alone, together))
    print(f"\nours: a token of {arguments.samples} samples takes {one / many:.2f} of a token of one alone")
    print_json(
        "batch", contestants, {"alone": alone, "together": together}, cost_of_a_token=round(one / many, 4)
    )
    for contestant in contestants:
        contestant.close()


if __name__ == "__main__":
    main()
