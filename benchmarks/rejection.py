"""What a constrained token costs by masking and by adaptive rejection, on a model's own logits.

    python benchmarks/rejection.py [--model BUNDLE] [--schemas FILE] [--count 20] [--tokens 48] [--temperatures 0 0.7 1]

Each schema's answer is decoded once by masking, and the logits of all its places are kept; then at every place one token
is drawn without a constraint, by masking and by rejection, in turns, from matchers that stand there and have computed no
mask yet. A draw's time contains the matcher's step by its token. Schemas: a JSON list of objects with `ask` and `schema`.
Z is the share of the model's probability that is allowed at a place; where it is low, rejection asks for many tokens, and
then falls back on the mask. The estimates of Z are compared with it over all draws. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from interleave import command, device
from numpy.typing import NDArray

import edgetts
from edgetts.chat import ChatTemplate, Message, encode_chat
from edgetts.decoding.constraint import Constraint, Matcher
from edgetts.decoding.rejection import PATIENCE
from edgetts.decoding.sampling import Sampler
from edgetts.structure import JsonSchema
from edgetts.structure.compiler import Compiler
from edgetts.types import SamplingParams

SCHEMAS = Path(__file__).parent.parent / "tests" / "data" / "schemas.json"
MODES = ("free", "mask", "rejection")


class Counting:
    """A matcher, and how often it was asked."""

    def __init__(self, matcher: Matcher) -> None:
        self.matcher = matcher
        self.asked = self.masks = 0

    def allowed(self) -> NDArray[np.bool_]:
        self.masks += 1
        return self.matcher.allowed()

    def allows(self, token: int) -> bool:
        self.asked += 1
        return self.matcher.allows(token)

    def prefix(self, tokens: Sequence[int]) -> int:
        return self.matcher.prefix(tokens)

    def take(self, token: int) -> None:
        self.matcher.take(token)

    def copy(self) -> Matcher:
        return self.matcher.copy()


@dataclass(frozen=True)
class Place:
    """Logits [V] of a place in an answer, and a constraint with the tokens that lead there."""

    logits: NDArray[np.float32]
    constraint: Constraint
    tokens: tuple[int, ...]

    def matcher(self) -> Counting:
        matcher = self.constraint.start()
        for token in self.tokens:
            matcher.take(token)
        return Counting(matcher)


@dataclass
class Mode:
    """What one way of drawing took, draw by draw."""

    seconds: list[float] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    masks: list[int] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        tenths = statistics.quantiles(self.seconds, n=10)
        return {
            "median_us": round(statistics.median(self.seconds) * 1e6, 1),
            "mean_us": round(statistics.fmean(self.seconds) * 1e6, 1),
            "p90_us": round(tenths[-1] * 1e6, 1),
            "allows_per_token": round(statistics.fmean(self.asked), 3),
            "masks_per_token": round(statistics.fmean(self.masks), 3),
            "mean_share": round(statistics.fmean(self.shares), 5),
            "share_error": round(statistics.stdev(self.shares) / math.sqrt(len(self.shares)), 5),
        }


def places(
    engine: edgetts.Engine, ask: str, constraint: Constraint, tokens: int, temperature: float, seed: int
) -> Iterator[Place]:
    """Decode an answer by masking, and yield its places."""
    template = ChatTemplate.for_tokenizer(engine.tokenizer)
    session = engine.session
    sampler = Sampler(SamplingParams(temperature=temperature, seed=seed), matcher=constraint.start())
    branch, logits = session.prefill(encode_chat(engine.tokenizer, template, [Message("user", ask)]))
    said: tuple[int, ...] = ()
    try:
        while len(said) < tokens:
            yield Place(logits.copy(), constraint, said)
            token = sampler.draw(logits).token
            if token in session.info.end_tokens:
                break
            said = (*said, token)
            logits = session.step([branch], [token])[0]
    finally:
        session.free(branch)


def measure(found: Sequence[Place], temperature: float, results: dict[str, Mode], repeats: int) -> None:
    for turn in range(repeats):
        for number, place in enumerate(found):
            for name in (MODES * 2)[(number + turn) % len(MODES) :][: len(MODES)]:
                matcher = None if name == "free" else place.matcher()
                params = SamplingParams(
                    temperature=temperature,
                    seed=1000 * turn + number,
                    constraining="rejection" if name == "rejection" else "mask",
                )
                sampler = Sampler(params, matcher=matcher)
                # Its memory belongs to the sample, not to the token.
                sampler._scratch = np.empty_like(place.logits)
                began = time.perf_counter()
                drawn = sampler.draw(place.logits)
                mode = results[name]
                mode.seconds.append(time.perf_counter() - began)
                mode.asked.append(0 if matcher is None else matcher.asked)
                mode.masks.append(0 if matcher is None else matcher.masks)
                mode.shares.append(math.exp(drawn.log_share))


def print_table(title: str, results: dict[str, Mode]) -> None:
    print(f"\n{title}")
    print(
        f"{'':10} {'median us':>10} {'mean us':>10} {'p90 us':>10} {'allows':>8} {'masks':>8} {'mean Z':>9}"
    )
    for name, mode in results.items():
        told = mode.figures()
        print(
            f"{name:10} {told['median_us']:10.1f} {told['mean_us']:10.1f} {told['p90_us']:10.1f} "
            f"{told['allows_per_token']:8.2f} {told['masks_per_token']:8.2f} {told['mean_share']:9.4f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=None)
    parser.add_argument("--schemas", type=Path, default=SCHEMAS)
    parser.add_argument("--count", type=int, default=20, help="schemas, of those in the file")
    parser.add_argument("--tokens", type=int, default=48, help="of an answer, at most")
    parser.add_argument("--temperatures", type=float, nargs="+", default=[0.0, 0.7, 1.0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    asked = json.loads(options.schemas.read_text(encoding="utf-8"))[: options.count]
    body: dict[str, Any] = {}
    with edgetts.load(options.model, notify=print) as engine:
        info = engine.session.info
        compiler = Compiler(engine.tokenizer, info.vocab, info.end_tokens)
        constraints = [compiler.compile(JsonSchema(one["schema"])) for one in asked]
        for temperature in options.temperatures:
            results = {name: Mode() for name in MODES}
            found = [
                place
                for one, constraint in zip(asked, constraints, strict=True)
                for place in places(engine, one["ask"], constraint, options.tokens, temperature, options.seed)
            ]
            measure(found, temperature, results, options.repeats)
            print_table(f"temperature {temperature}, {len(found)} places of {len(asked)} schemas", results)
            body[str(temperature)] = {name: mode.figures() for name, mode in results.items()} | {
                "places": len(found)
            }
        body |= {"model": info.model, "vocab": info.vocab, "patience": PATIENCE}
    print(json.dumps({"rejection": body, "device": device(), "command": command()}))


if __name__ == "__main__":
    main()
