from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetts.errors import InvalidInput
from edgetts.selection.aggregation import Vote, make_aggregator, self_consistency
from edgetts.selection.confidence import (
    SIGNALS,
    Abstention,
    accuracy_at,
    auroc,
    bootstrap,
    brier,
    brier_parts,
    by_sample,
    calibration_error,
    certaindex,
    mean_gain,
    quality,
    quantile,
    reliability,
    selective_area,
    selective_curve,
    share_by,
    signal,
    tail_logprob,
)

SCORED = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0]), st.booleans()), min_size=1, max_size=12
)
"""Few values, so that ties are frequent."""


@st.composite
def ballots(draw: st.DrawFn) -> list[Vote]:
    return [
        Vote(
            sample=index,
            answer=draw(st.sampled_from([None, "1", "2", "3"])),
            logprob=draw(st.sampled_from([0.0, -1.0, -2.5, -math.inf])),
            tokens=draw(st.sampled_from([0, 1, 3])),
            complete=draw(st.booleans()),
            explicit=draw(st.booleans()),
            answer_logprob=draw(st.sampled_from([None, -0.5, -2.0])),
            score=draw(st.sampled_from([None, 0.0, 0.5, 1.0])),
            passed=draw(st.sampled_from([None, True, False])),
        )
        for index in range(draw(st.integers(1, 7)))
    ]


@settings(deadline=None)
@given(ballots(), st.randoms(use_true_random=False), st.sampled_from(sorted(SIGNALS)))
def test_a_signal_is_within_its_range_and_knows_no_order(
    votes: list[Vote], rng: random.Random, name: str
) -> None:
    shuffled = votes[:]
    rng.shuffle(shuffled)
    found = SIGNALS[name](votes, self_consistency(votes))
    assert SIGNALS[name](shuffled, self_consistency(shuffled)) == found
    if found is not None:
        assert found <= 0 if SIGNALS[name].nats else 0 <= found <= 1
        assert 0 <= SIGNALS[name].probability(found) <= 1


def test_signals_of_votes_counted_by_hand() -> None:
    votes = [
        Vote(0, "7", -2.0, 4, answer_logprob=math.log(0.5), score=0.9, passed=True),
        Vote(1, "7", -6.0, 4, answer_logprob=math.log(0.25), score=0.5, passed=False),
        Vote(2, "8", -1.0, 4, score=0.1),
        Vote(3, None, -1.0, 4),
        Vote(4, "7", -8.0, 8, passed=None),
    ]
    tally = self_consistency(votes)
    found = {name: one(votes, tally) for name, one in SIGNALS.items()}
    assert found == pytest.approx(
        {
            "share": 3 / 4,
            "vote-share": 3 / 5,
            "margin": 2 / 5,
            "certaindex": 3 * math.log(3) / (5 * math.log(5)),
            "sample-logprob": -0.5,
            "winner-logprob": -(0.5 + 1.5 + 1.0) / 3,
            "answer-probability": 0.375,
            "self-evaluation": 0.7,
            "verifier": 0.5,
        }
    )
    assert SIGNALS["winner-logprob"].probability(-1.0) == pytest.approx(math.exp(-1))


def test_nothing_chosen_or_nothing_known_is_no_signal() -> None:
    nobody = [Vote(0, None, -1.0, 2, score=1.0), Vote(1, None, -1.0, 2)]
    assert {one(nobody, self_consistency(nobody)) for one in SIGNALS.values()} == {None}
    alone = [Vote(0, "1", -math.inf, 2)]
    assert {one(alone, self_consistency(alone)) for one in SIGNALS.values()} == {None}


@settings(deadline=None)
@given(st.lists(st.sampled_from("abcd"), min_size=2, max_size=12))
def test_certaindex_is_its_formula(answers: list[str]) -> None:
    n = len(answers)
    entropy = -math.fsum(c / n * math.log(c / n) for c in Counter(answers).values())
    votes = [Vote(i, answer, -1.0, 1) for i, answer in enumerate(answers)]
    assert certaindex(votes) == pytest.approx((math.log(n) - entropy) / math.log(n))


def test_certaindex_of_samples_without_an_answer_is_no_agreement() -> None:
    assert certaindex([Vote(i, None, -1.0, 1) for i in range(4)]) == 0
    assert certaindex([Vote(0, "1", -1.0, 1)]) is None


