"""Strategies, verifiers and self-evaluation with SmolLM2-135M-Instruct: everything but whether it is right."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgetts import Answer, Budget, SamplingParams
from edgetts.engine import Engine
from edgetts.loading import open_engine
from edgetts.selection.strategies import STRATEGIES

pytestmark = pytest.mark.real

QUESTION = "A shop sells 12 pens for 3 euros each. How much is that? End with: The answer is X."


@pytest.fixture(scope="module")
def engine(smollm2_bundle: Path) -> Iterator[Engine]:
    with open_engine(smollm2_bundle, measure=False, options={"spin": False}) as engine:
        yield engine


def ask(engine: Engine, strategy: str, **options: object) -> Answer:
    sampling = SamplingParams(max_tokens=48, seed=3)
    return engine.answer(QUESTION, strategy=strategy, sampling=sampling, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_answers_within_its_tokens(engine: Engine, name: str) -> None:
    steps = name not in ("greedy", "self_consistency", "independent", "adaptive", "best_of_n")
    budget = Budget(tokens=220) if name == "greedy" else Budget(samples=3, tokens=220)
    answer = ask(engine, f"{name}:splitter=sentence" if steps else name, budget=budget)
    assert answer.plan.strategy == name
    assert answer.usage.generated_tokens + answer.usage.scoring_tokens <= 220
    assert answer.samples
    for sample in answer.samples:
        assert engine.tokenizer.decode(sample.tokens) == sample.text
        assert sample.score is None or 0 <= sample.score <= 1
    if steps:
        assert answer.usage.scoring_tokens > 0


def test_the_same_seed_gives_the_same_search(engine: Engine) -> None:
    first, second = (ask(engine, "particle:splitter=tokens:12", budget=Budget(samples=3)) for _ in range(2))
    assert [sample.tokens for sample in first.samples] == [sample.tokens for sample in second.samples]
    assert [sample.score for sample in first.samples] == [sample.score for sample in second.samples]


def test_being_judged_changes_no_token(engine: Engine) -> None:
    budget = Budget(samples=3)
    plain = ask(engine, "self_consistency:stop=none", budget=budget)
    judged = ask(engine, "best_of_n", budget=budget)
    assert [sample.tokens for sample in plain.samples] == [sample.tokens for sample in judged.samples]
    assert [sample.score for sample in plain.samples] == [None] * 3
    assert all(sample.score is not None and 0 < sample.score < 1 for sample in judged.samples)


def test_equations_of_a_real_text_are_checked(engine: Engine) -> None:
    answer = engine.answer(
        "Write down five sums with their results, such as 2 + 2 = 4.",
        verifier="arithmetic",
        budget=Budget(samples=3),
        sampling=SamplingParams(max_tokens=80, seed=3),
    )
    judged = [sample for sample in answer.samples if sample.passed is not None]
    assert judged
    assert all(sample.verdict for sample in judged)
