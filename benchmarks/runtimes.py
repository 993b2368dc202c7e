"""Our runtimes beside each other and beside a bare loop over llama.cpp: what is faster at what, and what auto takes.

    python benchmarks/runtimes.py --model FILE.gguf [--widths 1 2 4 8 16 32] [--samples 1 2 4 8 16]

Needs the extra llamacpp. Every contestant is a process (`peers.py`): `edgetts` is ours on ONNX Runtime, by the
bundle made of the file with `keep`; `adapter` ours on llama.cpp; `bare` a loop over llama.cpp's low-level functions
with a batch, sequences and a sampler chain each; `draft` and `adapter-draft` ours with guesses. Passes are greedy
and fed the same tokens; samples are whole answers at temperature 0.7. The last line is JSON.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import psutil
from interleave import OURS, PROMPT, add_arguments, interleave, open_contestants, print_json, spread

import edgetts
from edgetts.budget import Budget
from edgetts.types import SamplingParams

ADAPTER, BARE = "adapter", "bare"


def print_grid(title: str, columns: list[str], rows: dict[str, list[float]], digits: int = 1) -> None:
    print(f"\n{title}")
    print(f"{'':16}" + "".join(f"{column:>9}" for column in columns))
    for label, values in rows.items():
        print(f"{label:16}" + "".join(f"{value:>9.{digits}f}" for value in values))


def chosen(model: str, samples: list[int], tokens: int) -> dict[str, str]:
    """Ask auto, and return the runtime it took for each."""
    taken = {}
    with edgetts.load(model, notify=lambda sentence: print(sentence, file=sys.stderr)) as engine:
        for mode in ("plain", "auto"):
            answer = engine.answer(PROMPT, sampling=SamplingParams(max_tokens=tokens), decode=mode)
            taken[f"one sample, {mode}"] = f"{answer.plan.runtime} of {answer.plan.considered}"
        for count in samples:
            if count > 1:
                answer = engine.answer(
                    PROMPT, budget=Budget(samples=count), sampling=SamplingParams(max_tokens=tokens)
                )
                taken[f"{count} samples"] = f"{answer.plan.runtime} of {answer.plan.considered}"
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser, rounds=5)
    parser.add_argument("--widths", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--samples", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--steps", type=int, default=24, help="passes at each width")
    parser.add_argument("--tokens", type=int, default=48, help="tokens a sample")
    parser.add_argument("--drafting", action="store_true", help="one sample with guesses too")
    arguments = parser.parse_args()
    if not Path(arguments.model).is_file():
        raise SystemExit("--model must be a GGUF file, which all contestants can open.")
    arguments.peer += [f"{ADAPTER}:llamacpp={arguments.model}", f"{BARE}:llama={arguments.model}"]
    if arguments.drafting:
        arguments.peer += [
            f"draft:drafting={arguments.model}",
            f"adapter-draft:llamacpp-drafting={arguments.model}",
        ]
    contestants = open_contestants(arguments)
    labels = [c.label for c in contestants if not c.label.endswith("draft")]
    measuring = [c for c in contestants if c.label in labels]
    every = {}
    ids = [1000 + 7 * at % 2000 for at in range(200)]
    passes: dict[str, list[float]] = {label: [] for label in labels}
    for width in arguments.widths:
        asked = {"ids": ids, "width": width, "steps": arguments.steps}
        every[f"pass of {width}"] = found = interleave(measuring, "step", asked, arguments)
        for label in labels:
            passes[label].append(spread(found.values(label, "ms_per_pass"))["median"])
    against = [
        spread(every[f"pass of {width}"].ratios(BARE, "ms_per_pass", ADAPTER))["median"]
        for width in arguments.widths
    ]
    columns = [f"w={width}" for width in arguments.widths]
    print_grid("a pass over w sequences of 200 tokens, ms", columns, passes, 2)
    curves = {label: [value / values[0] for value in values] for label, values in passes.items()}
    print_grid("t(w) / t(1)", columns, curves, 2)
    print_grid("adapter over bare", columns, {"": against}, 3)

    rates: dict[str, list[float]] = {label: [] for label in labels}
    for count in arguments.samples:
        asked = {"prompt": PROMPT, "tokens": arguments.tokens, "samples": count, "temperature": 0.7}
        every[f"{count} samples"] = found = interleave(measuring, "batch", asked, arguments)
        for label in labels:
            rates[label].append(spread(found.values(label, "tokens_per_second"))["median"])
    print_grid("samples together, tokens a second", [f"N={n}" for n in arguments.samples], rates)

    long = [1000 + 7 * at % 2000 for at in range(512)]
    every["prompt"] = found = interleave(measuring, "prefill", {"ids": long}, arguments)
    prompts = {
        label: [1e3 * 512 / m for m in [spread(found.values(label, "tokens_per_second"))["median"]]]
        for label in labels
    }
    print_grid("until the first token of a prompt of 512", ["ms"], prompts)
    memory = {c.label: [psutil.Process(c.pid).memory_info().rss / 1e6] for c in measuring}
    print_grid("resident memory afterwards, mapped weights included", ["MB"], memory, 0)

    if arguments.drafting:
        asked = {"prompt": PROMPT, "tokens": 128}
        every["greedy answer"] = found = interleave(contestants, "decode", asked, arguments)
        alone = {c.label: [spread(found.values(c.label, "ms_per_token"))["median"]] for c in contestants}
        print_grid("a token of one greedy answer", ["ms"], alone, 2)
    versions = contestants
    for contestant in contestants:
        contestant.close()
    taken = chosen(arguments.model, arguments.samples, arguments.tokens)
    print("\nwhat auto took")
    for what, which in taken.items():
        print(f"{what:22}{which}")
    print_json("runtimes", versions, every, auto=taken, resident_mb=memory, ours=OURS)


if __name__ == "__main__":
    main()