def test_an_aggregators_share_and_values_by_sample() -> None:
    votes = [
        Vote(0, "1", -1.0, 2, path=(1,)),
        Vote(1, "2", -4.0, 2, path=(2,)),
        Vote(2, "1", -1.5, 2, path=(3,)),
    ]
    tally = self_consistency(votes)
    for name in ("majority", "rpc", "probability"):
        one = share_by(make_aggregator(name))
        assert one.name == f"{name}-share"
        assert one(votes, tally) == make_aggregator(name)(votes).distribution["1"]
    assert by_sample("tail", {0: -1.0, 1: -9.0, 2: -3.0}, nats=True)(votes, tally) == -2.0
    assert by_sample("tail", {1: -9.0})(votes, tally) is None, "known of a loser only"


def test_a_tail_is_the_last_tokens() -> None:
    assert tail_logprob([-9.0, -1.0, -3.0], 2) == -2.0
    assert tail_logprob([-9.0], 2) == -9.0
    assert tail_logprob([]) is None
    with pytest.raises(InvalidInput, match="at least one token"):
        tail_logprob([-1.0], 0)


def test_a_signal_by_a_wrong_name() -> None:
    with pytest.raises(InvalidInput, match="Did you mean 'certaindex'"):
        signal("certindex")


@settings(deadline=None)
@given(SCORED)
def test_auroc_is_the_share_of_pairs_in_order(scored: list[tuple[float, bool]]) -> None:
    values, right = zip(*scored, strict=True)
    pairs = [(v, w) for v, hit in scored if hit for w, other in scored if not other]
    expected = (
        float(sum(Fraction(2 * (v > w) + (v == w), 2) for v, w in pairs) / len(pairs)) if pairs else None
    )
    assert auroc(values, right) == pytest.approx(expected)


@settings(deadline=None)
@given(SCORED, st.integers(1, 7))
def test_a_diagram_holds_every_forecast_once_and_parts_no_equal_ones(
    scored: list[tuple[float, bool]], bins: int
) -> None:
    values, right = zip(*scored, strict=True)
    for equal_mass in (False, True):
        bars = reliability(values, right, bins=bins, equal_mass=equal_mass)
        assert len(bars) <= bins
        assert sum(bar.count for bar in bars) == len(scored)
        assert math.fsum(bar.count * bar.accuracy for bar in bars) == pytest.approx(sum(right))
        for bar in bars:
            assert bar.low <= bar.confidence <= bar.high
        for value in set(values):
            holding = [bar for bar in bars if bar.low <= value <= bar.high]
            assert len(holding) >= 1
        expected = math.fsum(bar.count * abs(bar.accuracy - bar.confidence) for bar in bars) / len(scored)
        assert calibration_error(values, right, bins=bins, equal_mass=equal_mass) == pytest.approx(expected)


def test_equal_mass_bins_are_of_one_size_and_catch_what_equal_widths_hide() -> None:
    values = [0.50 + i / 1000 for i in range(20)]
    right = [i >= 10 for i in range(20)]
    assert [bar.count for bar in reliability(values, right, bins=4, equal_mass=True)] == [5, 5, 5, 5]
    assert calibration_error(values, right) == pytest.approx(0.0095)
    assert calibration_error(values, right, equal_mass=True) == pytest.approx(0.5, abs=0.01)


def test_calibration_error_is_zero_where_shares_are_as_said() -> None:
    values = [0.25] * 4 + [0.75] * 4
    right = [True, False, False, False, True, True, True, False]
    assert calibration_error(values, right) == 0
    assert calibration_error([1.0] * 4, [True, False, False, False]) == 0.75


@settings(deadline=None)
@given(SCORED)
def test_brier_is_the_sum_of_its_parts(scored: list[tuple[float, bool]]) -> None:
    values, right = zip(*scored, strict=True)
    parts = brier_parts(values, right)
    assert brier(values, right) == pytest.approx(parts.reliability - parts.resolution + parts.uncertainty)


def surest(values: list[float], right: list[bool], taken: int) -> float:
    """Mean accuracy over every way of taking the surest, ties by chance."""
    bar = sorted(values, reverse=True)[taken - 1]
    above = [hit for value, hit in zip(values, right, strict=True) if value > bar]
    level = [hit for value, hit in zip(values, right, strict=True) if value == bar]
    ways = [sum(above) + sum(chosen) for chosen in combinations(level, taken - len(above))]
    return sum(ways) / len(ways) / taken


@settings(deadline=None)
@given(SCORED)
def test_selective_accuracy_is_what_ties_broken_by_chance_expect(scored: list[tuple[float, bool]]) -> None:
    values, right = [v for v, _ in scored], [hit for _, hit in scored]
    n = len(scored)
    every = [surest(values, right, taken) for taken in range(1, n + 1)]
    for taken in range(1, n + 1):
        assert accuracy_at(values, right, taken / n) == pytest.approx(every[taken - 1])
    assert selective_area(values, right) == pytest.approx(sum(every) / n)
    curve = selective_curve(values, right)
    assert curve[-1].coverage == 1
    for point in curve:
        answered = [hit for value, hit in scored if value >= point.threshold]
        assert point.coverage == len(answered) / n
        assert point.accuracy == sum(answered) / len(answered)


