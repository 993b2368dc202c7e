"""Constrained decoding: is everything valid, and what does a token cost beside an unconstrained one.

    python benchmarks/constrained.py --model smollm2-135m-instruct --seeds 3 --samples 5

Answers the questions of tests/data/schemas.json, several samples each, kept to their JSON schemas, and checks every sample that
is drawn with the package jsonschema; those that the limit of tokens had end are counted apart. Then the same questions in turns:
kept to the schema by a mask, by rejection, and not at all with as many tokens, plain decoding; the ratio is of seconds a
token after the first, within each turn. Compile and mask times are of the compiler and the matchers alone, on this vocabulary. The
last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from interleave import command, device, spread
from jsonschema import Draft202012Validator

import edgetts
from edgetts.engine import Engine
from edgetts.structure import JsonSchema
from edgetts.structure.compiler import Compiler
from edgetts.types import Answer, DecodeParams, SamplingParams

SCHEMAS = Path(__file__).parent.parent / "tests" / "data" / "schemas.json"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=None)
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--schemas", type=Path, default=SCHEMAS)
    parser.add_argument("--seeds", type=int, default=3, help="0 leaves out the check of validity")
    parser.add_argument(
        "--samples", type=int, default=5, help="of each question with each seed, side by side"
    )
    parser.add_argument("--max-tokens", type=int, default=400)
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--rounds", type=int, default=3, help="of the comparison of costs; 0 is none")
    options = parser.parse_args()
    entries = json.loads(options.schemas.read_text(encoding="utf-8"))
    with edgetts.load(options.model, runtime=options.runtime, measure=False) as engine:
        times = _compiling(engine, entries)
        counts, rows = _validity(engine, entries, options)
        costs = _costs(engine, entries, options)
        model = engine.model
    print(
        f"{'schema':22} {'valid':>6} {'closed':>7} {'wrong':>6} {'tokens':>7} {'compile ms':>11} {'mask us':>8}"
    )
    by_name = {row["name"]: row for row in rows}
    for name, (compile_ms, mask_us) in times["schemas"].items():
        row = by_name.get(name, {"valid": 0, "closed": 0, "wrong": 0, "tokens": 0})
        print(
            f"{name:22} {row['valid']:>6} {row['closed']:>7} {row['wrong']:>6} {row['tokens']:>7.0f} "
            f"{compile_ms:>11.1f} {mask_us:>8.0f}"
        )
    print(f"{'all':22} {counts['valid']:>6} {counts['closed']:>7} {counts['wrong']:>6}")
    print(f"first compile, with the vocabulary: {times['first_seconds']:.2f} s")
    for name, ratio in costs.items():
        print(
            f"a token by {name}: {ratio['median']:.3f} of an unconstrained one ({ratio['low']:.3f} .. {ratio['high']:.3f})"
        )
    body = {
        "benchmark": "constrained",
        "command": command(),
        "device": device(),
        "model": model,
        "counts": counts,
        "cost_ratio": costs,
        **times,
    }
    print(json.dumps(body))


def _compiling(engine: Engine, entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Time compiling each schema, and the masks along a text that the model then writes."""
    info = engine.session.info
    compiler = Compiler(engine.tokenizer, info.vocab, info.end_tokens)
    began = time.perf_counter()
    compiler.compile(JsonSchema(entries[0]["schema"]))
    first = time.perf_counter() - began
    schemas = {}
    for entry in entries:
        took = []
        for _ in range(5):
            began = time.perf_counter()
            constraint = compiler.compile(JsonSchema(entry["schema"]))
            took.append(time.perf_counter() - began)
        answer = _ask(engine, entry, 0, 1, 100, temperature=0.0)
        matcher, masks = constraint.start(), []
        for token in answer.samples[0].tokens:
            began = time.perf_counter()
            matcher.allowed()
            masks.append(time.perf_counter() - began)
            matcher.take(token)
        schemas[entry["name"]] = (statistics.median(took) * 1e3, statistics.median(masks) * 1e6)
    return {"first_seconds": first, "schemas": schemas}


def _validity(
    engine: Engine, entries: list[dict[str, Any]], options: argparse.Namespace
) -> tuple[dict[str, int], list[dict[str, Any]]]:
    counts = {"valid": 0, "closed": 0, "wrong": 0}
    rows = []
    for entry in entries if options.seeds else ():
        row: dict[str, Any] = {"name": entry["name"], "valid": 0, "closed": 0, "wrong": 0}
        validator = Draft202012Validator(entry["schema"])
        lengths = []
        for seed in range(options.seeds):
            answer = _ask(engine, entry, seed, options.samples, options.max_tokens, options.temperature)
            for sample in answer.samples:
                kind = _judge(validator, sample.text)
                if kind == "valid" and not sample.complete:
                    kind = "closed"
                row[kind] += 1
                counts[kind] += 1
                lengths.append(len(sample.tokens))
        rows.append(row | {"tokens": statistics.fmean(lengths)})
        print(rows[-1], flush=True)
    return counts, rows


def _judge(validator: Draft202012Validator, text: str) -> str:
    try:
        value = json.loads(text)
    except ValueError:
        print("not JSON:", text)
        return "wrong"
    if validator.is_valid(value):
        return "valid"
    print("not by the schema:", text)
    return "wrong"


def _ask(
    engine: Engine,
    entry: dict[str, Any],
    seed: int,
    samples: int,
    max_tokens: int,
    temperature: float,
    **more: Any,
) -> Answer:
    return engine.answer(
        f"{entry['ask']} Answer in JSON.",
        constraint=JsonSchema(entry["schema"]),
        budget=edgetts.Budget(samples=samples),
        strategy="independent" if samples > 1 else None,
        sampling=SamplingParams(seed=seed, max_tokens=max_tokens, temperature=temperature, **more),
        decode=DecodeParams("plain"),
    )


def _costs(
    engine: Engine, entries: list[dict[str, Any]], options: argparse.Namespace
) -> dict[str, dict[str, float]]:
    ratios: dict[str, list[float]] = {"mask": [], "rejection": []}
    for number in range(options.rounds):
        for entry in entries:
            for name, ratio in _turn(engine, entry, number):
                ratios[name].append(ratio)
    return {name: spread(values) for name, values in ratios.items() if values}


def _turn(engine: Engine, entry: dict[str, Any], seed: int) -> Iterator[tuple[str, float]]:
    """Yield seconds a token over those of unconstrained decoding with as many tokens, where those are enough to tell."""
    for name in ("mask", "rejection"):
        kept = _ask(engine, entry, seed, 1, 80, 0.8, constraining=name)
        tokens = len(kept.samples[0].tokens)
        if tokens < 12:
            continue
        free = engine.answer(
            f"{entry['ask']} Answer with a long story.",
            sampling=SamplingParams(seed=seed, max_tokens=tokens, temperature=0.8),
            decode=DecodeParams("plain"),
        )
        if (
            len(free.samples[0].tokens) == tokens
            and kept.usage.tokens_per_second
            and free.usage.tokens_per_second
        ):
            yield name, free.usage.tokens_per_second / kept.usage.tokens_per_second


if __name__ == "__main__":
    main()
