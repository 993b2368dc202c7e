"""Answers of engines that are kept to structures: every sample of every strategy, streamed, drafted, on both runtimes."""

# ruff: noqa: F401, F811  fixtures are imported, and then named as parameters

from __future__ import annotations

import asyncio
import importlib.util
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest
from conftest import TinyBundle
from fakes_engine import ENDLESS, ScriptedSession, scripted_engine, tiny_engine_bundle, tiny_tokenizer
from gguf_cases import needs_llama
from jsonschema import Draft202012Validator
from structure_cases import SCHEMAS

import edgetts
from edgetts.engine import Engine
from edgetts.errors import InvalidInput
from edgetts.loading import open_engine
from edgetts.structure import Grammar, JsonSchema, Regex
from edgetts.tokenizer import Tokenizer
from edgetts.types import DecodeParams, Finished, SamplingParams, TextDelta

pytest.importorskip("llguidance")

PERSON = SCHEMAS[1]["schema"]
CHOICE = "(north|south|east|west) (wind|rain)"


@pytest.fixture(scope="module")
def engine(tiny_engine_bundle: Path) -> Iterator[Engine]:
    with open_engine(tiny_engine_bundle, measure=False) as opened:
        yield opened


def check(text: str, schema: dict) -> None:
    Draft202012Validator(schema).validate(json.loads(text))


@pytest.mark.parametrize("constraining", ["mask", "rejection"])
def test_every_sample_is_in_the_language(engine: Engine, constraining: str) -> None:
    answer = engine.answer(
        "How is it?",
        constraint=JsonSchema(PERSON),
        budget=edgetts.Budget(samples=6),
        strategy="self_consistency:stop=none",
        sampling=SamplingParams(temperature=1.5, seed=3, max_tokens=200, constraining=constraining),
        answer_format="json",
    )
    assert len(answer.samples) == 6
    assert len({sample.text for sample in answer.samples}) > 1
    for sample in answer.samples:
        assert sample.finish_reason == "end"
        check(sample.text, PERSON)
    assert answer.answer is not None
    check(answer.text, PERSON)


def test_what_is_cut_says_so(engine: Engine) -> None:
    [sample] = engine.answer(
        "Say something.", constraint=JsonSchema(PERSON), sampling=SamplingParams(max_tokens=3)
    ).samples
    assert sample.finish_reason == "length"
    with pytest.raises(ValueError, match="Expecting|Unterminated"):
        json.loads(sample.text)


@pytest.mark.parametrize("strategy", ["best_of_n", "independent", "particle"])
def test_strategies_keep_to_it(engine: Engine, strategy: str) -> None:
    answer = engine.answer(
        "Where from?",
        constraint=Regex(CHOICE),
        strategy=strategy,
        budget=edgetts.Budget(samples=4),
        sampling=SamplingParams(temperature=1.0, max_tokens=40),
        answer_format="text",
    )
    for sample in answer.samples:
        assert re.fullmatch(CHOICE, sample.text), sample.text


def test_a_stream_is_the_text(engine: Engine) -> None:
    events = list(engine.stream("Where from?", constraint=Regex(CHOICE)))
    streamed = "".join(event.text for event in events if isinstance(event, TextDelta))
    assert isinstance(events[-1], Finished)
    assert streamed == events[-1].answer.text
    assert re.fullmatch(CHOICE, streamed)
    awaited = asyncio.run(engine.aanswer("Where from?", constraint=Regex(CHOICE)))
    assert awaited.text == streamed


def test_questions_of_many_threads_keep_to_their_own(engine: Engine) -> None:
    def ask(number: int) -> str:
        kept = Regex(f"{number}+") if number % 2 else JsonSchema({"const": number})
        return engine.answer("Which?", constraint=kept, sampling=SamplingParams(max_tokens=6)).text

    with ThreadPoolExecutor(8) as pool:
        for number, text in enumerate(pool.map(ask, range(8))):
            assert set(text) == {str(number)}


def test_drafted_and_plain_tokens_are_the_same(engine: Engine) -> None:
    schema = {"type": "array", "items": {"enum": ["again", "again and again"]}, "minItems": 6, "maxItems": 9}
    for seed, heat in ((0, 0.0), (1, 1.0), (2, 1.5)):
        sampling = SamplingParams(temperature=heat, seed=seed, max_tokens=150)
        plain, drafted = (
            engine.answer("Again?", constraint=JsonSchema(schema), sampling=sampling, decode=decode)
            for decode in (DecodeParams("plain"), DecodeParams("speculative", ("ngram",), 4))
        )
        assert drafted.samples[0].tokens == plain.samples[0].tokens
        check(plain.text, schema)
        assert drafted.usage.speculation is not None
        assert sum(drafted.usage.speculation.accepted) > 0


def test_a_model_that_wants_something_else_is_kept_to_it(tiny_tokenizer: Tokenizer) -> None:
    with scripted_engine(tiny_tokenizer, ScriptedSession([ENDLESS])) as engine:
        answer = engine.answer("Digits?", constraint=Grammar('start: " "? /[0-9]{4}/ "."'))
    assert answer.text.strip() == "0000."


def test_a_structure_that_is_refused_leaves_the_engine_as_it_was(engine: Engine) -> None:
    for wrong in (JsonSchema({"uniqueItems": True}), Regex("("), Grammar("start: foo")):
        with pytest.raises(InvalidInput):
            engine.answer("Who?", constraint=wrong)
        with pytest.raises(InvalidInput):
            engine.plan("Who?", constraint=wrong)
    assert re.fullmatch(CHOICE, engine.answer("Where from?", constraint=Regex(CHOICE)).text)


@needs_llama
def test_llamacpp_is_kept_to_it_too(tiny_bundle: TinyBundle) -> None:
    with edgetts.load(tiny_bundle("llama").source, runtime="llamacpp", measure=False) as engine:
        answer = engine.answer(
            "How is it?",
            constraint=JsonSchema(PERSON),
            budget=edgetts.Budget(samples=3),
            strategy="independent",
            sampling=SamplingParams(temperature=1.0, max_tokens=200),
        )
    for sample in answer.samples:
        assert sample.finish_reason == "end"
        check(sample.text, PERSON)


def test_the_example_reads_a_text(smollm2_bundle: Path) -> None:
    example = _example()
    with edgetts.load(smollm2_bundle, measure=False) as engine:
        found = example.extract(engine, "Anna, 31, moved from Turin to Lisbon.", samples=1)
    assert found is not None
    check(json.dumps(found), example.PERSON)
    assert found["name"] == "Anna"


def _example() -> ModuleType:
    file = Path(__file__).parent.parent / "examples" / "structured.py"
    spec = importlib.util.spec_from_file_location("structured_example", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
