"""The laws of drawing one token: distributions against a naive sampler, seeds, ties, broken logits."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import cycle
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from edgetts.decoding.penalties import Penalties
from edgetts.decoding.sampling import Sampler
from edgetts.errors import InvalidInput, InvalidLogits
from edgetts.testing import goodness_of_fit
from edgetts.types import SPREAD_TEMPERATURE, SamplingParams

Logits = NDArray[np.float32]

# A right sampler fails a statistical test of this file in one of a million worlds; seeds are fixed,
# so in ours it does always or never.
FALSE_ALARM = 1e-6

GRID = 250
SKEWED = np.array([2.0, -1.0, 0.5, 2.0, -np.inf, 1.25, -3.0, 0.0], np.float32)


def naive(logits: Logits, params: SamplingParams, seen: Iterable[int] = ()) -> dict[int, float]:
    """Return the distribution that SamplingParams describes, one step after the other, in float64."""
    scores = logits.astype(np.float64)
    for token in set(seen):
        penalty = params.repetition_penalty
        scores[token] = scores[token] / penalty if scores[token] > 0 else scores[token] * penalty
    temperature = SPREAD_TEMPERATURE if params.temperature is None else params.temperature
    # Likely first; of equals, the lower id.
    order = sorted(range(len(scores)), key=lambda token: (-scores[token], token))
    if temperature == 0:
        return {order[0]: 1.0}
    weights = {token: math.exp((scores[token] - scores[order[0]]) / temperature) for token in order}
    if params.top_k:
        weights = {token: weights[token] for token in order[: params.top_k]}
    if params.top_p < 1:
        total, before, kept = sum(weights.values()), 0.0, {}
        for token, weight in weights.items():
            if before < params.top_p * total:
                kept[token] = weight
            before += weight
        weights = kept
    weights = {t: w for t, w in weights.items() if w > 0 and w >= params.min_p * max(weights.values())}
    total = sum(weights.values())
    return {token: weight / total for token, weight in weights.items()}


class Sweep:
    """Stands in for a generator: numbers that cover [0, 1) evenly, so that counts are probabilities."""

    def __init__(self, count: int) -> None:
        self._numbers: Iterator[float] = cycle((i + 0.5) / count for i in range(count))

    def random(self) -> float:
        return next(self._numbers)


def swept(
    logits: Logits, params: SamplingParams, seen: Sequence[int] = (), count: int = GRID
) -> dict[int, float]:
    """Return a sampler's distribution, exact to 1 / count."""
    counts: Counter[int] = Counter()
    sampler, sweep = Sampler(params, prompt=seen), Sweep(count)
    filtered = params.top_k or params.top_p < 1 or params.min_p
    for _ in range(count):
        sampler._penalties = Penalties(params, prompt=seen)
        sampler._random = sweep if filtered else Blocks(sweep)  # type: ignore[assignment]
        counts[sampler.draw(logits).token] += 1
    return {token: n / count for token, n in counts.items()}


class Blocks:
    """Chooses the first block of the vocabulary, and sweeps inside."""

    def __init__(self, sweep: Sweep) -> None:
        self._first, self._sweep = True, sweep

    def random(self) -> float:
        first, self._first = self._first, False
        return 0.5 if first else self._sweep.random()


def drawn(logits: Logits, count: int, **params: Any) -> Counter[int]:
    """Draw with `count` different seeds."""
    return Counter(Sampler(SamplingParams(seed=seed, **params)).draw(logits).token for seed in range(count))


def fits(counts: Counter[Any], probabilities: dict[Any, float]) -> None:
    fit = goodness_of_fit(counts, probabilities)
    sys.stdout.write(
        f"{fit}; a right sampler falls below {FALSE_ALARM} once in {1 / FALSE_ALARM:,.0f} runs\n"
    )
    assert fit.p > FALSE_ALARM


# The distribution

finite_logits = arrays.arrays(
    np.float32, st.integers(1, 40), elements=st.floats(-8, 8, width=32).map(lambda x: round(x * 4) / 4)
)
params_strategy = st.builds(
    SamplingParams,
    temperature=st.sampled_from([0.1, 0.5, 1.0, 1.7]),
    top_k=st.integers(0, 45),
    top_p=st.sampled_from([0.05, 0.33, 0.9, 0.987, 1.0]),
    min_p=st.sampled_from([0.0, 0.01, 0.21, 0.9]),
    repetition_penalty=st.sampled_from([0.8, 1.0, 1.3, 5.0]),
)


