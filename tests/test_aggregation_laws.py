"""What holds of every aggregator, of each, and what they promise on models small enough to enumerate."""

from __future__ import annotations

import itertools
import math
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetts.selection.aggregation import (
    AGGREGATORS,
    Aggregator,
    BestOfMajority,
    BestOfN,
    ConfidenceWeighted,
    LengthFiltered,
    LikelihoodWeighted,
    Majority,
    PerplexityConsistency,
    ProbabilityWeighted,
    ShortestFew,
    ShortestMajority,
    Tally,
    Verified,
    Vote,
    WeightedBestOfN,
    make_aggregator,
)
from edgetts.selection.aggregation.weibull import Mixture, Weibull, fit
from edgetts.testing import ToyModel

EVERY: list[Aggregator] = [
    *(make_aggregator(name) for name in AGGREGATORS),
    PerplexityConsistency("path", prune_from=4),
    LikelihoodWeighted(per_token=True),
    Verified(0.9, 0.3),
    BestOfMajority(alpha=0.0),
]
PROPORTIONAL: list[Aggregator] = [
    Majority(),
    ProbabilityWeighted(),
    ConfidenceWeighted(),
    LikelihoodWeighted(),
    ShortestMajority(),
    BestOfN(),
    WeightedBestOfN(),
    BestOfMajority(),
    PerplexityConsistency(prune_from=4),
]
"""What does not change when every sample is there twice."""
every = pytest.mark.parametrize("aggregator", EVERY, ids=repr)
votes_of_all_kinds = (
    st.integers(1, 12).flatmap(lambda size: st.tuples(*(vote(i) for i in range(size)))).map(list)
)


def vote(sample: int) -> st.SearchStrategy[Vote]:
    """Few values of each field, so that ties of every kind are frequent; all that any aggregator needs is there."""
    return st.builds(
        Vote,
        sample=st.just(sample),
        answer=st.sampled_from([None, "1", "2", "3"]),
        logprob=st.sampled_from([-0.5, -1.0, -2.0, -3.7, -900.0, -math.inf]),
        tokens=st.sampled_from([1, 3, 7, 50]),
        complete=st.booleans(),
        explicit=st.booleans(),
        answer_logprob=st.sampled_from([0.0, -0.1, -2.0, -800.0, -math.inf]),
        answer_tokens=st.sampled_from([1, 2]),
        path=st.sampled_from([(), (1,), (2,), (sample, 3)]),
        score=st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]),
        passed=st.sampled_from([None, True, False]) if sample else st.booleans(),
    )


def assert_close(one: Mapping[str, float], other: Mapping[str, float]) -> None:
    assert dict(one) == pytest.approx(dict(other), abs=1e-9)


@every
@given(votes=votes_of_all_kinds, rng=st.randoms(use_true_random=False))
@settings(max_examples=15, deadline=None)
def test_order_does_not_matter(aggregator: Aggregator, votes: list[Vote], rng: random.Random) -> None:
    shuffled = votes[:]
    rng.shuffle(shuffled)
    one, other = aggregator(votes), aggregator(shuffled)
    assert one == other, "to the last bit"
    assert list(one.distribution) == list(other.distribution)


@every
@given(votes=votes_of_all_kinds)
@settings(max_examples=15, deadline=None)
def test_what_answers_are_called_does_not_matter(aggregator: Aggregator, votes: list[Vote]) -> None:
    names = {"1": "z", "2": "a", "3": "m"}
    one = aggregator(votes)
    other = aggregator([replace(v, answer=v.answer and names[v.answer]) for v in votes])
    assert other.answer == (one.answer and names[one.answer])
    assert other.sample == one.sample
    assert list(other.distribution.items()) == [(names[a], share) for a, share in one.distribution.items()]


@every
@given(votes=votes_of_all_kinds)
@settings(max_examples=30, deadline=None)
def test_every_tally_is_a_distribution_led_by_its_winner(aggregator: Aggregator, votes: list[Vote]) -> None:
    tally = aggregator(votes)
    counted = [v for v in votes if v.counts]
    assert set(tally.counts) == set(tally.distribution) == {v.answer for v in counted}
    assert list(tally.counts) == list(tally.distribution)
    assert sum(tally.counts.values()) == len(counted)
    assert (tally.answer is None) == (not counted)
    if counted:
        assert tally.answer == next(iter(tally.distribution))
        shares = list(tally.distribution.values())
        assert math.fsum(shares) == pytest.approx(1, abs=1e-12)
        assert shares == sorted(shares, reverse=True)
        assert min(shares) >= 0
        shown = next(v for v in counted if v.sample == tally.sample)
        assert shown.answer == tally.answer
    else:
        assert tally.sample in {v.sample for v in votes}
    confident = len(counted) > 1 and tally.answer is not None
    if any(v.passed for v in counted if v.answer == tally.answer) or not any(
        v.passed is False for v in votes
    ):
        assert tally.confidence == (tally.distribution[tally.answer or ""] if confident else None)
    else:  # a verifier found no text of it right, so that the right answer may be none of these
        assert (tally.confidence is not None) == confident
        assert tally.confidence is None or tally.confidence <= tally.distribution[tally.answer or ""]
    assert "uncalibrated" in tally.confidence_source


