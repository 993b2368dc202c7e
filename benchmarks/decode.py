"""Time per token of one greedy answer, as a user sees it: sampling, text and streaming included.

    python benchmarks/decode.py --model smollm2-135m-instruct --peer llama=Q4_0.gguf --peer genai=DIR \\
        --python llama=VENV/bin/python --python genai=VENV/bin/python

The clock starts with the first token, so the prompt is not in it. `--bare` measures passes alone,
without sampling and text, at each of `--widths`: branches that share the prompt, one token each.
`--questions` asks as many different ones of a class as there are rounds; `--speculate` lets ours draft.
"""

from __future__ import annotations

import argparse

from interleave import (
    OURS,
    PROMPT,
    Results,
    add_arguments,
    interleave,
    open_contestants,
    print_json,
    print_table,
)
from questions import CLASSES, questions

_LEAST = 16


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser, rounds=9)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--bare", action="store_true")
    parser.add_argument("--questions", choices=CLASSES, help="ask these, each once, instead of one story")
    parser.add_argument("--speculate", action="store_true", help="ours drafts where it expects to gain")
    parser.add_argument("--widths", type=int, nargs="+", default=[1, 8])
    arguments = parser.parse_args()
    contestants = open_contestants(arguments, "drafting" if arguments.speculate else OURS)
    results = {}
    if arguments.bare:
        ids = [1000 + 7 * i for i in range(200)]
        for width in arguments.widths:
            asked = {"ids": ids, "width": width, "steps": min(arguments.tokens, 200)}
            results[f"width {width}"] = interleave(contestants, "step", asked, arguments)
            print(f"\nwidth {width}")
            print_table(results[f"width {width}"], "ms_per_pass", "ms a pass", 2)
    elif arguments.questions:
        together: Results | None = None
        for question in questions(arguments.questions, arguments.rounds, seed=11):
            once = argparse.Namespace(**vars(arguments) | {"rounds": 1})
            asked = {"prompt": question, "tokens": arguments.tokens}
            together = interleave(contestants, "decode", asked, once, into=together)
        assert together is not None
        together.drop_short(_LEAST)
        print(f"{len(together.rounds[OURS])} questions that all answered with {_LEAST} tokens or more")
        results["decode"] = together
        print_table(together, "ms_per_token", "ms a token", 2)
    else:
        asked = {"prompt": PROMPT, "tokens": arguments.tokens}
        results["decode"] = interleave(contestants, "decode", asked, arguments)
        drawn = min(min(results["decode"].values(c.label, "tokens")) for c in contestants)
        assert drawn >= _LEAST, f"only {drawn} tokens were drawn: choose another prompt"
        print_table(results["decode"], "ms_per_token", "ms a token", 2)
    print_json("decode", contestants, results)
    for contestant in contestants:
        contestant.close()


if __name__ == "__main__":
    main()
