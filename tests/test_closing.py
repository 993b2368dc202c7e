"""Constrained samples that run out of tokens end as their language allows."""

# ruff: noqa: F401, F811  fixtures are imported, and then named as parameters

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from automata import Automaton
from fakes_engine import (
    ENDLESS,
    FakeClock,
    ScriptedSession,
    scripted_engine,
    tiny_engine_bundle,
    tiny_tokenizer,
)
from structure_cases import SCHEMAS, TOKENIZERS, compiler_of, ends_of

from edgetts import Budget, SamplingParams
from edgetts.decoding.closing import Closings
from edgetts.decoding.parallel import ParallelDecoder
from edgetts.loading import open_engine
from edgetts.profiles.curves import StepTimes
from edgetts.structure import JsonSchema, Regex
from edgetts.testing import FakeSession, ToyModel

jsonschema = pytest.importorskip("jsonschema")

# a* b: the model hardly ever writes the b.
END, A, B = 0, 1, 2
LANGUAGE = {"open": {A: "open", B: "done"}, "done": {END: "ended"}, "ended": {}}
WAYS = {"open": (B,), "done": ()}


def toy() -> FakeSession:
    return FakeSession(
        ToyModel(4, lambda prefix: (0.0, 1.0 - 1e-9, 1e-9, 0.0), frozenset({END})), context=200
    )


def drawn(max_tokens: int, ways: Any = WAYS) -> Any:
    session = toy()
    branch, logits = session.prefill([3, 3])
    decoder = ParallelDecoder(
        session,
        branch,
        logits,
        SamplingParams(temperature=1.0),
        max_tokens=max_tokens,
        greedy_first=False,
        constraint=Automaton(4, LANGUAGE, ways=ways),
    )
    decoder.start(2, last=True)
    while decoder.active:
        decoder.step()
    decoder.close()
    assert session.live == []
    return decoder.traces


@pytest.mark.parametrize("limit", [1, 2, 3, 10, 60, 100])
def test_a_text_that_the_limit_would_cut_is_ended_before(limit: int) -> None:
    for trace in drawn(limit).values():
        assert trace.finish == "length"
        assert len(trace.tokens) <= limit
        if limit > 1:  # the first token comes with the prompt
            assert trace.tokens[-1] == B
            assert trace.tokens.count(B) == 1
        assert len(trace.logprobs) == len(trace.tokens)


def test_where_no_way_out_is_known_the_limit_cuts() -> None:
    for trace in drawn(30, {}).values():
        assert trace.tokens == [A] * 30
        assert trace.finish == "length"


def test_far_from_the_limit_nothing_is_looked_for() -> None:
    language = Automaton(4, LANGUAGE, ways=WAYS)
    closing = Closings(language, 1000).of()
    assert closing is not None
    matcher = language.start()
    assert closing.due(10, matcher) is None
    assert not closing.near(470, 8), "the first look is half way"
    assert closing.near(490, 8)
    assert closing.due(500, matcher) is None
    assert not closing.near(500, 8), "and the next half way from there"
    assert closing.due(995, matcher) == (B,)


@pytest.mark.parametrize("kind", sorted(TOKENIZERS))
def test_ways_out_lead_to_valid_json_from_wherever_a_text_is(kind: str) -> None:
    tokenizer = TOKENIZERS[kind]
    compiler = compiler_of(tokenizer)
    ends = set(ends_of(tokenizer))
    random = np.random.default_rng(5)
    for case in SCHEMAS:
        schema = case["schema"]
        matcher = compiler.compile(JsonSchema(schema)).start()
        text = b""
        for _ in range(12):
            way = matcher.ending(300)
            assert way is not None, schema
            assert matcher.prefix([*way, min(ends)]) == len(way) + 1
            whole = (text + b"".join(map(tokenizer.token_bytes, way))).decode()
            jsonschema.validate(json.loads(whole), schema)
            choices = [t for t in np.flatnonzero(matcher.allowed()).tolist() if t not in ends]
            if not choices:
                break
            token = int(random.choice(choices))
            matcher.take(token)
            text += tokenizer.token_bytes(token)


