"""Adaptive weighted rejection sampling: exactly the distribution of masking, and weights that are unbiased."""

from __future__ import annotations

import math
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import pytest
from automata import Automaton, Walker, one_place
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from test_constrained import LANGUAGE, MODEL, PROMPT, VOCAB, evidence, run
from test_sampling import fits, naive

from edgetts.decoding.rejection import PATIENCE, Accepted, best_allowed, reject
from edgetts.decoding.sampling import Sampler
from edgetts.errors import InvalidInput, InvalidLogits
from edgetts.types import SamplingParams

Logits = NDArray[np.float32]
REJECTION = SamplingParams(temperature=1.0, constraining="rejection")

# Of the tests that compare a mean with its expectation: 5.5 standard errors, a false alarm in 4e-8 of worlds. Seeds are
# fixed, so in ours always or never. Those that compare counts state their odds in `fits`.
STANDARD_ERRORS = 5.5


class Every:
    """Stands in for a generator, and leads through every course that drawing may take, one a run, with its probability.

    weights: the array that is drawn from, of one block: the second of each two numbers chooses inside.
    """

    def __init__(self, weights: Logits, course: Sequence[int], waiting: list[tuple[int, ...]]) -> None:
        self._weights, self._course, self._waiting = weights, list(course), waiting
        self._block = True
        self._taken: list[int] = []
        self.probability = 1.0

    def random(self) -> float:
        block, self._block = self._block, not self._block
        if block:
            return 0.5
        weights = self._weights.astype(np.float64)
        possible = np.flatnonzero(weights).tolist()
        if not self._course:
            self._waiting.extend((*self._taken, other) for other in possible[1:])
            self._course = possible[:1]
        token = self._course.pop(0)
        self._taken.append(token)
        self.probability *= float(weights[token] / weights.sum())
        before = float(weights[:token].sum())
        return (before + weights[token] / 2) / float(weights.sum())


def courses(weights: Logits, allowed: Sequence[int], patience: int) -> list[tuple[float, Accepted | None]]:
    """Return what comes of every course of one draw, with its probability."""
    waiting: list[tuple[int, ...]] = [()]
    found = []
    while waiting:
        own = weights.copy()
        every = Every(own, waiting.pop(), waiting)
        found.append(
            (every.probability, reject(own, one_place(len(own), allowed).start(), every, patience), every)
        )
    return [(every.probability, accepted) for _, accepted, every in found]


@given(
    st.lists(st.integers(1, 40), min_size=2, max_size=5),
    st.data(),
    st.sampled_from([1, 2, 3, 100]),
)
@settings(max_examples=60, deadline=None)
def test_every_course_of_a_draw_adds_up_to_the_mask(
    counts: list[int], data: st.DataObject, patience: int
) -> None:
    """By exact enumeration: tokens as often as by the mask, and weights that are proper together with them."""
    weights = np.array(counts, np.float32) / max(counts)
    allowed = sorted(data.draw(st.sets(st.integers(0, len(counts) - 1), min_size=1)))
    p = weights.astype(np.float64) / weights.sum(dtype=np.float64)
    share = float(p[allowed].sum())
    often: defaultdict[int, float] = defaultdict(float)
    weighed: defaultdict[int, float] = defaultdict(float)
    total = 0.0
    for probability, accepted in courses(weights, allowed, patience):
        total += probability
        if accepted is not None:
            often[accepted.token] += probability
            weighed[accepted.token] += probability * math.exp(accepted.log_share)
            continue
        # What gave up is drawn by the mask, whose weight is exact.
        for token in allowed:
            often[token] += probability * p[token] / share
            weighed[token] += probability * p[token]
    assert total == pytest.approx(1)
    assert set(often) == set(allowed)
    for token in allowed:
        assert often[token] == pytest.approx(p[token] / share, rel=1e-5)
        assert weighed[token] == pytest.approx(p[token], rel=1e-5), "E[weight 1(token)] = p(token)"
    assert sum(weighed.values()) == pytest.approx(share, rel=1e-5)


