"""A smaller model guesses for another: the same tokens, and its cache goes on from what both texts share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_speculation import FREE_WIDTH, NO_WIDTH, PROMPT, decode, toy

from edgetts.decoding.alone import Situation
from edgetts.decoding.speculation import (
    Acceptance,
    Drafter,
    DraftModel,
    ModelDrafter,
    PassCosts,
    Speculator,
    check_vocabularies,
)
from edgetts.errors import InvalidInput
from edgetts.testing import FakeSession, ToyModel
from edgetts.types import SamplingParams

GREEDY = SamplingParams(temperature=0.0)


def drafting(model: DraftModel, length: int, *, always: bool = True) -> Speculator:
    def drafters(at: Situation) -> Sequence[Drafter]:
        return [ModelDrafter(model, at.prompt)]

    times = FREE_WIDTH if always else NO_WIDTH
    return Speculator(drafters, Acceptance(), PassCosts(times.at), longest=length, always=always)


def fake_model(seed: int) -> tuple[FakeSession, DraftModel]:
    session = toy(seed)
    ticks = iter(range(10**9))
    return session, DraftModel(session, lambda: next(ticks) * 0.001)


@given(
    seed=st.integers(0, 300),
    draft_seed=st.integers(0, 300),
    length=st.sampled_from([1, 2, 4, 8]),
    max_tokens=st.integers(1, 14),
    temperature=st.sampled_from([0.0, 0.8]),
    always=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_tokens_are_those_of_plain_decoding(
    seed: int, draft_seed: int, length: int, max_tokens: int, temperature: float, always: bool
) -> None:
    params = SamplingParams(temperature=temperature, seed=seed)
    plain = decode(toy(seed), params, max_tokens).traces[0]
    session = toy(seed)
    _, model = fake_model(draft_seed)
    trace = decode(session, params, max_tokens, drafting(model, length, always=always)).traces[0]
    assert (trace.tokens, trace.logprobs, trace.finish) == (plain.tokens, plain.logprobs, plain.finish)
    assert session.live == []


def test_a_model_that_drafts_for_itself_is_always_right_and_reads_each_token_once() -> None:
    runs = ((seed, decode(toy(seed), GREEDY, 13).traces[0]) for seed in range(200))
    seed, plain = next((seed, run) for seed, run in runs if len(run.tokens) == 13)
    session, model = fake_model(seed)
    drafts = drafting(model, 3)
    assert decode(toy(seed), GREEDY, 13, drafts).traces[0].tokens == plain.tokens
    assert drafts.tally.accepted == drafts.tally.drafted == [3, 3, 3]
    assert session.run == len(PROMPT) + 11, "of 13 tokens the last two need not be read"
    assert len(session.live) == 1
    model.close()


def test_another_text_goes_on_from_what_it_shares_with_the_one_before() -> None:
    session, model = fake_model(3)
    first = model.guess([1, 2, 3, 1, 2])
    before = session.run
    assert model.guess([1, 2, 3, 1, 2]) == first
    assert session.run == before, "what was just asked is remembered"
    for tokens in ([1, 2, 3, 4], [1, 2], [4, 4, 4], [4, 4, 4, 1, 1]):
        token, probability = model.guess(tokens) or (-1, 0.0)
        logits = toy(3).prefill(tokens)[1]
        weights = np.exp(logits - logits.max())
        assert token == int(logits.argmax())
        assert probability == pytest.approx(float(weights.max() / weights.sum()))
    assert len(session.live) == 1


def test_beyond_its_context_it_has_no_idea() -> None:
    session = FakeSession(ToyModel.random(5, seed=1), context=8)
    model = DraftModel(session)
    assert model.guess([1] * 7) is not None
    assert model.guess([1] * 8) is None


def test_another_vocabulary_is_refused() -> None:
    with pytest.raises(InvalidInput, match="7 tokens, and the model 5"):
        check_vocabularies(toy(1), DraftModel(toy(1, vocab=7)))
