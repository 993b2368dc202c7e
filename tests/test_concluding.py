"""Samples that run out of their budget are made to state their answers: forced tokens, the words, and what counts then."""

# ruff: noqa: F401, F811  fixtures are imported, and then named as parameters

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from fakes_engine import scripted_engine, tiny_engine_bundle, tiny_tokenizer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_parallel import END, HOT, PROMPT, decoder, toy
from tiny import END as END_TEXT
from tiny import token_id, vocabulary

from edgetts import Budget, SamplingParams
from edgetts.answering.forcing import END_THINK, THINK, Forcing
from edgetts.decoding.alone import Situation
from edgetts.decoding.parallel import ParallelDecoder, TokenDrawn
from edgetts.errors import InvalidInput
from edgetts.selection.answers import AnswerFormat
from edgetts.testing import FakeSession, ToyModel
from edgetts.tokenizer import Tokenizer
from edgetts.types import FinishReason

QUIET = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def drained(run: ParallelDecoder) -> None:
    while run.active:
        run.step()


# Forced tokens.


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=4),
    st.integers(0, 3),
    st.integers(1, 4),
    st.integers(0, 50),
    st.floats(0.5, 2.0),
)
@settings(max_examples=60, deadline=None)
def test_forced_tokens_come_next_with_the_models_own_log_probs_and_others_never_notice(
    words: list[int], most: int, samples: int, seed: int, penalty: float
) -> None:
    params = SamplingParams(temperature=1.0, seed=seed, repetition_penalty=penalty)
    alone = decoder(toy(), params=params, max_tokens=12)
    alone.start(samples, last=True)
    drained(alone)
    session = toy()
    run = decoder(session, params=params, max_tokens=12)
    run.start(samples, last=True)
    if run.active:
        run.step()
    chosen = run.active[:1]
    before = {i: list(run.traces[i].tokens) for i in chosen}
    for sample in chosen:
        run.conclude(sample, words, most, "deadline")
    drained(run)
    for i, trace in run.traces.items():
        if i not in chosen:
            assert (trace.tokens, trace.finish) == (alone.traces[i].tokens, alone.traces[i].finish)
            continue
        began = len(before[i])
        expected = (before[i] + words)[:12]
        assert trace.tokens[: len(expected)] == expected
        assert len(trace.tokens) <= began + len(words) + most
        for at, (token, logprob) in enumerate(zip(trace.tokens, trace.logprobs, strict=True)):
            row = session.model.logits([*PROMPT, *trace.tokens[:at]])
            assert logprob == pytest.approx(float(row[token]), abs=1e-4)
        if penalty == 1:
            for at in range(began + len(words), len(trace.tokens)):
                assert trace.tokens[at] == int(session.model.logits([*PROMPT, *trace.tokens[:at]]).argmax())
        assert trace.finish == ("length" if len(trace.tokens) == 12 else "deadline")
        assert trace.ending is not None
        assert trace.ending.said == (
            trace.finish == "deadline" and len(trace.tokens) < began + len(words) + most
        )
    run.close()
    assert session.live == []


def test_a_sample_is_concluded_once_and_only_while_it_runs() -> None:
    run = decoder(toy())
    run.start(2, last=True)
    sample = run.active[0]
    with pytest.raises(InvalidInput, match="one token at least"):
        run.conclude(sample, [], 3, "deadline")
    run.conclude(sample, [1], 1, "deadline")
    run.conclude(sample, [4, 4, 4], 9, "budget")
    drained(run)
    trace = run.traces[sample]
    assert trace.finish == "deadline"
    assert len(trace.tokens) <= 3
    with pytest.raises(InvalidInput, match="does not run"):
        run.conclude(sample, [1], 1, "deadline")
    run.close()


class Leaping:
    """Brings a lone sample to its tokens by itself."""

    widest = 5

    def __init__(self) -> None:
        self.asked = 0

    def step(self, situation: Situation) -> tuple[list[TokenDrawn], int]:
        self.asked += 1
        row = situation.session.step([situation.branch], [situation.trace.tokens[-1]])[0]
        return [situation.take(situation.trace.sampler.draw(row))], 1


def test_a_lone_sample_that_is_concluded_draws_its_tokens_plainly() -> None:
    session = FakeSession(ToyModel(4, lambda _: (0.0, 0.5, 0.5, 0.0), frozenset({0})))
    branch, logits = session.prefill(PROMPT)
    leaping = Leaping()
    run = ParallelDecoder(
        session, branch, logits, HOT, prompt_tokens=PROMPT, max_tokens=20, greedy_first=False, alone=leaping
    )
    run.start(1, last=True)
    run.step()
    assert (leaping.asked, run.widest) == (1, 5)
    run.conclude(0, [2, 2], 1, "deadline")
    assert run.widest == 1
    drained(run)
    assert leaping.asked == 1
    assert run.traces[0].tokens[2:4] == [2, 2]
    run.close()


# The words.


def forcing(tokenizer: Tokenizer, answer: str, **more: object) -> Forcing:
    return Forcing(tokenizer, AnswerFormat.parse(answer), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("number", "\n\nThe answer is \\boxed{"),
        ("choice:A-E", "\n\nThe answer is"),
        ("yes-no", "\n\nThe answer is"),
        ("boxed", "\n\nThe answer is \\boxed{"),
        ("json", "\n\n```json\n"),
        ("auto", "\n\nThe answer is"),
    ],
)
def test_words_suit_the_format(tiny_tokenizer: Tokenizer, answer: str, words: str) -> None:
    one = forcing(tiny_tokenizer, answer)
    made = one.conclusion("First we add")
    assert made is not None
    assert tiny_tokenizer.decode(made.tokens) == words
    assert one.passes == len(made.tokens) + made.most > 0