@every
@given(votes=votes_of_all_kinds, swapped=st.booleans())
@settings(max_examples=15, deadline=None)
def test_exact_ties_go_by_probability_then_to_the_lowest_sample(
    aggregator: Aggregator, votes: list[Vote], swapped: bool
) -> None:
    """Two answers with the same evidence: the second one's texts are copies of the first one's."""
    first, second = ("2", "1") if swapped else ("1", "2")
    n = len(votes)
    low = [replace(v, answer=first, path=(v.sample,), logprob=max(v.logprob, -4.0)) for v in votes]
    high = [replace(v, answer=second, sample=v.sample + n, path=(v.sample + n,)) for v in low]
    tally = aggregator([*high, *low])
    if tally.answer is None:
        return
    assert list(tally.distribution.values()) == [0.5, 0.5]
    assert tally.answer == first
    if "logprobs" not in aggregator.needs and aggregator.name != "auto":
        likelier = [replace(v, logprob=v.logprob / 2) for v in high]
        assert aggregator([*low, *likelier]).answer == second


@pytest.mark.parametrize("aggregator", PROPORTIONAL, ids=repr)
@given(votes=votes_of_all_kinds)
@settings(max_examples=15, deadline=None)
def test_every_sample_twice_changes_nothing(aggregator: Aggregator, votes: list[Vote]) -> None:
    votes = [v if v.path else replace(v, path=(100, v.sample)) for v in votes]
    twice = [*votes, *(replace(v, sample=v.sample + len(votes)) for v in votes)]
    one, other = aggregator(votes), aggregator(twice)
    assert_close(one.distribution, other.distribution)


@given(votes=votes_of_all_kinds, repeated=st.data())
@settings(max_examples=30, deadline=None)
def test_rpc_does_not_count_a_text_twice(votes: list[Vote], repeated: st.DataObject) -> None:
    votes = [replace(v, path=(v.sample + 1,)) for v in votes]
    again = repeated.draw(st.lists(st.sampled_from(votes), max_size=8))
    more = [*votes, *(replace(v, sample=len(votes) + i) for i, v in enumerate(again))]
    for aggregator in (
        PerplexityConsistency(),
        PerplexityConsistency("path", 0),
        PerplexityConsistency("mean", 2),
    ):
        one, other = aggregator(votes), aggregator(more)
        assert_close(one.distribution, other.distribution)
        # With nothing but impossible texts votes are counted, and repeats with them.
        if any(v.counts and v.logprob > -math.inf for v in votes):
            assert one.distribution == other.distribution


@given(votes=votes_of_all_kinds)
@settings(max_examples=30, deadline=None)
def test_limits(votes: list[Vote]) -> None:
    votes = [replace(v, logprob=max(v.logprob, -900.0)) for v in votes]
    majority = Majority()(votes)
    for aggregator in (ProbabilityWeighted(1e12), ConfidenceWeighted(1e12), Verified(0.5, 0.5)):
        assert_close(aggregator(votes).distribution, majority.distribution)
    assert ShortestFew(keep=len(votes))(votes).distribution == majority.distribution
    assert LengthFiltered(groups=3, keep=3)(votes).distribution == majority.distribution
    best = BestOfN()(votes)
    sharp = ConfidenceWeighted(1e-3)(votes)
    if best.answer is not None:
        top = max(v.score or 0.0 for v in votes if v.counts)
        assert any(v.counts and v.score == top and v.answer == sharp.answer for v in votes)
        leaders = {a for a, n in majority.counts.items() if n == max(majority.counts.values())}
        assert BestOfMajority(alpha=1.0)(votes).answer in leaders