@pytest.mark.parametrize("allowed", [[0], [2, 7], [1, 2, 5, 6], [0, 1, 2, 3, 5, 6, 7]])
@pytest.mark.parametrize("temperature", [0.6, 1.0])
def test_seeds_draw_what_masking_draws(allowed: list[int], temperature: float) -> None:
    logits = np.array([2.0, -1.0, 0.5, 2.0, -np.inf, 1.25, -3.0, 0.0], np.float32)
    masked = np.full(8, -np.inf, np.float32)
    masked[allowed] = logits[allowed]
    expected = naive(masked, SamplingParams(temperature=temperature))
    free = naive(logits, SamplingParams(temperature=temperature))
    share = sum(free[token] for token in allowed)
    counts: Counter[int] = Counter()
    weights = []
    for seed in range(1000):
        params = SamplingParams(temperature=temperature, seed=seed, constraining="rejection")
        drawn = Sampler(params, matcher=one_place(8, allowed).start()).draw(logits)
        counts[drawn.token] += 1
        weights.append(math.exp(drawn.log_share))
    if len(expected) > 1:
        fits(counts, expected)
    else:
        assert set(counts) == set(expected)
    mean, error = np.mean(weights), np.std(weights) / math.sqrt(len(weights))
    sys.stdout.write(f"Z = {share:.4f}, estimated {mean:.4f} with a standard error of {error:.4f}\n")
    assert abs(mean - share) <= STANDARD_ERRORS * error + 1e-6


@pytest.mark.parametrize("constraining", ["mask", "rejection"])
def test_samples_estimate_the_evidence_without_bias(constraining: str) -> None:
    """The mean weight of whole samples is how likely the model keeps to the language by itself."""
    exact = evidence()
    weights, weighed = [], []
    for seed in range(800):
        params = SamplingParams(temperature=1.0, seed=seed, constraining=constraining)  # type: ignore[arg-type]
        trace = run(params).traces[0]
        weights.append(math.exp(trace.log_weight))
        weighed.append(math.exp(trace.log_weight) * (3 in trace.tokens))
    some = sum(free for tokens, free, _ in LANGUAGE.samples(after, 0, 4) if 3 in tokens)
    for values, true in ((weights, exact), (weighed, some)):
        mean, error = np.mean(values), np.std(values) / math.sqrt(len(values))
        sys.stdout.write(f"{mean:.5f} for {true:.5f}, {(mean - true) / error:+.2f} standard errors\n")
        assert abs(mean - true) < STANDARD_ERRORS * error


def after(tokens: tuple[int, ...]) -> Sequence[float]:
    return MODEL.probabilities((*PROMPT, *tokens))


@pytest.mark.parametrize("constraining", ["mask", "rejection"])
def test_whole_samples_have_the_distribution_of_masking(constraining: str) -> None:
    counts: Counter[tuple[int, ...]] = Counter()
    for seed in range(800):
        params = SamplingParams(temperature=1.0, seed=seed, constraining=constraining)  # type: ignore[arg-type]
        counts[tuple(run(params).traces[0].tokens)] += 1
    expected: defaultdict[tuple[int, ...], float] = defaultdict(float)
    for tokens, _, within in LANGUAGE.samples(after, 0, 4):
        expected[tokens] += within
    fits(counts, expected)


# Cost


def test_what_the_model_would_say_anyway_takes_two_questions_and_no_mask() -> None:
    language = one_place(VOCAB, range(VOCAB))
    sampler = Sampler(REJECTION, matcher=language.start())
    for _ in range(5):
        sampler.draw(np.zeros(VOCAB, np.float32))
    assert len(language.asked) == 10
    assert language.masks == 0


def test_patience_ends_in_the_mask() -> None:
    logits = np.zeros(4000, np.float32)
    logits[3999] = -30.0
    for greedy in (False, True):
        language = one_place(4000, [3999])
        drawn = Sampler(REJECTION, matcher=language.start(), greedy=greedy).draw(logits)
        assert drawn.token == 3999
        assert (len(language.asked), len(set(language.asked)), language.masks) == (PATIENCE, PATIENCE, 1)
        assert drawn.log_share == (0.0 if greedy else pytest.approx(-30 - math.log(3999), abs=1e-4))