@settings(max_examples=40, deadline=None)
@given(finite_logits, params_strategy, st.sets(st.integers(0, 39)))
def test_any_filters_give_the_naive_distribution(
    logits: Logits, params: SamplingParams, seen: set[int]
) -> None:
    known = [token for token in seen if token < len(logits)]
    found = swept(logits, params, known)
    # Rounding may decide at a filter's edge otherwise, so both sides of the edge are right.
    near = [
        naive(logits, SamplingParams(**(_fields(params) | {"top_p": top_p, "min_p": min_p})), known)
        for top_p in {max(params.top_p - 1e-6, 1e-9), min(params.top_p + 1e-6, 1.0)}
        for min_p in {max(params.min_p - 1e-6, 0.0), min(params.min_p + 1e-6, 0.999)}
        if (top_p == 1) == (params.top_p == 1) or params.top_p == 1
    ]
    assert any(_close(found, expected) for expected in [naive(logits, params, known), *near]), (
        found,
        near[0],
    )


def _fields(params: SamplingParams) -> dict[str, Any]:
    return {name: getattr(params, name) for name in SamplingParams.__dataclass_fields__}


def _close(found: dict[int, float], expected: dict[int, float]) -> bool:
    # A token may be cut by the grid at both of its ends.
    return all(
        abs(found.get(token, 0.0) - expected.get(token, 0.0)) <= 2 / GRID + 1e-9 for token in found | expected
    ) and set(found) <= set(expected)


@pytest.mark.parametrize(
    "params",
    [
        {"temperature": 1.0},
        {"temperature": 0.6},
        {"temperature": 2.5},
        {"temperature": None},
        {"temperature": 1.0, "top_k": 3},
        {"temperature": 1.0, "top_p": 0.8},
        {"temperature": 1.0, "min_p": 0.2},
        {"temperature": 0.8, "top_k": 6, "top_p": 0.95, "min_p": 0.05},
    ],
    ids=str,
)
def test_seeds_draw_from_the_distribution(params: dict[str, Any]) -> None:
    counts = drawn(SKEWED, 1500, **params)
    fits(counts, naive(SKEWED, SamplingParams(**params)))


def test_one_sampler_draws_from_the_distribution_again_and_again() -> None:
    params = SamplingParams(temperature=1.0, seed=11)
    sampler = Sampler(params)
    pairs = Counter((sampler.draw(SKEWED).token, sampler.draw(SKEWED).token) for _ in range(3000))
    alone = naive(SKEWED, params)
    fits(pairs, {(a, b): alone[a] * alone[b] for a in alone for b in alone})


def test_samples_of_one_seed_are_independent() -> None:
    params = SamplingParams(temperature=1.0, seed=5)
    pairs = Counter(
        (Sampler(params, 2 * i).draw(SKEWED).token, Sampler(params, 2 * i + 1).draw(SKEWED).token)
        for i in range(3000)
    )
    alone = naive(SKEWED, params)
    fits(pairs, {(a, b): alone[a] * alone[b] for a in alone for b in alone})


def test_these_counts_would_show_a_small_mistake() -> None:
    counts = drawn(SKEWED, 4000, temperature=0.6)
    for wrong in (
        {"temperature": 0.7},
        {"temperature": 0.6, "top_p": 0.97},
        {"temperature": 0.6, "top_k": 5},
    ):
        assert goodness_of_fit(counts, naive(SKEWED, SamplingParams(**wrong))).p < FALSE_ALARM


@pytest.mark.parametrize("size", [255, 256, 257, 2000, 151_936])
def test_large_vocabularies_are_drawn_from_evenly(size: int) -> None:
    """The vocabulary is summed in blocks; its last may be shorter."""
    logits = np.sin(np.arange(size)).astype(np.float32)
    weights = np.exp(logits.astype(np.float64))
    bucket = np.arange(size) * 16 // size
    shares = np.bincount(bucket, weights) / weights.sum()
    sampler = Sampler(SamplingParams(temperature=1.0))
    counts = Counter(int(bucket[sampler.draw(logits).token]) for _ in range(800))
    fits(counts, dict(enumerate(shares.tolist())))
    last = logits.copy()
    last[:-1] = -np.inf
    assert sampler.draw(last).token == size - 1


# Seeds and greed


@given(st.integers(0, 2**70), st.integers(0, 100))
def test_the_same_seed_and_index_give_the_same_tokens(seed: int, index: int) -> None:
    params = SamplingParams(temperature=1.0, seed=seed)
    one, two = Sampler(params, index), Sampler(params, index)
    assert [one.draw(SKEWED) for _ in range(8)] == [two.draw(SKEWED) for _ in range(8)]


def test_other_seeds_and_indices_give_other_tokens() -> None:
    def tokens(seed: int, index: int) -> tuple[int, ...]:
        sampler = Sampler(SamplingParams(temperature=1.0, seed=seed), index)
        return tuple(sampler.draw(SKEWED).token for _ in range(24))

    streams = {tokens(seed, index) for seed in range(8) for index in range(8)}
    assert len(streams) == 64


