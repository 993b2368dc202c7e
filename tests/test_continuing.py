"""Samples that are paused, continued by others and read on: whose tokens they have, and what is freed."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetts.decoding.parallel import ParallelDecoder
from edgetts.errors import InvalidInput
from edgetts.testing import FakeSession, ToyModel, goodness_of_fit
from edgetts.types import SamplingParams

PROMPT = [1, 3, 1, 2]
END = 0
VOCAB = 4


def decoder(session: FakeSession, seed: int = 0, *, keep_ended: bool = False) -> ParallelDecoder:
    branch, logits = session.prefill(PROMPT)
    return ParallelDecoder(
        session,
        branch,
        logits,
        SamplingParams(temperature=1.0, seed=seed),
        prompt_tokens=PROMPT,
        max_tokens=4,
        greedy_first=False,
        keep_ended=keep_ended,
    )


def toy(end_tokens: frozenset[int] = frozenset()) -> FakeSession:
    return FakeSession(ToyModel.random(VOCAB, seed=2, end_tokens=end_tokens))


def test_what_continues_a_sample_has_its_tokens_first_and_the_models_distribution_after() -> None:
    session = toy()
    counts: Counter[tuple[int, ...]] = Counter()
    for seed in range(400):
        run = decoder(session, seed)
        run.start(1)
        run.step()
        run.pause(0)
        assert run.active == ()
        run.ready([0])
        run.branch_off(0, 2, last=False)
        run.branch_off(0, 1, last=True)
        while run.active:
            run.step()
        stem = run.traces[0].tokens
        assert len(stem) == 2
        for child in (1, 2, 3):
            trace = run.traces[child]
            assert trace.tokens[:2] == stem
            assert len(trace.logprobs) == len(trace.tokens) == 4
            assert (trace.inherited, trace.drawn, trace.finish) == (2, 2, "length")
        assert run.generated == 2 + 3 * 2
        counts[tuple(run.traces[3].tokens)] += 1
        run.close()
        assert session.live == []
    # A right decoder fails here once in a thousand seeds; these seeds are fixed.
    fit = goodness_of_fit(counts, session.model.samples(PROMPT, 4))
    assert fit.p > 0.001, fit


def test_children_of_one_sample_differ_by_their_index_and_are_the_same_for_the_same_seed() -> None:
    def children(seed: int) -> list[list[int]]:
        run = decoder(toy(), seed)
        run.start(1)
        run.pause(0)
        run.ready([0])
        run.branch_off(0, 8, last=True)
        while run.active:
            run.step()
        tokens = [run.traces[i].tokens for i in range(1, 9)]
        run.close()
        return tokens

    assert children(1) == children(1)
    assert len({tuple(tokens) for tokens in children(1)}) > 1


def test_several_paused_samples_are_made_ready_in_one_pass() -> None:
    session = toy()
    run = decoder(session)
    run.start(3)
    for sample in range(3):
        run.pause(sample)
    before = session.passes
    run.ready([0, 1, 2])
    assert session.passes == before + 1
    run.ready([0, 1, 2])  # they are already
    assert session.passes == before + 1
    run.close()
    assert session.live == []


@settings(max_examples=40, deadline=None)
@given(asked=st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=70), steps=st.integers(0, 3))
def test_reading_on_tells_what_would_follow_and_changes_nothing(asked: list[int], steps: int) -> None:
    session = FakeSession(ToyModel.random(VOCAB, seed=2), context=100)
    run = decoder(session, keep_ended=True)
    run.start(1)
    for _ in range(steps):
        run.step()
    if run.active:
        run.pause(0)
    tokens = list(run.traces[0].tokens)
    logits = run.read_on(0, asked)
    np.testing.assert_array_equal(logits, session.model.logits([*PROMPT, *tokens, *asked]))
    assert run.traces[0].tokens == tokens
    assert len(session.live) == 2  # the prompt's and its own
    if run.traces[0].finish is None:
        run.ready([0])
        run.branch_off(0, 1, last=True)
        assert run.traces[1].tokens[:-1] == tokens
    run.close()
    assert session.live == []


def test_a_text_that_lost_its_last_tokens_to_a_stop_string_is_read_on_without_them() -> None:
    session = toy()
    run = decoder(session, keep_ended=True)
    run.start(1)
    run.step()
    run.step()
    run.end(0, "stop", keep=1)
    kept = run.traces[0].tokens
    assert len(kept) == 1
    np.testing.assert_array_equal(run.read_on(0, [2]), session.model.logits([*PROMPT, *kept, 2]))
    run.close()
    assert session.live == []


def test_ended_samples_keep_their_branches_only_where_that_is_wanted() -> None:
    for keep, live in product((False, True), (1,)):
        session = toy()
        run = decoder(session, keep_ended=keep)
        run.start(2)
        while run.active:
            run.step()
        assert len(session.live) == live + 2 * keep
        if keep:
            run.release(0)
            run.release(0)  # twice does nothing
            assert len(session.live) == live + 1
        else:
            with pytest.raises(InvalidInput, match="given back"):
                run.read_on(0, [1])
        run.close()
        assert session.live == []


def test_what_cannot_be_continued_is_refused() -> None:
    run = decoder(toy())
    run.start(1)
    with pytest.raises(InvalidInput, match="still running"):
        run.release(0)
    with pytest.raises(InvalidInput, match="not paused and ready"):
        run.branch_off(0, 1, last=True)
    run.pause(0)
    run.ready([0])
    run.branch_off(0, 1, last=True)
    with pytest.raises(InvalidInput, match="not paused and ready"):
        run.branch_off(0, 1, last=True)
    run.close()


def test_an_end_token_drawn_first_ends_a_child_with_its_parents_tokens() -> None:
    session = FakeSession(
        ToyModel(
            VOCAB,
            lambda prefix: [0.0, 1.0, 0.0, 0.0] if len(prefix) < 5 else [1.0, 0, 0, 0],
            frozenset({END}),
        )
    )
    run = decoder(session)
    run.start(1)
    run.pause(0)
    run.ready([0])
    [drawn] = run.branch_off(0, 1, last=True)
    assert (drawn.token, drawn.finish) == (None, "end")
    assert run.traces[1].tokens == run.traces[0].tokens
    assert run.generated == 1
    run.close()
    assert session.live == []