@pytest.mark.parametrize("gap", [60.0, 200.0, 3e4])
def test_what_single_precision_cannot_tell_is_left_to_the_mask(gap: float) -> None:
    """Behind the best token, all others together weigh less than a float tells apart."""
    logits = np.array([gap, 0.0, 0.0, -1.0], np.float32)
    counts: Counter[int] = Counter()
    for seed in range(600):
        params = SamplingParams(temperature=1.0, seed=seed, constraining="rejection")
        drawn = Sampler(params, matcher=one_place(4, [1, 3]).start()).draw(logits)
        counts[drawn.token] += 1
        assert math.isfinite(drawn.log_share)
        assert drawn.log_share < -gap + 2
    fits(counts, {1: 1 / (1 + math.exp(-1)), 3: math.exp(-1) / (1 + math.exp(-1))})


def test_nothing_allowed_is_refused_after_some_questions() -> None:
    for greedy in (False, True):
        sampler = Sampler(REJECTION, matcher=one_place(3, []).start(), greedy=greedy)
        with pytest.raises(InvalidLogits, match="finds none possible"):
            sampler.draw(np.zeros(3, np.float32))


# Greed

few = st.integers(-3, 3).map(float)


@given(
    arrays.arrays(np.float32, st.integers(1, 40), elements=few | st.just(-np.inf)),
    st.data(),
)
@settings(max_examples=60, deadline=None)
def test_the_greediest_allowed_token_is_that_of_the_mask(logits: Logits, data: st.DataObject) -> None:
    allowed = sorted(data.draw(st.sets(st.integers(0, len(logits) - 1), min_size=1)))
    before = logits.copy()
    possible = [token for token in allowed if logits[token] > -np.inf]
    found = []
    for params in (REJECTION, SamplingParams()):
        sampler = Sampler(params, greedy=True, matcher=one_place(len(logits), allowed).start())
        if not possible:
            with pytest.raises(InvalidLogits):
                sampler.draw(logits)
            continue
        found.append(sampler.draw(logits).token)
    if possible:
        assert found == [max(possible, key=lambda token: (logits[token], -token))] * 2
    asked = one_place(len(logits), allowed)
    best = best_allowed(logits, asked.start())
    assert best is None or best in possible
    ordered = sorted(range(len(logits)), key=lambda token: (-logits[token], token))
    assert asked.asked == ordered[: len(asked.asked)], "in descending order, the lower id first"
    np.testing.assert_array_equal(logits, before)


# What may be asked for


@pytest.mark.parametrize("filters", [{"top_k": 3}, {"top_p": 0.9}, {"min_p": 0.1}], ids=str)
def test_filters_depend_on_the_whole_mask(filters: dict[str, float]) -> None:
    with pytest.raises(InvalidInput, match="depend on all that are allowed") as error:
        SamplingParams(constraining="rejection", **filters)  # type: ignore[arg-type]
    assert "mask" in str(error.value.hint)
    assert SamplingParams(constraining="rejection", temperature=0, **filters).temperature == 0  # type: ignore[arg-type]


def test_other_ways_are_refused() -> None:
    with pytest.raises(InvalidInput, match="mask or rejection"):
        SamplingParams(constraining="hope")  # type: ignore[arg-type]


def test_a_matcher_is_not_asked_where_there_is_none() -> None:
    logits = np.array([0.3, 1.0, -2.0], np.float32)
    for seed in range(20):
        plain = SamplingParams(temperature=1.0, seed=seed)
        other = SamplingParams(temperature=1.0, seed=seed, constraining="rejection")
        assert Sampler(plain).draw(logits) == Sampler(other).draw(logits)


def test_walkers_of_this_file_obey_the_protocol() -> None:
    walker = LANGUAGE.start()
    assert isinstance(walker, Walker)
    assert isinstance(LANGUAGE, Automaton)
    other = walker.copy()
    other.take(1)
    assert (walker.taken, other.taken) == ((), (1,))
    with pytest.raises(InvalidInput):
        walker.take(2)
