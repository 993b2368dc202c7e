"""Leaving the network early beside full depth: speed, agreement, and right answers.

    python benchmarks/early_exit.py --model BUNDLE [--targets 0.95 0.98 0.99] [--problems 50] [--criteria ...]

Problems of gsm_symbolic (package reasoning-gym), greedy, one sample. Every problem runs once in every mode, in
turns. Full depth runs twice: in one graph, as it does by default, and in segments, as leaving early needs. A
token agrees if it is what the whole network would have drawn there; tokens that left are compared when
their late layers are computed, those of full depth agree by definition. Under a schedule late layers are
never computed, so that nothing is known. The last line is JSON. Ctrl-C
prints what there is.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from dataclasses import dataclass, field
from importlib.metadata import version

import reasoning_gym
from interleave import command, device

import edgetts
from edgetts.errors import InvalidInput
from edgetts.types import DecodeParams, LeaveEarly, SamplingParams

SYSTEM = (
    "You are a helpful assistant. Solve the problem step by step, briefly, and end with 'The answer is X'."
)
WHOLE, SEGMENTS = "whole graph", "in segments"


@dataclass
class Mode:
    """What one mode did: rates in tokens a second, and counts."""

    params: DecodeParams
    rates: list[float] = field(default_factory=list)
    tokens: int = 0
    left: int = 0
    wrong: float = 0.0
    layers: float = 0.0
    right: int = 0


def measure(engine: edgetts.Engine, mode: Mode, problem: dict[str, str], data: object, most: int) -> None:
    answer = engine.answer(
        problem["question"],
        system=SYSTEM,
        sampling=SamplingParams(temperature=0.0, max_tokens=most),
        decode=mode.params,
    )
    usage = answer.usage
    mode.rates.append(usage.tokens_per_second or math.nan)
    mode.tokens += usage.generated_tokens
    found = answer.answer or answer.samples[0].answer
    mode.right += found is not None and data.score_answer(answer=found, entry=problem) >= 1  # type: ignore[attr-defined]
    early = usage.early_exits
    depth = engine.session.info.layers
    if early is None:
        mode.layers += depth * usage.generated_tokens
        return
    left = sum(early.left.values())
    mode.left += left
    mode.layers += early.mean_depth * early.tokens
    mode.wrong += math.nan if left and early.agreement is None else (1 - (early.agreement or 1.0)) * left


def warmed_up(engine: edgetts.Engine, name: str, mode: Mode) -> bool:
    """Run a mode once; tell, and return False, where the model's exits do not reach what it asks for."""
    try:
        engine.answer(
            "Count to ten.", sampling=SamplingParams(temperature=0.0, max_tokens=16), decode=mode.params
        )
    except InvalidInput as error:
        print(f"{name}: {error}")
        return False
    return True


def print_table(modes: dict[str, Mode], problems: int) -> None:
    print(
        f"\n{'':34}{'tokens/s':>9}{'x whole':>9}{'left':>7}{'agree':>8}{'layers':>8}{'right':>7} of {problems}"
    )
    for name, mode in modes.items():
        if not mode.rates:
            continue
        pairs = zip(mode.rates, modes[WHOLE].rates, strict=True)
        against = [math.log(a / b) for a, b in pairs if a > 0 and b > 0]
        print(
            f"{name:34}{statistics.median(mode.rates):>9.1f}{math.exp(statistics.fmean(against)):>9.2f}"
            f"{mode.left / mode.tokens:>7.0%}{1 - mode.wrong / mode.tokens:>8.1%}"
            f"{mode.layers / mode.tokens:>8.1f}{mode.right:>7}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=None)
    parser.add_argument("--targets", type=float, nargs="+", default=[0.95, 0.98, 0.99])
    parser.add_argument("--criteria", nargs="+", default=["confidence"])
    parser.add_argument("--schedule", type=int, nargs="*", default=[], help="tokens a step, of a schedule")
    parser.add_argument("--problems", type=int, default=50)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--seed", type=int, default=11)
    options = parser.parse_args()
    data = reasoning_gym.create_dataset("gsm_symbolic", size=options.problems, seed=options.seed)
    modes = {WHOLE: Mode(DecodeParams("plain")), SEGMENTS: Mode(DecodeParams("plain"))}
    for criterion in options.criteria:
        for target in options.targets:
            leave = LeaveEarly(agreement=target, criterion=criterion)
            modes[f"{criterion}, agreement {target:g}"] = Mode(DecodeParams(early_exit=leave))
    for every in options.schedule:
        leave = LeaveEarly(strictness=every, criterion="schedule")
        modes[f"schedule, every {every}"] = Mode(DecodeParams(early_exit=leave))
    done = 0
    with (
        edgetts.load(options.model, notify=print) as whole,
        edgetts.load(options.model, by_segment=True) as cut,
    ):
        for name in list(modes):
            if not warmed_up(whole if name == WHOLE else cut, name, modes[name]):
                del modes[name]
        names = list(modes)
        try:
            for i in range(options.problems):
                for name in names[i % len(names) :] + names[: i % len(names)]:
                    measure(whole if name == WHOLE else cut, modes[name], data[i], data, options.tokens)
                done += 1
        except KeyboardInterrupt:
            print("interrupted")
            for mode in modes.values():
                del mode.rates[done:]
    print_table(modes, done)
    facts = {"benchmark": "early_exit", "command": command(), "device": device()}
    results = {
        name: {
            "tokens_per_second": round(statistics.median(mode.rates), 2),
            "left": round(mode.left / mode.tokens, 4),
            "agreement": round(1 - mode.wrong / mode.tokens, 4),
            "layers": round(mode.layers / mode.tokens, 2),
            "right": int(mode.right),
        }
        for name, mode in modes.items()
        if mode.rates
    }
    print(
        json.dumps(
            facts | {"versions": {"edgetts": version("edgetts")}, "problems": done, "results": results}
        )
    )


if __name__ == "__main__":
    main()
