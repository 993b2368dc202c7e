"""Speed of reading a prompt: the call that fills the cache and yields the last position's logits.

    python benchmarks/prefill.py --model smollm2-135m-instruct --peer llama=Q4_0.gguf --peer genai=DIR

onnxruntime-genai computes the logits of every position.
"""

from __future__ import annotations

import argparse

from interleave import add_arguments, interleave, open_contestants, print_json, print_table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser, rounds=5)
    parser.add_argument("--lengths", type=int, nargs="+", default=[512])
    arguments = parser.parse_args()
    contestants = open_contestants(arguments)
    results = {}
    for length in arguments.lengths:
        # Ids that every vocabulary of ordinary size has; their meaning makes no difference to the time.
        ids = [300 + (7919 * i) % 20000 for i in range(length)]
        results[f"{length} tokens"] = interleave(contestants, "prefill", {"ids": ids}, arguments)
        print(f"\n{length} tokens")
        print_table(results[f"{length} tokens"], "tokens_per_second", "tokens/s", 0)
    print_json("prefill", contestants, results)
    for contestant in contestants:
        contestant.close()


if __name__ == "__main__":
    main()
