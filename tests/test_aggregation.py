"""What each aggregator chooses in small cases worked out by hand, the registry, and the choice of one."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from edgetts.errors import InvalidInput
from edgetts.selection.aggregation import (
    AGGREGATORS,
    VOTE_SHARE,
    Aggregator,
    Auto,
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
    Verified,
    Vote,
    WeightedBestOfN,
    choose_aggregator,
    make_aggregator,
    self_consistency,
)
from edgetts.selection.verification.verifier import ErrorRates


def test_majority_is_self_consistency() -> None:
    votes = [Vote(0, "1", -1.0, 5), Vote(1, "2", -9.0, 5), Vote(2, "2", -9.0, 5)]
    assert Majority()(votes) == self_consistency(votes)
    assert Majority()(votes).confidence_source == VOTE_SHARE
    assert Majority().needs == frozenset()


def test_probable_texts_weigh_more_and_at_low_temperature_decide() -> None:
    votes = [Vote(0, "1", -1.0, 10), Vote(1, "2", -5.0, 10), Vote(2, "2", -5.0, 10)]
    tally = ProbabilityWeighted()(votes)
    one, two = math.exp(-0.1), 2 * math.exp(-0.5)
    assert tally.answer == "2"
    assert tally.distribution == pytest.approx({"2": two / (one + two), "1": one / (one + two)})
    assert tally.confidence_source == "probability share (uncalibrated)"
    assert ProbabilityWeighted(temperature=0.1)(votes).answer == "1"


def test_confidence_weighs_by_the_softmax_of_scores() -> None:
    votes = [Vote(0, "1", -1.0, 10, score=0.9), *(Vote(i, "2", -1.0, 10, score=0.4) for i in (1, 2))]
    tally = ConfidenceWeighted(temperature=0.5)(votes)
    one, two = math.exp(0.9 / 0.5), 2 * math.exp(0.4 / 0.5)
    assert tally.distribution == pytest.approx({"1": one / (one + two), "2": two / (one + two)})
    assert ConfidenceWeighted(temperature=5.0)(votes).answer == "2"


def test_likelihood_adds_up_the_probabilities_of_answers_however_improbable_the_texts() -> None:
    votes = [
        Vote(0, "1", -900.0, 10, answer_logprob=math.log(0.9), answer_tokens=2),
        Vote(1, "2", -1.0, 10, answer_logprob=math.log(0.3), answer_tokens=1),
        Vote(2, "2", -1.0, 10, answer_logprob=math.log(0.3), answer_tokens=1),
    ]
    assert LikelihoodWeighted()(votes).distribution == pytest.approx({"1": 0.6, "2": 0.4})
    each = LikelihoodWeighted(per_token=True)(votes).distribution
    assert each["1"] / each["2"] == pytest.approx(math.sqrt(0.9) / 0.6)


def test_rpc_sums_different_texts_and_leaves_improbable_ones_out() -> None:
    def text(sample: int, answer: str, probability: float) -> Vote:
        return Vote(sample, answer, 10 * math.log(probability), 10, path=(sample,))

    sure = [text(i, "1", 0.9 - 0.004 * i) for i in range(5)]
    doubtful = [text(i, "2", 0.3 + 0.004 * i) for i in range(5, 12)]
    assert Majority()([*sure, *doubtful]).answer == "2"
    pruned = PerplexityConsistency()([*sure, *doubtful])
    assert pruned.distribution == {"1": 1.0, "2": 0.0}
    assert pruned.counts == {"1": 5, "2": 7}, "left out of the distribution, not of the count"
    unpruned = PerplexityConsistency(prune_from=0)([*sure, *doubtful])
    total = sum(0.9 - 0.004 * i for i in range(5)) + sum(0.3 + 0.004 * i for i in range(5, 12))
    assert unpruned.distribution["2"] == pytest.approx(sum(0.3 + 0.004 * i for i in range(5, 12)) / total)
    few = [*sure[:3], *doubtful[:4]]
    assert PerplexityConsistency()(few).distribution["2"] > 0, "seven texts are too few for five parameters"
    by_path = PerplexityConsistency("path", prune_from=0)(few)
    assert by_path.distribution["2"] < 1e-3, "a text's own probability is the tenth power here"


def test_rpc_shows_a_text_that_it_kept() -> None:
    sure = [Vote(i, "1", 10 * math.log(0.9 - 0.004 * i), 10, path=(i,), complete=False) for i in range(5)]
    low = [Vote(i, "1", 10 * math.log(0.3 + 0.004 * i), 10, path=(i,)) for i in range(5, 12)]
    assert PerplexityConsistency()([*sure, *low]).sample == 0
    assert Majority()([*sure, *low]).sample == 11


def test_a_long_texts_probability_does_not_vanish() -> None:
    votes = [Vote(0, "1", -2000.0, 900, path=(1,)), Vote(1, "2", -2001.0, 900, path=(2,))]
    tally = PerplexityConsistency("path")(votes)
    assert tally.distribution == pytest.approx(
        {"1": 1 / (1 + math.exp(-1)), "2": math.exp(-1) / (1 + math.exp(-1))}
    )


def test_short_texts_weigh_more_by_the_log_of_their_length() -> None:
    votes = [Vote(0, "1", -1.0, 20), Vote(1, "2", -1.0, 100), Vote(2, "2", -1.0, 300)]
    tally = ShortestMajority()(votes)
    one, two = 1 / math.log(20), 2 / math.log(200)
    assert tally.distribution == pytest.approx({"2": two / (one + two), "1": one / (one + two)})
    votes = [Vote(0, "1", -1.0, 3), Vote(1, "2", -1.0, 100), Vote(2, "2", -1.0, 300)]
    assert ShortestMajority()(votes).answer == "1"
    assert ShortestMajority()([Vote(0, "1", -1.0, 0), Vote(1, "2", -1.0, 1)]).distribution == {
        "2": 0.5,
        "1": 0.5,
    }


def test_the_shortest_few_vote_complete_ones_first() -> None:
    votes = [
        Vote(0, "1", -1.0, 10, complete=False),
        Vote(1, "2", -1.0, 20),
        Vote(2, "3", -1.0, 30),
        Vote(3, "3", -1.0, 30),
        Vote(4, "1", -1.0, 40),
        Vote(5, "1", -1.0, 50),
    ]
    assert ShortestFew(keep=1)(votes).distribution == {"2": 1.0, "1": 0.0, "3": 0.0}
    tally = ShortestFew(keep=2)(votes)
    assert tally.distribution["3"] == pytest.approx(2 / 3), "those as long as the last are kept too"
    assert tally.counts == {"3": 2, "2": 1, "1": 3}
    assert ShortestFew(keep=6)(votes).answer == "1"


def test_groups_of_texts_of_like_length_vote_where_they_agree() -> None:
    short = [Vote(i, "1", -1.0, 10 + i) for i in range(4)]
    middle = [Vote(4 + i, answer, -1.0, 100 + i) for i, answer in enumerate("2223")]
    long = [Vote(8 + i, answer, -1.0, 300 + i) for i, answer in enumerate("2245")]
    votes = [*short, *middle, *long]
    assert Majority()(votes).answer == "2"
    assert LengthFiltered(groups=3, keep=1)(votes).distribution == {
        "1": 1.0,
        "2": 0.0,
        "3": 0.0,
        "4": 0.0,
        "5": 0.0,
    }
    assert LengthFiltered(groups=3, keep=2)(votes).distribution["1"] == pytest.approx(4 / 8)
    assert LengthFiltered(groups=3, keep=1)(votes[3:8]).distribution == Majority()(votes[3:8]).distribution, (
        "too few"
    )
    level = [replace(vote, tokens=50) for vote in votes]
    assert LengthFiltered(groups=3, keep=1)(level).answer == "2", "texts of one length are one group"


def test_best_of_n_takes_the_best_score_and_shows_its_text() -> None:
    votes = [
        Vote(0, "1", -1.0, 10, score=0.6),
        Vote(1, "1", -9.0, 10, score=0.8),
        Vote(2, "2", -1.0, 10, score=0.7),
        Vote(3, "2", -1.0, 10, score=0.7),
    ]
    tally = BestOfN()(votes)
    assert (tally.answer, tally.sample) == ("1", 1)
    assert tally.distribution == pytest.approx({"1": 0.8 / 1.5, "2": 0.7 / 1.5})
    weighted = WeightedBestOfN()([*votes, Vote(4, "2", -1.0, 10, score=0.1)])
    assert (weighted.answer, weighted.sample) == ("2", 2)
    assert weighted.distribution == pytest.approx({"2": 1.5 / 2.9, "1": 1.4 / 2.9})


def test_scores_of_zero_leave_it_to_the_votes() -> None:
    votes = [Vote(i, answer, -1.0, 10, score=0.0) for i, answer in enumerate("122")]
    for aggregator in (BestOfN(), WeightedBestOfN(), BestOfMajority()):
        assert aggregator(votes).distribution == pytest.approx({"2": 2 / 3, "1": 1 / 3})


def test_best_of_majority_offers_only_frequent_answers_to_the_scorer() -> None:
    scores = {"1": 0.5, "2": 0.6, "3": 0.99}
    votes = [Vote(i, answer, -1.0, 10, score=scores[answer]) for i, answer in enumerate("1111122223")]
    assert BestOfN()(votes).answer == "3"
    tally = BestOfMajority(alpha=0.4)(votes)
    assert tally.answer == "2"
    assert tally.distribution == pytest.approx({"2": 0.6 / 1.1, "1": 0.5 / 1.1, "3": 0.0})
    assert BestOfMajority(alpha=0.45)(votes).answer == "1"
    assert BestOfMajority(alpha=0.9)(votes).answer == "1", "none is so frequent: the most frequent remains"
    assert BestOfMajority(alpha=0.0)(votes).answer == "3"


def test_a_verifier_that_does_not_err_decides_and_votes_decide_among_what_passed() -> None:
    votes = [
        *(Vote(i, "1", -1.0, 10, passed=False) for i in range(5)),
        *(Vote(i, "2", -1.0, 10, passed=True) for i in (5, 6)),
        Vote(7, "3", -1.0, 10, passed=True),
        *(Vote(i, "4", -1.0, 10) for i in (8, 9, 10)),
    ]
    tally = Verified()(votes)
    assert (tally.answer, list(tally.distribution)) == ("2", ["2", "3", "4", "1"])
    assert tally.confidence is not None
    assert tally.confidence > 0.99
    doubted = [Vote(0, "2", -1.0, 5, passed=False), *votes[5:7]]
    assert Verified()(doubted).sample == 5, "a text that passed is shown"


def test_a_verifier_that_errs_is_weighed_by_its_rates() -> None:
    votes = [*(Vote(i, "1", -1.0, 10) for i in range(3)), Vote(3, "2", -1.0, 10, passed=True)]
    assert Verified.of(ErrorRates(0.8, 0.4))(votes).distribution == pytest.approx({"1": 3 / 5, "2": 2 / 5})
    assert Verified.of(ErrorRates(0.8, 0.1))(votes).distribution == pytest.approx({"1": 3 / 11, "2": 8 / 11})
    assert Verified.of(None) == Verified()
    assert Verified(0.5, 0.5)(votes).distribution == Majority()(votes).distribution


@pytest.mark.parametrize("name", AGGREGATORS)
def test_every_aggregator_has_its_registered_name_and_keeps_the_protocol(name: str) -> None:
    aggregator = make_aggregator(name)
    assert isinstance(aggregator, Aggregator)
    assert aggregator.name == name
    assert aggregator == AGGREGATORS[name].make()
    assert AGGREGATORS[name].purpose
    assert make_aggregator(name.replace("_", "-")) == aggregator
    hash(aggregator)
    with pytest.raises(InvalidInput, match="no samples"):
        aggregator([])
    with pytest.raises(InvalidInput, match="one sample"):
        aggregator([Vote(0, "1", -1.0, 2, score=0.5, passed=True)] * 2)


def test_settings_are_read_from_the_name() -> None:
    assert make_aggregator("probability:temperature=0.5") == ProbabilityWeighted(0.5)
    assert make_aggregator(" rpc : probability = path , prune_from = 0 ") == PerplexityConsistency("path", 0)
    assert make_aggregator("likelihood:per_token=true") == LikelihoodWeighted(per_token=True)
    assert make_aggregator("verified:passes_right=0.9,passes_wrong=0.2") == Verified(0.9, 0.2)
    assert dict(AGGREGATORS["length_filtered"].settings) == {"groups": 3, "keep": 2}


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("majorty", "Did you mean 'majority'?"),
        ("", "There are: auto, majority"),
        ("zzz", "There are: auto, majority"),
        ("majority:temperature=1", "It has no settings."),
        ("probability:temprature=1", "Did you mean 'temperature'?"),
        ("probability:temperature", "has no value"),
        ("probability:", "has no value"),
        ("probability:temperature=1,temperature=2", "given twice"),
        ("probability:temperature=hot", "must be a number"),
        ("probability:temperature=0", "above 0"),
        ("probability:temperature=nan", "above 0"),
        ("confidence:temperature=inf", "above 0"),
        ("shortest_few:keep=2.5", "must be a whole number"),
        ("shortest_few:keep=0", "at least 1"),
        ("length_filtered:groups=2,keep=3", "cannot keep 3 of 2"),
        ("rpc:probability=total", "There are: 'mean' and 'path'"),
        ("rpc:prune_from=-1", "at least 0"),
        ("likelihood:per_token=perhaps", "must be true or false"),
        ("best_of_majority:alpha=2", "from 0 to 1"),
        ("verified:passes_right=1.5", "from 0 to 1"),
        ("auto:passes_wrong=-1", "from 0 to 1"),
    ],
)
def test_a_name_or_setting_there_is_not_is_refused_with_what_to_do(value: str, says: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        make_aggregator(value)
    assert says in str(caught.value)


@pytest.mark.parametrize("name", ["confidence", "best_of_n", "weighted_best_of_n", "best_of_majority"])
def test_a_missing_score_is_an_error_that_names_the_sample(name: str) -> None:
    aggregator = make_aggregator(name)
    assert aggregator.needs == {"score"}
    with pytest.raises(InvalidInput, match=f"Sample 1 has no score, which '{name}' needs"):
        aggregator([Vote(0, "1", -1.0, 2, score=0.5), Vote(1, "2", -1.0, 2)])


def test_a_missing_probability_is_an_error() -> None:
    with pytest.raises(InvalidInput, match="sample 0's answer is not known"):
        LikelihoodWeighted()([Vote(0, "1", -1.0, 2)])


def test_without_a_verdict_votes_decide_and_a_failed_winner_is_doubted() -> None:
    votes = [Vote(0, "1", -1.0, 2), Vote(1, "1", -1.0, 2), Vote(2, "2", -1.0, 2)]
    untold = Verified(0.9, 0.2)(votes)
    assert untold.distribution == Majority()(votes).distribution
    assert untold.confidence == Majority()(votes).confidence
    failed = Verified(0.9, 0.2)([replace(vote, passed=False) for vote in votes])
    assert failed.answer == "2", "one failure speaks less against it than two"
    assert failed.confidence is not None
    # Odds of each: votes times (0.1 / 0.8) per failure, beside one vote that none of these is right.
    assert failed.confidence == pytest.approx((1 / 8) / (2 / 64 + 1 / 8 + 1))


def test_a_vote_that_does_not_count_needs_nothing() -> None:
    votes = [Vote(0, "1", -1.0, 2, score=0.5, passed=True, answer_logprob=-1.0), Vote(1, None, -1.0, 2)]
    for name in AGGREGATORS:
        assert make_aggregator(name)(votes).answer == "1"


def test_auto_chooses_from_what_is_known() -> None:
    plain = [Vote(0, "1", 0.0, 0), Vote(1, "2", -1.0, 5)]
    probable = [Vote(0, "1", -1.0, 5), Vote(1, "2", -1.0, 5)]
    answered = [replace(vote, answer_logprob=-0.1, answer_tokens=1) for vote in probable]
    scored = [replace(vote, score=0.5) for vote in answered]
    judged = [replace(scored[0], passed=False), scored[1]]
    rates = ErrorRates(0.9, 0.2)
    assert choose_aggregator(plain) == Majority()
    assert choose_aggregator([]) == Majority()
    assert choose_aggregator(probable) == PerplexityConsistency()
    assert choose_aggregator(answered) == LikelihoodWeighted()
    assert choose_aggregator([answered[0], probable[1]]) == PerplexityConsistency(), "one answer is not known"
    assert choose_aggregator([*answered, Vote(2, None, -1.0, 5)]) == LikelihoodWeighted(), "which has none"
    assert choose_aggregator(scored) == BestOfMajority()
    assert choose_aggregator(scored, calibrated=True) == WeightedBestOfN()
    assert choose_aggregator(judged) == Verified()
    assert choose_aggregator(judged, rates=rates) == Verified(0.9, 0.2)
    for votes in (plain, probable, answered, scored, judged):
        assert Auto()(votes) == choose_aggregator(votes)(votes)
    assert Auto(calibrated=True)(scored) == WeightedBestOfN()(scored)
    assert Auto(passes_right=0.9, passes_wrong=0.2)(judged) == Verified(0.9, 0.2)(judged)
    assert Auto().needs == frozenset()


@pytest.mark.parametrize("score", [-0.1, 1.1, math.nan])
def test_a_score_is_a_probability(score: float) -> None:
    with pytest.raises(InvalidInput, match="from 0 to 1"):
        Vote(0, "1", -1.0, 2, score=score)


def test_an_answers_log_prob_and_tokens_are_checked() -> None:
    for logprob in (math.nan, math.inf):
        with pytest.raises(InvalidInput, match="answer's log-prob"):
            Vote(0, "1", -1.0, 2, answer_logprob=logprob)
    with pytest.raises(InvalidInput, match="must not be negative"):
        Vote(0, "1", -1.0, 2, answer_tokens=-1)