@given(finite_logits, st.integers(0, 2**40), st.integers(0, 50))
def test_temperature_zero_ignores_seeds_and_filters(logits: Logits, seed: int, top_k: int) -> None:
    params = SamplingParams(temperature=0, seed=seed, top_k=top_k, top_p=0.5, min_p=0.5)
    assert Sampler(params).greedy
    assert Sampler(params).draw(logits).token == int(np.flatnonzero(logits == logits.max())[0])
    assert Sampler(SamplingParams(temperature=1.9, seed=seed), greedy=True).draw(logits).token == int(
        logits.argmax()
    )


def test_of_equals_the_lowest_id_wins() -> None:
    logits = np.array([0, 3, 1, 3, 3], np.float32)
    assert Sampler(SamplingParams(temperature=0)).draw(logits).token == 1
    assert set(drawn(logits, 300, temperature=1.0, top_k=2)) == {1, 3}
    assert set(drawn(logits, 300, temperature=1.0, top_p=0.6)) == {1, 3}
    assert set(drawn(np.zeros(9, np.float32), 300, temperature=1.0, top_k=3)) == {0, 1, 2}


def test_a_nucleus_is_the_smallest_that_reaches_its_share() -> None:
    """Four even tokens: two reach a half, and nothing rounds."""
    for top_p, expected in ((0.25, {0}), (0.5, {0, 1}), (0.51, {0, 1, 2}), (0.75, {0, 1, 2})):
        assert set(drawn(np.zeros(4, np.float32), 200, temperature=1.0, top_p=top_p)) == expected


@pytest.mark.parametrize("number", [0.0, 1 - 2**-53])
@pytest.mark.parametrize("size", [5, 700])
@pytest.mark.parametrize("filters", [{}, {"top_k": 3}, {"top_p": 0.9}, {"min_p": 0.01}], ids=str)
def test_the_generators_ends_draw_possible_tokens(number: float, size: int, filters: dict[str, Any]) -> None:
    class Stuck:
        def random(self) -> float:
            return number

    logits = np.full(size, -np.inf, np.float32)
    logits[[2, 3]] = [0.1, 0.0]
    sampler = Sampler(SamplingParams(temperature=1.0, **filters))
    sampler._random = Stuck()  # type: ignore[assignment]
    assert sampler.draw(logits).token == (2 if number == 0 else 3)


@pytest.mark.parametrize("temperature", [1e-3, 1e-30, 1e-38, 1e-39, 1e-45, 5e-324])
def test_the_coldest_temperatures_are_greedy(temperature: float) -> None:
    for params in ({}, {"top_k": 4}, {"top_p": 0.9}, {"min_p": 0.1}):
        assert set(drawn(SKEWED, 50, temperature=temperature, **params)) <= {0, 3}
        assert set(drawn(SKEWED[:3], 50, temperature=temperature, **params)) == {0}


def test_the_hottest_temperatures_are_even() -> None:
    counts = drawn(SKEWED, 3000, temperature=1e30)
    fits(counts, {token: 1 / 7 for token in range(8) if token != 4})


# Penalties


def test_a_penalty_divides_what_is_positive_and_multiplies_what_is_not() -> None:
    logits = np.array([4.0, 3.0, -1.0, -1.5], np.float32)
    twice = SamplingParams(temperature=0, repetition_penalty=2.0)
    assert Sampler(twice, prompt=[0]).draw(logits).token == 1
    assert Sampler(twice, prompt=[0, 1]).draw(logits).token == 0
    negative = logits - 5
    assert Sampler(twice, prompt=[0]).draw(negative).token == 0, "-1 becomes -2, and ties with the next"
    assert (
        Sampler(SamplingParams(temperature=0, repetition_penalty=2.1), prompt=[0]).draw(negative).token == 1
    )


def test_drawn_tokens_count_as_seen() -> None:
    logits = np.array([3.0, 2.9, 2.8, -9.0], np.float32)
    sampler = Sampler(SamplingParams(temperature=0, repetition_penalty=1.2))
    assert [sampler.draw(logits).token for _ in range(4)] == [0, 1, 2, 0]
    plain = Sampler(SamplingParams(temperature=0), prompt=[0])
    assert [plain.draw(logits).token for _ in range(3)] == [0, 0, 0]


def test_a_penalty_may_reward() -> None:
    logits = np.array([1.0, 0.9], np.float32)
    assert Sampler(SamplingParams(temperature=0, repetition_penalty=0.5), prompt=[1]).draw(logits).token == 1


# Log-probs