def test_quality_gathers_the_measures() -> None:
    values, right = [0.9, 0.8, 0.3, 0.1], [True, True, False, False]
    found = quality(values, right)
    assert (found.n, found.accuracy, found.auroc, found.at_50) == (4, 0.5, 1.0, 1.0)
    assert found.at_80 == 0.5, "80% of four is rounded up to all"
    assert found.brier == pytest.approx((0.01 + 0.04 + 0.09 + 0.01) / 4)


@settings(deadline=None)
@given(SCORED, st.floats(0, 20))
def test_no_threshold_gains_more_than_the_chosen_one(scored: list[tuple[float, bool]], risk: float) -> None:
    values, right = zip(*scored, strict=True)
    policy = Abstention.chosen_on(values, right, risk)

    def gain(threshold: float) -> float:
        return mean_gain([value >= threshold for value in values], right, risk)

    chosen = mean_gain([policy.decide(value).answer for value in values], right, risk)
    assert chosen == pytest.approx(max(gain(t) for t in (*values, math.inf)), abs=1e-9)


@settings(deadline=None)
@given(st.floats(0, 1), st.floats(0, 1000))
def test_at_a_risk_exactly_what_gains_is_answered(probability: float, risk: float) -> None:
    decision = Abstention.at_risk(risk).decide(probability)
    gain = probability - (1 - probability) * risk
    if abs(gain) > 1e-9 * (1 + risk):
        assert decision.answer == (gain > 0)


def test_decisions_say_why() -> None:
    policy = Abstention.at_risk(3)
    assert policy.threshold == 0.75
    assert policy.decide(0.75).answer
    assert "reaches 0.75, for a risk of 3 (calibrated)" in policy.decide(0.8).reason
    assert "is below 0.75" in policy.decide(0.7).reason
    assert not policy.decide(None).answer
    assert "not known" in policy.decide(None).reason
    never = Abstention.chosen_on([0.9, 0.8], [False, False], 1)
    assert not never.decide(1.0).answer
    assert "nothing was worth" in never.decide(1.0).reason
    for risk in (-1.0, math.nan, math.inf):
        with pytest.raises(InvalidInput, match="risk"):
            Abstention.at_risk(risk)


def test_a_bootstrap_is_seeded_and_holds_the_mean_as_often_as_it_says() -> None:
    rng = random.Random(7)  # noqa: S311
    held = 0
    trials, n = 200, 60
    for _ in range(trials):
        data = [rng.random() < 0.3 for _ in range(n)]
        found = bootstrap(lambda rows, data=data: sum(data[r] for r in rows) / len(rows), n, draws=200)
        assert found is not None
        assert found.low <= found.value <= found.high
        held += found.low <= 0.3 <= found.high
    # True coverage is about 0.93 here; fewer than 170 of 200 has odds below 1 in 10,000.
    assert held >= 170

    def spread(rows: Sequence[int]) -> float:
        return math.fsum(math.sqrt(row) for row in rows)

    assert bootstrap(spread, 9, seed=1) == bootstrap(spread, 9, seed=1)
    assert bootstrap(spread, 9, seed=1) != bootstrap(spread, 9, seed=2)
    assert bootstrap(lambda rows: None, 3) is None


def test_quantiles_are_linear_between_values() -> None:
    assert [quantile([1.0, 2.0, 4.0], share) for share in (0, 0.25, 0.5, 0.75, 1)] == [1, 1.5, 2, 3, 4]
    assert quantile([-math.inf, -math.inf], 0.5) == -math.inf
    with pytest.raises(InvalidInput, match="no quantile"):
        quantile([], 0.5)


def test_what_cannot_be_scored() -> None:
    with pytest.raises(InvalidInput, match="0 values and 0 outcomes"):
        auroc([], [])
    with pytest.raises(InvalidInput, match="2 values and 1 outcomes"):
        selective_curve([0.1, 0.2], [True])
    with pytest.raises(InvalidInput, match="NaN"):
        auroc([math.nan], [True])
    with pytest.raises(InvalidInput, match="Calibrate the signal first"):
        brier([-0.5], [True])
    with pytest.raises(InvalidInput, match="one bin"):
        reliability([0.5], [True], bins=0)
    with pytest.raises(InvalidInput, match="Coverage"):
        accuracy_at([0.5], [True], 0)
    with pytest.raises(InvalidInput, match="bootstrap"):
        bootstrap(lambda rows: 0.0, 0)