def multinomial(shares: Mapping[str, float], n: int) -> Iterator[tuple[dict[str, int], float]]:
    """Every outcome of n draws, with its probability."""
    names = list(shares)
    for cuts in itertools.combinations(range(n + len(names) - 1), len(names) - 1):
        edges = [-1, *cuts, n + len(names) - 1]
        counts = [after - before - 1 for before, after in itertools.pairwise(edges)]
        log = math.lgamma(n + 1)
        for name, count in zip(names, counts, strict=True):
            log += count * math.log(shares[name]) - math.lgamma(count + 1)
        yield dict(zip(names, counts, strict=True)), math.exp(log)


def test_best_of_majority_does_not_fall_with_samples_where_a_reward_can_be_hacked_and_best_of_n_does() -> (
    None
):
    shares = {"right": 0.5, "wrong": 0.4, "hack": 0.1}
    rewards = {"right": 0.6, "wrong": 0.5, "hack": 0.99}

    def right(aggregator: Aggregator, n: int) -> float:
        total = 0.0
        for counts, probability in multinomial(shares, n):
            names = [name for name, count in counts.items() for _ in range(count)]
            votes = [Vote(i, name, -1.0, 5, score=rewards[name]) for i, name in enumerate(names)]
            total += probability * (aggregator(votes).answer == "right")
        return total

    sizes = (1, 4, 16, 32)
    best_of_n = [right(BestOfN(), n) for n in sizes]
    assert best_of_n == pytest.approx([0.9**n - 0.4**n for n in sizes]), "no hack drawn, and not all wrong"
    assert best_of_n[-1] < 0.04
    for alpha in (0.3, 0.4):
        best_of_majority = [right(BestOfMajority(alpha), n) for n in sizes]
        assert best_of_majority == sorted(best_of_majority), (alpha, best_of_majority)
        assert best_of_majority[-1] > 0.9 - (alpha - 0.3)
        assert best_of_majority[-1] > right(Majority(), 32), (
            "the reward is worth something between frequent answers"
        )


def enumerable() -> tuple[dict[tuple[int, ...], float], dict[str, float]]:
    """Every text of a toy model with its probability, and those of its two answers."""
    texts = ToyModel(3, lambda prefix: (0.5, 0.3, 0.2), frozenset({0})).samples((1,), max_tokens=2)
    assert math.fsum(texts.values()) == pytest.approx(1)
    answers: dict[str, float] = defaultdict(float)
    for text, probability in texts.items():
        answers[answer_of(text)] += probability
    return texts, answers


def answer_of(text: tuple[int, ...]) -> str:
    return "even" if sum(text) % 2 == 0 else "odd"


def distance(tally: Tally, truth: Mapping[str, float]) -> float:
    """Total variation."""
    return sum(abs(tally.distribution.get(answer, 0.0) - p) for answer, p in truth.items()) / 2


def rpc_errors(
    texts: Mapping[tuple[int, ...], float], truth: Mapping[str, float], sizes: Sequence[int]
) -> list[float]:
    """The exact expected error of the path sum: over every set of texts that n draws can have seen."""
    rpc = PerplexityConsistency("path")
    errors: dict[frozenset[tuple[int, ...]], float] = {}
    for size in range(1, len(texts) + 1):
        for seen in itertools.combinations(texts, size):
            votes = [
                Vote(i, answer_of(t), math.log(texts[t]), len(t) + 1, path=(*t, 0))
                for i, t in enumerate(seen)
            ]
            errors[frozenset(seen)] = distance(rpc(votes), truth)
    states: dict[frozenset[tuple[int, ...]], float] = {frozenset(): 1.0}
    expected = []
    for n in range(1, max(sizes) + 1):
        after: dict[frozenset[tuple[int, ...]], float] = defaultdict(float)
        for seen_, probability in states.items():
            for text, share in texts.items():
                after[seen_ | {text}] += probability * share
        states = after
        if n in sizes:
            expected.append(math.fsum(probability * errors[seen_] for seen_, probability in states.items()))
    return expected


def test_rpc_converges_exponentially_to_the_models_answer_distribution_and_majority_by_the_root() -> None:
    texts, truth = enumerable()
    sizes = (16, 32, 64, 128, 256, 512)
    rpc = rpc_errors(texts, truth, sizes)
    majority = []
    for n in sizes[:4]:
        error = 0.0
        for counts, probability in multinomial(truth, n):
            names = [name for name, count in counts.items() for _ in range(count)]
            error += probability * distance(
                Majority()([Vote(i, a, -1.0, 3) for i, a in enumerate(names)]), truth
            )
        majority.append(error)
    assert all(r < m for r, m in zip(rpc, majority, strict=False))
    for before, after in itertools.pairwise(majority):
        assert after / before == pytest.approx(1 / math.sqrt(2), rel=0.02), (
            "the count's error is as 1 / sqrt(n)"
        )
    rarest = min(texts.values())
    for n, error in zip(sizes, rpc, strict=True):
        assert error < 2 * math.fsum(p * (1 - p) ** n for p in texts.values()), (
            "bounded by what was not drawn"
        )
    ratios = [after / before for before, after in itertools.pairwise(rpc)]
    assert ratios == sorted(ratios, reverse=True), "each doubling divides the error by more than the last"
    assert ratios[-1] == pytest.approx((1 - rarest) ** 256, rel=0.05), "at the rate of the rarest text"