@settings(max_examples=50, deadline=None)
@given(finite_logits, params_strategy, st.sets(st.integers(0, 39)))
@example(np.zeros(1, np.float32), SamplingParams(temperature=0), set())
def test_logprobs_are_the_models_own(logits: Logits, params: SamplingParams, seen: set[int]) -> None:
    """Of the distribution at temperature 1, whatever was filtered or penalised."""
    before = logits.copy()
    sampler = Sampler(params, prompt=[token for token in seen if token < len(logits)])
    exact = logits.astype(np.float64)
    exact = exact - exact.max() - math.log(np.exp(exact - exact.max()).sum())
    for _ in range(3):
        found = sampler.draw(logits)
        assert found.logprob == pytest.approx(exact[found.token], abs=1e-5)
        assert found.logprob <= 1e-6
    np.testing.assert_array_equal(logits, before)


def test_logprobs_of_a_large_vocabulary_are_exact() -> None:
    logits = np.random.default_rng(3).standard_normal(151_936).astype(np.float32) * 3
    exact = logits.astype(np.float64) - np.log(np.exp(logits.astype(np.float64)).sum())
    found = Sampler(SamplingParams(temperature=1.0)).draw(logits)
    assert found.logprob == pytest.approx(exact[found.token], abs=1e-5)


# Broken and extreme logits

ANY_PARAMS = [
    SamplingParams(temperature=0),
    SamplingParams(temperature=1.0),
    SamplingParams(temperature=1.0, top_k=2),
    SamplingParams(temperature=1.0, top_p=0.5),
    SamplingParams(temperature=1.0, min_p=0.5),
    SamplingParams(temperature=0.5, repetition_penalty=1.5),
    SamplingParams(temperature=0.5, frequency_penalty=-0.5, logit_bias=((1, 2.0),), top_logprobs=2),
]


@pytest.mark.parametrize("params", ANY_PARAMS, ids=str)
@pytest.mark.parametrize(
    "bad", [[0, np.nan, 1], [np.nan] * 3, [np.inf, 0, 1], [-np.inf] * 3, [np.nan, np.inf, -np.inf]], ids=str
)
def test_broken_logits_are_refused(bad: list[float], params: SamplingParams) -> None:
    with pytest.raises(InvalidLogits, match="no token can be chosen") as error:
        Sampler(params, prompt=[1]).draw(np.array(bad, np.float32))
    assert error.value.hint


@pytest.mark.parametrize("params", ANY_PARAMS, ids=str)
def test_impossible_tokens_are_never_drawn(params: SamplingParams) -> None:
    logits = np.full(600, -np.inf, np.float32)
    logits[[17, 300, 599]] = [0.5, 0.25, -2.0]
    sampler = Sampler(params, prompt=[0, 17])
    assert {sampler.draw(logits).token for _ in range(200)} <= {17, 300, 599}
    only = np.full(600, -np.inf, np.float32)
    only[3] = -80.0
    assert sampler.draw(only).token == 3


@settings(max_examples=100, deadline=None)
@given(
    arrays.arrays(
        np.float32,
        st.integers(1, 300),
        elements=st.floats(-(2.0**99), 2.0**99, width=32) | st.sampled_from([-np.inf, np.inf]),
    ),
    st.builds(
        SamplingParams,
        temperature=st.floats(0, 1e300),
        top_k=st.integers(0, 700),
        top_p=st.floats(0, 1, exclude_min=True),
        min_p=st.floats(0, 1, exclude_max=True),
        repetition_penalty=st.floats(1e-3, 1e3),
        presence_penalty=st.floats(-1e300, 1e300),
        frequency_penalty=st.floats(-1e300, 1e300),
        top_logprobs=st.integers(0, 20),
        seed=st.integers(0, 2**64),
    ),
)
def test_any_logits_give_a_possible_token_or_a_refusal(logits: Logits, params: SamplingParams) -> None:
    sampler = Sampler(params, prompt=[0])
    try:
        found = sampler.draw(logits)
    except InvalidLogits:
        assert not np.isfinite(logits.max())
        return
    assert np.isfinite(logits[found.token])
    assert math.isfinite(found.logprob)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("temperature", [-0.1, math.nan, math.inf]),
        ("top_k", [-1]),
        ("top_p", [0.0, 1.01, math.nan, -1]),
        ("min_p", [-0.1, 1.0, math.nan]),
        ("repetition_penalty", [0.0, -1.0, math.nan, math.inf]),
        ("seed", [-1]),
    ],
)
def test_params_that_cannot_be_are_refused(name: str, values: list[float]) -> None:
    for value in values:
        with pytest.raises(InvalidInput, match=name):
            SamplingParams(**{name: value})