def test_ways_out_of_expressions() -> None:
    tokenizer = TOKENIZERS["bytes"]
    matcher = compiler_of(tokenizer).compile(Regex("[a-z]{3}-[0-9]{2}!*")).start()
    way = matcher.ending(20)
    assert way is not None
    text = b"".join(map(tokenizer.token_bytes, way)).decode()
    assert len(text) == 6
    assert text[3] == "-"
    assert matcher.ending(2) is None


def test_a_text_that_gets_deeper_and_deeper_is_closed_all_the_same(tiny_engine_bundle: Path) -> None:
    node: dict[str, Any] = {
        "type": "object",
        "properties": {"next": {"type": "array", "items": {"$ref": "#/$defs/node"}, "minItems": 0}},
        "required": ["next"],
        "additionalProperties": False,
    }
    schema = {"$ref": "#/$defs/node", "$defs": {"node": node}}
    with open_engine(tiny_engine_bundle, measure=False) as engine:
        bracket, brace = (engine.tokenizer.encode(text, special=False)[0] for text in "]}")
        answer = engine.answer(
            "Hi",
            constraint=JsonSchema(schema),
            # Whatever can be closed had better not be.
            sampling=SamplingParams(
                temperature=1.0, max_tokens=150, logit_bias=((bracket, -100), (brace, -100))
            ),
            decode="plain",
        )
    jsonschema.validate(json.loads(answer.text), schema)
    assert answer.text.count("[") > 5
    assert answer.samples[0].finish_reason == "length"


@pytest.mark.parametrize("decode", ["plain", "speculative"])
def test_an_engine_gives_whole_json_within_the_limit(tiny_engine_bundle: Path, decode: Any) -> None:
    schema = {
        "type": "object",
        "properties": {
            "story": {"type": "string"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "stars": {"type": "integer", "minimum": 1, "maximum": 5},
        },
        "required": ["story", "tags", "stars"],
        "additionalProperties": False,
    }
    with open_engine(tiny_engine_bundle, measure=False) as engine:
        answer = engine.answer(
            "Hi",
            constraint=JsonSchema(schema),
            sampling=SamplingParams(temperature=1.0, max_tokens=90, seed=3),
            budget=Budget(samples=1 if decode == "speculative" else 4),
            strategy="independent",
            decode=decode,
        )
    assert {sample.finish_reason for sample in answer.samples} == {"length"}, (
        "a random model never ends a story"
    )
    for sample in answer.samples:
        assert len(sample.tokens) <= 90
        jsonschema.validate(json.loads(sample.text), schema)


def test_a_budget_of_tokens_ends_in_whole_json_too(tiny_engine_bundle: Path) -> None:
    schema = {"type": "object", "properties": {"story": {"type": "string"}}, "required": ["story"]}
    with open_engine(tiny_engine_bundle, measure=False) as engine:
        answer = engine.answer(
            "Hi",
            constraint=JsonSchema(schema),
            sampling=SamplingParams(temperature=1.0, seed=3),
            budget=Budget(samples=2, tokens=120),
            strategy="independent",
        )
    assert answer.stop_reason == "tokens"
    assert {sample.finish_reason for sample in answer.samples} <= {"budget", "length"}
    assert sum(len(sample.tokens) for sample in answer.samples) <= 120
    for sample in answer.samples:
        jsonschema.validate(json.loads(sample.text), schema)


def test_a_deadline_ends_in_whole_json_too(tiny_tokenizer: Any) -> None:
    times = StepTimes((1, 8), (0.01, 0.02), 1000.0, "measured")
    clock = FakeClock()
    session = ScriptedSession([ENDLESS] * 4, clock=clock, times=times)
    engine = scripted_engine(tiny_tokenizer, session, clock=clock, times=times)
    schema = {"type": "object", "properties": {"story": {"type": "string"}}, "required": ["story"]}
    answer = engine.answer("Hi", constraint=JsonSchema(schema), budget=Budget(seconds=3), decode="plain")
    assert answer.stop_reason == "deadline"
    assert answer.usage.seconds <= 3
    assert len(answer.text) > 50
    jsonschema.validate(json.loads(answer.text), schema)
