"""Penalties, biases and alternatives: OpenAI's definitions, over a sample's own tokens, whatever decodes it."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from test_constrained import CUTS, EXITS, MODEL, VOCAB, Head, run
from test_sampling import fits, naive
from test_verification import Dice, Parrot, far, speculator

from edgetts.decoding.early_exit import Confidence, EarlyExitDecoder
from edgetts.decoding.parallel import ParallelDecoder
from edgetts.decoding.sampling import Sampler
from edgetts.decoding.speculation import SpeculativeDecoder
from edgetts.errors import InvalidInput
from edgetts.testing import FakeSession
from edgetts.types import AcceptanceRule, SamplingParams

Logits = NDArray[np.float32]

penalty = st.sampled_from([-2.0, -0.7, 0.0, 0.4, 2.0])
finite_logits = arrays.arrays(
    np.float32, st.integers(1, 12), elements=st.floats(-6, 6, width=32).map(lambda x: round(x * 4) / 4)
)


def changed(logits: Logits, params: SamplingParams, prompt: list[int], drawn: list[int]) -> Logits:
    """Return the logits as the definitions say, one token after the other."""
    out = logits.astype(np.float64)
    for token in {*prompt, *drawn}:
        out[token] *= params.repetition_penalty if out[token] <= 0 else 1 / params.repetition_penalty
    for token, count in Counter(drawn).items():
        out[token] -= params.presence_penalty + count * params.frequency_penalty
    for token, bias in params.logit_bias:
        out[token] += bias
    return out.astype(np.float32)


@given(finite_logits, st.data(), penalty, penalty, st.sampled_from([0.8, 1.0, 1.3]))
@settings(max_examples=120, deadline=None)
def test_logits_change_as_they_are_defined(
    logits: Logits, data: st.DataObject, presence: float, frequency: float, repetition: float
) -> None:
    tokens = st.integers(0, len(logits) - 1)
    prompt, drawn = data.draw(st.lists(tokens, max_size=6)), data.draw(st.lists(tokens, max_size=6))
    bias = data.draw(st.dictionaries(tokens, st.sampled_from([-100.0, -1.0, 0.5, 100.0]), max_size=3))
    params = SamplingParams(
        temperature=1.0,
        presence_penalty=presence,
        frequency_penalty=frequency,
        repetition_penalty=repetition,
        logit_bias=tuple(bias.items()),
    )
    before = logits.copy()
    # Some it is told of at first, the others it draws itself.
    told = data.draw(st.integers(0, len(drawn)))
    sampler = Sampler(params, prompt=prompt, drawn=drawn[:told])
    for token in drawn[told:]:
        sampler.take(logits, token)
    found = sampler.distribution(logits)
    expected = naive(changed(logits, params, prompt, drawn), SamplingParams(temperature=1.0))
    shares = dict(zip(found.ids.tolist(), found.probabilities.tolist(), strict=True))
    for token in range(len(logits)):
        assert shares.get(token, 0.0) == pytest.approx(expected.get(token, 0.0), rel=1e-4, abs=1e-9)
    exact = logits.astype(np.float64) - np.log(np.exp(logits.astype(np.float64)).sum())
    one = sampler.draw(logits)
    assert one.logprob == pytest.approx(exact[one.token], abs=1e-5), "the model's own, before all that"
    np.testing.assert_array_equal(logits, before)


def test_draws_have_the_penalised_distribution() -> None:
    logits = np.array([1.0, 0.5, 0.0, -1.0], np.float32)
    how: dict[str, Any] = {"temperature": 0.8, "frequency_penalty": 0.6, "logit_bias": ((3, 1.5),)}
    counts = Counter(
        Sampler(SamplingParams(seed=seed, **how), drawn=[0, 0, 1]).draw(logits).token for seed in range(1500)
    )
    expected = changed(logits, SamplingParams(**how), [], [0, 0, 1])
    fits(counts, naive(expected, SamplingParams(temperature=0.8)))


def greedy(logits: Logits, steps: int, **params: Any) -> list[int]:
    sampler = Sampler(SamplingParams(temperature=0, **params), prompt=[0, 0, 0])
    return [sampler.draw(logits).token for _ in range(steps)]


def test_the_prompt_counts_for_repetition_alone() -> None:
    logits = np.array([3.0, 2.9, 2.0], np.float32)
    assert greedy(logits, 1, presence_penalty=2.0, frequency_penalty=2.0) == [0]
    assert greedy(logits, 1, repetition_penalty=2.0) == [1]


def test_presence_counts_once_and_frequency_each_time() -> None:
    logits = np.array([3.0, 2.9, 0.0], np.float32)
    assert greedy(logits, 5, presence_penalty=0.5) == [0, 1, 0, 0, 0]
    assert greedy(logits, 6, frequency_penalty=0.5) == [0, 1, 0, 1, 0, 1]
    assert greedy(logits, 12, frequency_penalty=0.5)[-3:] != [0, 1, 0]


def test_negative_penalties_reward_what_was_said() -> None:
    logits = np.array([1.0, 0.9, 0.5], np.float32)
    first = Sampler(SamplingParams(temperature=0, frequency_penalty=-0.1), drawn=[1])
    assert [first.draw(logits).token for _ in range(3)] == [0, 0, 0], "1.0 leads by a tie and then by more"
    second = Sampler(SamplingParams(temperature=0, frequency_penalty=-0.2), drawn=[1])
    assert [second.draw(logits).token for _ in range(3)] == [1, 1, 1]


def test_biases_of_a_hundred_ban_and_force() -> None:
    logits = np.array([5.0, 0.0, -5.0], np.float32)
    for seed in range(20):
        for bias, token in (((2, 100.0), 2), ((0, -100.0), None)):
            params = SamplingParams(temperature=1.0, seed=seed, logit_bias=(bias,))
            found = Sampler(params).draw(logits).token
            assert found == token if token is not None else found != 0


@pytest.mark.parametrize("huge", [1e308, -1e308])
def test_absurd_numbers_stay_numbers(huge: float) -> None:
    logits = np.array([5.0, -np.inf, 1.0], np.float32)
    for params in (
        {"presence_penalty": huge},
        {"frequency_penalty": huge, "presence_penalty": -huge},
        {"logit_bias": ((0, huge), (1, huge))},
    ):
        for temperature in (0.0, 0.5):
            sampler = Sampler(SamplingParams(temperature=temperature, **params), drawn=[0, 0])  # type: ignore[arg-type]
            drawn = sampler.draw(logits)
            assert drawn.token in (0, 2)
            assert math.isfinite(drawn.logprob)


def test_a_bias_of_a_token_that_is_none_is_refused() -> None:
    sampler = Sampler(SamplingParams(logit_bias=((0, 1.0), (4, 1.0))))
    with pytest.raises(InvalidInput, match="names token 4, but the model's vocabulary has 4"):
        sampler.draw(np.zeros(4, np.float32))
    for bad in (((-1, 1.0),), ((0, math.nan),), ((0, math.inf),)):
        with pytest.raises(InvalidInput, match="logit_bias"):
            SamplingParams(logit_bias=bad)
    for name in ("presence_penalty", "frequency_penalty"):
        with pytest.raises(InvalidInput, match=name):
            SamplingParams(**{name: math.nan})


# Alternatives


@given(finite_logits, st.integers(1, 20), st.sampled_from([0.0, 1.0]))
@settings(max_examples=60, deadline=None)
def test_alternatives_are_the_models_likeliest(logits: Logits, count: int, temperature: float) -> None:
    params = SamplingParams(
        temperature=temperature, top_logprobs=count, logit_bias=((0, -3.0),), presence_penalty=1.0
    )
    exact = logits.astype(np.float64) - np.log(np.exp(logits.astype(np.float64)).sum())
    ordered = sorted(range(len(logits)), key=lambda token: (-logits[token], token))[:count]
    drawn = Sampler(params, drawn=[0]).draw(logits)
    assert [token for token, _ in drawn.top] == ordered
    for token, logprob in drawn.top:
        assert logprob == pytest.approx(exact[token], abs=1e-5)
        if token == drawn.token:
            assert logprob == drawn.logprob


def test_impossible_alternatives_are_left_out() -> None:
    logits = np.array([0.0, -np.inf, 1.0], np.float32)
    drawn = Sampler(SamplingParams(top_logprobs=3)).draw(logits)
    assert [token for token, _ in drawn.top] == [2, 0]


# Other ways to come to tokens

PENALISED: dict[str, Any] = {
    "presence_penalty": 0.5,
    "frequency_penalty": -0.3,
    "repetition_penalty": 1.2,
    "logit_bias": ((2, 0.7), (0, -1.0)),
    "top_logprobs": 2,
}


@given(
    seed=st.integers(0, 999),
    temperature=st.sampled_from([0.0, 1.0]),
    frequency=penalty,
    length=st.sampled_from([1, 2, 4]),
    kind=st.sampled_from([Dice, Parrot]),
)
@settings(max_examples=40, deadline=None)
def test_speculation_draws_with_the_same_penalties(
    seed: int, temperature: float, frequency: float, length: int, kind: type[Dice]
) -> None:
    params = SamplingParams(
        temperature=temperature, seed=seed, **(PENALISED | {"frequency_penalty": frequency})
    )
    plain = run(params, language=None, max_tokens=12).traces[0]
    rules: list[AcceptanceRule] = ["exact"] if temperature else ["exact", "rejection"]
    for rule in rules:
        alone = SpeculativeDecoder(speculator(kind(far, seed), length), rule)
        trace = run(params, alone, language=None, max_tokens=12).traces[0]
        assert (trace.tokens, trace.logprobs, trace.top_logprobs) == (
            plain.tokens,
            plain.logprobs,
            plain.top_logprobs,
        )


def test_the_rejection_rule_keeps_the_penalised_distribution() -> None:
    runs, limit = 700, 3
    found: list[Counter[tuple[int, ...]]] = [Counter(), Counter()]
    for seed in range(runs):
        params = SamplingParams(temperature=1.0, seed=seed, frequency_penalty=1.5, logit_bias=((0, -2.0),))
        alone = SpeculativeDecoder(speculator(Dice(far, seed), 2), "rejection")
        found[0][tuple(run(params, alone, language=None, max_tokens=limit).traces[0].tokens)] += 1
    expected: dict[tuple[int, ...], float] = {}

    def walk(tokens: tuple[int, ...], share: float) -> None:
        logits = MODEL.logits([1, 3, 1, *tokens])
        for token, p in naive(
            changed(logits, params, [], list(tokens)), SamplingParams(temperature=1.0)
        ).items():
            if token == 0:
                expected[tokens] = expected.get(tokens, 0.0) + share * p
            elif len(tokens) + 1 == limit:
                expected[(*tokens, token)] = share * p
            else:
                walk((*tokens, token), share * p)

    walk((), 1.0)
    fits(found[0], expected)


@given(seed=st.integers(0, 999), temperature=st.sampled_from([0.0, 1.0]))
@settings(max_examples=25, deadline=None)
def test_early_exits_draw_with_the_same_penalties(seed: int, temperature: float) -> None:
    params = SamplingParams(temperature=temperature, seed=seed, **PENALISED)
    plain = run(params, language=None, max_tokens=12).traces[0]
    exits = EarlyExitDecoder([Head(cut, range(VOCAB)) for cut in CUTS], Confidence(0.4))
    session = FakeSession(MODEL, capabilities=EXITS)
    trace = run(params, exits, session=session, language=None, max_tokens=12).traces[0]
    assert (trace.tokens, trace.top_logprobs) == (plain.tokens, plain.top_logprobs)


def test_what_a_sample_continues_counts_as_its_own() -> None:
    """A sample that branches off has drawn its parent's tokens, and is penalised like one that was never paused."""
    params = SamplingParams(temperature=0.0, frequency_penalty=0.8, logit_bias=((0, -50.0),))
    whole = run(params, language=None, max_tokens=8).traces[0]
    session = FakeSession(MODEL)
    branch, logits = session.prefill([1, 3, 1])
    decoder = ParallelDecoder(session, branch, logits, params, max_tokens=8, greedy_first=False)
    decoder.start(1, last=True)
    decoder.step()
    decoder.pause(0)
    decoder.ready([0])
    decoder.branch_off(0, 1, last=True)
    while decoder.active:
        decoder.step()
    decoder.close()
    assert len(whole.tokens) > 3
    assert decoder.traces[1].tokens == whole.tokens


def test_what_concludes_a_sample_is_penalised_for_what_it_said() -> None:
    params = SamplingParams(temperature=0.0, presence_penalty=50.0, logit_bias=((0, -200.0),))
    session = FakeSession(MODEL)
    branch, logits = session.prefill([1, 3, 1])
    decoder = ParallelDecoder(session, branch, logits, params, max_tokens=12, greedy_first=False)
    decoder.start(1, last=True)
    begun = list(decoder.traces[0].tokens)
    forced = 1 if begun == [2] else 2
    decoder.conclude(0, [forced], 1, "budget")
    while decoder.active:
        decoder.step()
    decoder.close()
    tokens = decoder.traces[0].tokens
    assert tokens[:2] == [*begun, forced]
    assert sorted(tokens) == [1, 2, 3], "what was drawn and what was forced is not said again"
