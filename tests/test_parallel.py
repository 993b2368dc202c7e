"""Samples in lockstep over a fake session: how many, which tokens, which branches, what is freed."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetts.decoding.parallel import ParallelDecoder, TokenDrawn
from edgetts.decoding.session import Capabilities
from edgetts.errors import InvalidInput, InvalidLogits, OutOfMemory, PromptTooLong
from edgetts.testing import FakeSession, ToyModel, goodness_of_fit
from edgetts.types import SamplingParams

PROMPT = [1, 3, 1, 2]
END = 0
HOT = SamplingParams(temperature=1.0, seed=3)


def decoder(
    session: FakeSession,
    *,
    params: SamplingParams = HOT,
    max_tokens: int = 6,
    greedy_first: bool = False,
) -> ParallelDecoder:
    branch, logits = session.prefill(PROMPT)
    return ParallelDecoder(
        session,
        branch,
        logits,
        params,
        prompt_tokens=PROMPT,
        max_tokens=max_tokens,
        greedy_first=greedy_first,
    )


def toy(**options: Any) -> FakeSession:
    return FakeSession(ToyModel.random(5, seed=2, end_tokens=frozenset({END})), **options)


def finished(run: ParallelDecoder, samples: int, width: int) -> dict[int, tuple[list[int], str | None]]:
    """Draw `samples` samples, never more than `width` at once, and return their tokens and ends."""
    run.start(min(width, samples), last=width >= samples)
    while True:
        missing = min(width - len(run.active), samples - len(run.traces))
        if missing > 0:
            run.start(missing, last=len(run.traces) + missing == samples)
        elif run.active:
            run.step()
        else:
            break
    run.close()
    return {index: (trace.tokens, trace.finish) for index, trace in run.traces.items()}


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 7), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_as_many_samples_as_asked_for(samples: int, width: int, max_tokens: int, seed: int) -> None:
    session = toy()
    run = decoder(session, params=SamplingParams(temperature=1.0, seed=seed), max_tokens=max_tokens)
    done = finished(run, samples, width)
    assert sorted(done) == list(range(samples))
    for tokens, finish in done.values():
        assert END not in tokens, "end tokens are not emitted"
        assert (finish, len(tokens)) == ("length", max_tokens) or (
            finish == "end" and len(tokens) < max_tokens
        )
    assert run.generated == sum(len(tokens) for tokens, _ in done.values())
    assert session.live == []
    assert session.prefilled == len(PROMPT), "the prompt is read once, whatever was asked for"
    assert max(session.widths, default=0) <= width
    # No pass draws for a sample that has ended: one token less than emitted runs, or its end.
    ended = sum(finish == "end" for _, finish in done.values())
    firsts = len(done)
    assert session.run == len(PROMPT) + run.generated + ended - firsts


@given(st.integers(1, 8), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_samples_do_not_depend_on_the_width(width: int, seed: int) -> None:
    params = SamplingParams(temperature=1.0, seed=seed)
    alone = finished(decoder(toy(), params=params), 6, 1)
    assert finished(decoder(toy(), params=params), 6, width) == alone


def test_other_seeds_give_other_samples() -> None:
    runs = [
        finished(decoder(toy(), params=SamplingParams(temperature=1.0, seed=seed)), 4, 4) for seed in range(5)
    ]
    assert len({str(run) for run in runs}) == 5
    assert len({str(tokens) for tokens, _ in runs[0].values()}) > 1, "samples of one seed differ"


def test_samples_follow_the_models_distribution() -> None:
    """Whole samples, not single tokens, drawn eight at a time with places refilled."""
    model = ToyModel.random(4, seed=5, end_tokens=frozenset({END}))
    run = decoder(FakeSession(model), max_tokens=3)
    done = finished(run, 1500, 8)
    counts = Counter(tuple(tokens) for tokens, _ in done.values())
    expected = model.samples(PROMPT, 3)
    assert sum(expected.values()) == pytest.approx(1)
    fit = goodness_of_fit(counts, expected)
    assert fit.p > 1e-6, f"{fit}; a right decoder fails once in a million seeds"
    wrong = ToyModel.random(4, seed=6, end_tokens=frozenset({END})).samples(PROMPT, 3)
    assert goodness_of_fit(counts, wrong).p < 1e-6


# Greed


def test_only_the_first_sample_is_greedy_when_asked() -> None:
    session = toy()
    run = decoder(session, greedy_first=True, max_tokens=8)
    done = finished(run, 5, 2)
    prefix, greedy = list(PROMPT), []
    while len(greedy) < 8 and (token := int(session.model.logits(prefix).argmax())) != END:
        prefix.append(token)
        greedy.append(token)
    assert done[0][0] == greedy
    assert [trace.sampler.greedy for trace in run.traces.values()] == [True] + [False] * 4


def test_temperature_zero_makes_all_samples_alike() -> None:
    cold = [SamplingParams(temperature=0, seed=seed) for seed in (1, 2)]
    runs = [finished(decoder(toy(), params=params), 3, 3) for params in cold]
    assert runs[0] == runs[1]
    assert len({str(tokens) for tokens in runs[0].values()}) == 1


def test_a_penalty_knows_the_prompt() -> None:
    model = ToyModel(4, lambda prefix: (0.05, 0.5, 0.35, 0.1))
    params = SamplingParams(temperature=0, repetition_penalty=3.0)
    branch, logits = (session := FakeSession(model)).prefill([1])
    run = ParallelDecoder(
        session, branch, logits, params, prompt_tokens=[1], max_tokens=2, greedy_first=False
    )
    assert finished(run, 1, 1)[0][0] == [2, 1]


# What a draw tells


def test_every_token_is_told_once_in_order() -> None:
    run = decoder(toy(), max_tokens=5)
    told: dict[int, list[TokenDrawn]] = {}
    for drawn in run.start(6, last=True):
        told.setdefault(drawn.sample, []).append(drawn)
    while run.active:
        active = run.active
        step = run.step()
        assert tuple(drawn.sample for drawn in step) == active
        for drawn in step:
            told[drawn.sample].append(drawn)
    assert run.step() == []
    for index, trace in run.traces.items():
        tokens = [drawn.token for drawn in told[index] if drawn.token is not None]
        assert tokens == trace.tokens
        assert [d.logprob for d in told[index] if d.token is not None] == trace.logprobs
        assert [drawn.finish for drawn in told[index][:-1]] == [None] * (len(told[index]) - 1)
        last = told[index][-1]
        assert last.finish == trace.finish in ("end", "length")
        assert (last.token is None) == (last.finish == "end")
    run.close()


def test_logprobs_are_the_models() -> None:
    session = toy()
    run = decoder(session, params=SamplingParams(temperature=0.5, top_k=2, seed=1))
    finished(run, 4, 4)
    for trace in run.traces.values():
        for at, (token, logprob) in enumerate(zip(trace.tokens, trace.logprobs, strict=True)):
            expected = session.model.logits([*PROMPT, *trace.tokens[:at]])[token]
            assert logprob == pytest.approx(float(expected), abs=1e-5)


def test_one_token_is_the_least() -> None:
    session = FakeSession(ToyModel.random(5, seed=2))  # nothing ends it
    run = decoder(session, max_tokens=1)
    drawn = run.start(3, last=True)
    assert [d.finish for d in drawn] == ["length"] * 3
    assert run.active == ()
    assert run.generated == 3
    assert session.passes == 1, "first tokens come from the prompt's logits"
    assert session.live == []


# Branches


def test_the_last_samples_take_the_prompts_own_branch() -> None:
    session = FakeSession(ToyModel.random(5))
    run = decoder(session)
    run.start(2)
    assert len(session.live) == 3
    run.start(2, last=True)
    assert len(session.live) == 4
    with pytest.raises(InvalidInput, match="No more samples"):
        run.start(1)
    run.close()
    assert session.live == []


def test_ended_samples_leave_at_once() -> None:
    session = FakeSession(ToyModel.random(5))
    run = decoder(session, max_tokens=20)
    run.start(4, last=True)
    run.step()
    run.end(1, "stop")
    run.end(3, "pruned")
    assert run.active == (0, 2)
    assert len(session.live) == 2
    run.end(1, "deadline")
    assert run.traces[1].finish == "stop", "what has ended stays as it was"
    run.step()
    assert session.widths == [4, 2]
    assert [len(run.traces[i].tokens) for i in range(4)] == [3, 2, 3, 2]
    run.close()
    assert [run.traces[i].finish for i in range(4)] == ["cancelled", "stop", "cancelled", "pruned"]
    assert session.live == []


def test_places_are_refilled() -> None:
    session = FakeSession(ToyModel.random(5))
    run = decoder(session, max_tokens=20)
    run.start(2)
    run.step()
    run.end(0, "stop")
    assert [drawn.sample for drawn in run.start(2)] == [2, 3]
    run.step()
    assert session.widths == [2, 3]
    assert [len(run.traces[i].tokens) for i in range(4)] == [2, 3, 2, 2]
    assert session.prefilled == len(PROMPT)
    run.close()
    run.close()
    assert session.live == []


def test_starting_none_starts_none() -> None:
    session = toy()
    run = decoder(session)
    assert run.start(0) == []
    assert run.traces == {}
    run.close()
    assert session.live == []


@pytest.mark.parametrize("last", [False, True])
def test_a_full_memory_loses_no_branch(last: bool) -> None:
    session = FakeSession(ToyModel.random(5), most_branches=3)
    run = decoder(session)
    with pytest.raises(OutOfMemory):
        run.start(4, last=last)
    assert run.traces == {}
    assert len(session.live) == 1, "the prompt"
    assert len(run.start(2, last=last)) == 2, "fewer still fit"
    run.close()
    assert session.live == []


def test_broken_logits_leave_branches_to_be_freed() -> None:
    def probabilities(prefix: tuple[int, ...]) -> list[float]:
        return [np.nan] * 5 if len(prefix) > len(PROMPT) + 1 else [0.2] * 5

    session = FakeSession(ToyModel(5, probabilities))
    run = decoder(session)
    run.start(3)
    run.step()
    with pytest.raises(InvalidLogits):
        run.step()
    run.close()
    assert session.live == []


def test_broken_logits_of_the_prompt_leave_branches_to_be_freed() -> None:
    session = FakeSession(ToyModel(5, lambda prefix: [np.nan] * 5))
    run = decoder(session)
    with pytest.raises(InvalidLogits):
        run.start(3, last=True)
    run.close()
    assert session.live == []


def test_the_context_ends_a_run_with_an_error_and_no_leak() -> None:
    session = FakeSession(ToyModel.random(5), context=len(PROMPT) + 2)
    run = decoder(session, max_tokens=50)
    run.start(2, last=True)
    run.step()
    run.step()
    with pytest.raises(PromptTooLong):
        run.step()
    run.close()
    assert session.live == []


def test_sessions_without_parallel_passes_do_too() -> None:
    little = Capabilities(parallel=False, tolerance=0.0)
    assert finished(decoder(toy(capabilities=little)), 4, 4) == finished(decoder(toy()), 4, 4)