@pytest.mark.parametrize(("passes_right", "passes_wrong"), [(0.9, 0.2), (0.6, 0.5), (0.3, 0.7), (1.0, 0.0)])
def test_verified_is_right_as_often_as_any_rule_can_be(passes_right: float, passes_wrong: float) -> None:
    """Over every pattern of verdicts, where answers are right as often as they are voted for."""
    answers = ["a", "a", "a", "b", "b", "c"]
    reached = optimum = 0.0
    for verdicts in itertools.product((True, False), repeat=len(answers)):
        joint: dict[str, float] = {}
        for truth in sorted(set(answers)):
            probability = answers.count(truth) / len(answers)
            for answer, passed in zip(answers, verdicts, strict=True):
                rate = passes_right if answer == truth else passes_wrong
                probability *= rate if passed else 1 - rate
            joint[truth] = probability
        votes = [
            Vote(i, a, -1.0, 5, passed=v) for i, (a, v) in enumerate(zip(answers, verdicts, strict=True))
        ]
        tally = Verified(passes_right, passes_wrong)(votes)
        assert tally.answer is not None
        reached += joint[tally.answer]
        optimum += max(joint.values())
        if passes_wrong > 0 and (total := math.fsum(joint.values())):
            assert tally.distribution == pytest.approx({a: joint[a] / total for a in tally.distribution})
    assert reached == pytest.approx(optimum)
    assert optimum > 0.5 - 1e-12


def quantiles(of: Weibull, n: int) -> list[float]:
    """Logs of n equally probable numbers."""
    return [of.log_scale + math.log(-math.log1p(-(i + 0.5) / n)) / of.shape for i in range(n)]


def test_the_mixture_finds_the_two_distributions_that_numbers_came_from() -> None:
    low, high = Weibull(6.0, math.log(0.3)), Weibull(12.0, math.log(0.9))
    found = fit([*quantiles(low, 60), *quantiles(high, 40)])
    assert found is not None
    assert found.weight == pytest.approx(0.4, abs=0.02)
    assert math.exp(found.high.log_mean) == pytest.approx(math.exp(high.log_mean), rel=0.02)
    assert math.exp(found.low.log_mean) == pytest.approx(math.exp(low.log_mean), rel=0.02)
    assert found.high.shape == pytest.approx(12, rel=0.1)
    assert found.low.shape == pytest.approx(6, rel=0.1)
    assert found.more_likely_low(math.log(0.3))
    assert not found.more_likely_low(math.log(0.9))


@given(st.lists(st.floats(-4, 0), min_size=6, max_size=16, unique=True), st.floats(-600, 0))
@settings(max_examples=15, deadline=None)
def test_the_mixture_moves_with_the_scale(logs: list[float], shift: float) -> None:
    one, other = fit(logs), fit([log + shift for log in reversed(logs)])
    assert (one is None) == (other is None)
    if one is None or other is None:
        return
    assert one.high.log_mean >= one.low.log_mean
    assert 0.2 <= one.weight <= 0.8
    likelihoods = [likelihood(one, logs), likelihood(other, [log + shift for log in logs])]
    assert likelihoods[1] == pytest.approx(likelihoods[0], abs=1e-2)


def likelihood(mixture: Mixture, logs: Sequence[float]) -> float:
    return math.fsum(
        math.log(
            mixture.weight * math.exp(mixture.high.log_density(log))
            + (1 - mixture.weight) * math.exp(mixture.low.log_density(log))
        )
        for log in logs
    )


def test_the_higher_component_is_the_one_of_the_larger_mean_also_where_fitting_turns_them_round() -> None:
    """A narrow group with one number far below and one far above: the wide component ends with the lower mean."""
    logs = [-1.23, -0.59, -0.506, -0.505, -0.501, -0.496, -0.494, -0.09]
    found = fit(logs)
    assert found is not None
    assert found.high.log_mean >= found.low.log_mean
    assert found.high.shape > found.low.shape