@pytest.mark.parametrize("answer", ["code", "text", "none", r"regex:Total: (\d+)"])
def test_what_has_no_words_is_left_as_it_is(tiny_tokenizer: Tokenizer, answer: str) -> None:
    one = forcing(tiny_tokenizer, answer)
    assert one.passes == 0
    assert one.conclusion("def f(x):") is None


def test_a_lone_text_of_no_declared_format_is_left_as_it_is(tiny_tokenizer: Tokenizer) -> None:
    poem = forcing(tiny_tokenizer, "auto", several=False)
    assert poem.passes == 0
    assert poem.conclusion("Roses are red") is None
    assert forcing(tiny_tokenizer, "number", several=False).passes > 0


def test_an_answer_that_is_stated_is_not_asked_for(tiny_tokenizer: Tokenizer) -> None:
    one = forcing(tiny_tokenizer, "number")
    assert one.conclusion("So the answer is 12. We check this: 3 * 4") is None
    assert one.conclusion("So the answer is 12") is not None, "it may have become 125"


def test_stop_strings_do_not_end_what_is_asked(tiny_tokenizer: Tokenizer) -> None:
    made = forcing(tiny_tokenizer, "number", stops=("\n\n",)).conclusion("First")
    assert made is not None
    assert tiny_tokenizer.decode(made.tokens) == " The answer is \\boxed{"
    assert forcing(tiny_tokenizer, "number", stops=("answer",)).passes == 0


def test_thinking_is_ended_first(tiny_tokenizer: Tokenizer) -> None:
    template = "{% if x %}<think>...</think>{% endif %}"
    one = forcing(tiny_tokenizer, "number", template=template)
    made = one.conclusion(f"{THINK}\nLet us see")
    assert made is not None
    assert tiny_tokenizer.decode(made.tokens) == f"\n{END_THINK}\n\nThe answer is \\boxed{{"
    said = one.conclusion(f"{THINK}\nLet us see\n{END_THINK}\nIt")
    assert said is not None
    assert tiny_tokenizer.decode(said.tokens) == "\n\nThe answer is \\boxed{"
    # A template may open the thinking, and then there is something to show in any format.
    opened = forcing(
        tiny_tokenizer,
        "none",
        template=template,
        prompt=tiny_tokenizer.encode(f"Hm {THINK}\n", special=False)[-8:],
    )
    assert opened.thinking("Let us see")
    assert opened.passes > 0
    assert not forcing(tiny_tokenizer, "number").thinking(f"{THINK} no model that thinks")


# In an engine.


def thinker(tokenizer: Tokenizer, answer: str) -> FakeSession:
    """A model that goes on for ever, but for a place where it is asked."""
    size, end = len(vocabulary()), token_id(END_TEXT)

    def probabilities(prefix: tuple[int, ...]) -> Sequence[float]:
        said = tokenizer.decode(prefix[-40:])
        row = [0.0] * size
        _, asked, told = said.rpartition("\\boxed{")
        if not asked:
            following = ord("-")
        elif len(told) < len(answer):
            following = ord(answer[len(told)])
        else:
            following = end
        row[following] = 1.0
        return row

    return FakeSession(ToyModel(size, probabilities, frozenset({end})), context=100_000)


@pytest.mark.parametrize("samples", [1, 3])
def test_a_budget_that_runs_out_still_brings_an_answer(tiny_tokenizer: Tokenizer, samples: int) -> None:
    session = thinker(tiny_tokenizer, "42}.")
    answer = scripted_engine(tiny_tokenizer, session).answer(
        "How many?", answer_format="number", budget=Budget(tokens=samples * 150, samples=samples)
    )
    assert answer.answer == "42"
    assert answer.stop_reason in ("tokens", "decided")
    assert answer.usage.generated_tokens <= samples * 150
    assert {s.finish_reason for s in answer.samples if s.answer == "42"} == {"budget"}
    assert answer.text.startswith("---")
    assert answer.text.endswith("-\n\nThe answer is \\boxed{42}.")
    assert session.live == []


@QUIET
@given(tokens=st.integers(1, 200), samples=st.integers(1, 4))
def test_concluding_never_passes_the_budget(tiny_tokenizer: Tokenizer, tokens: int, samples: int) -> None:
    session = thinker(tiny_tokenizer, "42}.")
    answer = scripted_engine(tiny_tokenizer, session).answer(
        "How many?", answer_format="number", budget=Budget(tokens=tokens, samples=samples)
    )
    assert answer.usage.generated_tokens <= tokens
    assert answer.answer in (None, "42")
    assert session.live == []


def test_an_answer_that_is_there_is_not_outvoted_by_what_is_asked_too_early(
    tiny_tokenizer: Tokenizer,
) -> None:
    said = "The answer is 7."
    size, end = len(vocabulary()), token_id(END_TEXT)

    def probabilities(prefix: tuple[int, ...]) -> Sequence[float]:
        text = tiny_tokenizer.decode(prefix[-60:])
        row = [0.0] * size
        begun = next((n for n in range(len(said), 0, -1) if text.endswith(said[:n])), 0)
        if begun == len(said):
            row[end] = 1.0
        elif begun > 1:
            row[ord(said[begun])] = 1.0
        else:
            # The greedy sample says it at once, others hardly ever do.
            row[ord("T" if begun == 0 else "h")] = 0.6 if begun == 0 else 1.0
            if begun == 0:
                row[ord("-")] = 0.4
        return row

    session = FakeSession(ToyModel(size, probabilities, frozenset({end})), context=100_000)
    answer = scripted_engine(tiny_tokenizer, session).answer(
        "How many?", answer_format="number", budget=Budget(tokens=400, samples=4)
    )
    assert answer.answer == "7"
    assert not any(decision.kind == "conclude" for decision in answer.decisions)
