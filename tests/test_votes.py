from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetts.errors import InvalidInput
from edgetts.selection.aggregation import VOTE_SHARE, Vote, self_consistency
from edgetts.selection.answers import extract
from edgetts.types import Sample


@st.composite
def ballots(draw: st.DrawFn, min_size: int = 1) -> list[Vote]:
    """Few answers and few log-probs, so that ties of every kind are frequent."""
    size = draw(st.integers(min_size, 8))
    return [
        Vote(
            sample=index,
            answer=draw(st.sampled_from([None, "1", "2", "3"])),
            logprob=draw(st.sampled_from([0.0, -1.0, -2.0, -3.7, -math.inf])),
            tokens=draw(st.sampled_from([0, 1, 3])),
            complete=draw(st.booleans()),
            explicit=draw(st.booleans()),
        )
        for index in range(size)
    ]


@given(ballots(), st.randoms(use_true_random=False))
def test_order_does_not_matter(votes: list[Vote], rng: random.Random) -> None:
    shuffled = votes[:]
    rng.shuffle(shuffled)
    tally = self_consistency(votes)
    assert self_consistency(shuffled) == tally
    assert list(self_consistency(shuffled).counts) == list(tally.counts)


@given(ballots())
def test_the_winner_has_the_most_votes_and_ties_go_by_probability_then_first_seen(votes: list[Vote]) -> None:
    tally = self_consistency(votes)
    if tally.answer is None:
        return
    assert tally.counts[tally.answer] == max(tally.counts.values())

    def standing(answer: str) -> tuple[float, int]:
        cast = [vote for vote in votes if vote.counts and vote.answer == answer]
        return math.fsum(vote.weight for vote in cast), -min(vote.sample for vote in cast)

    tied = [answer for answer, count in tally.counts.items() if count == tally.counts[tally.answer]]
    assert tally.answer == max(tied, key=standing)


@given(ballots())
def test_numbering_the_samples_anew_matters_only_in_exact_ties(votes: list[Vote]) -> None:
    last = len(votes) - 1
    renumbered = [Vote(last - v.sample, v.answer, v.logprob, v.tokens, v.complete, v.explicit) for v in votes]
    before, after = self_consistency(votes), self_consistency(renumbered)
    if before.answer != after.answer:
        assert before.answer is not None
        assert after.answer is not None
        assert before.counts[before.answer] == before.counts[after.answer]
        totals = [
            math.fsum(vote.weight for vote in votes if vote.counts and vote.answer == answer)
            for answer in (before.answer, after.answer)
        ]
        assert totals[0] == totals[1]


@given(ballots(), st.floats(-50, 0), st.integers(0, 9), st.booleans())
def test_a_vote_for_the_winner_keeps_it_winner(
    votes: list[Vote], logprob: float, tokens: int, complete: bool
) -> None:
    tally = self_consistency(votes)
    more = Vote(len(votes), tally.answer, logprob, tokens, complete)
    assert self_consistency([*votes, more]).answer == tally.answer


@given(ballots())
def test_shares(votes: list[Vote]) -> None:
    tally = self_consistency(votes)
    counted = [vote for vote in votes if vote.counts]
    assert sum(tally.counts.values()) == len(counted)
    assert tally.confidence_source == VOTE_SHARE
    if counted:
        assert math.fsum(tally.distribution.values()) == pytest.approx(1)
        assert list(tally.counts.values()) == sorted(tally.counts.values(), reverse=True)
    else:
        assert tally.distribution == {}
    if len(counted) > 1:
        assert tally.answer is not None
        assert tally.confidence == tally.distribution[tally.answer]
    else:
        assert tally.confidence is None, "one voice cannot agree"


@given(st.integers(2, 20))
def test_votes_that_agree_give_confidence_one(n: int) -> None:
    tally = self_consistency([Vote(index, "42", -3.0, 5) for index in range(n)])
    assert (tally.answer, tally.confidence, tally.counts) == ("42", 1.0, {"42": n})


@given(ballots())
def test_no_answer_never_wins_over_an_answer(votes: list[Vote]) -> None:
    tally = self_consistency(votes)
    assert (tally.answer is None) == (not any(vote.counts for vote in votes))


@given(ballots())
def test_the_sample_shown_is_the_winners_best(votes: list[Vote]) -> None:
    tally = self_consistency(votes)
    shown = next(vote for vote in votes if vote.sample == tally.sample)
    rivals = [v for v in votes if tally.answer is None or (v.counts and v.answer == tally.answer)]
    assert shown in rivals
    for rival in rivals:
        assert shown.complete >= rival.complete
        if shown.complete == rival.complete:
            assert shown.mean_logprob >= rival.mean_logprob
            if shown.mean_logprob == rival.mean_logprob:
                assert shown.sample <= rival.sample


def test_a_text_cut_short_votes_only_for_what_it_states() -> None:
    guess = Vote(0, "9", -0.1, 4, complete=False, explicit=False)
    stated = Vote(1, "7", -9.0, 4, complete=False, explicit=True)
    whole = Vote(2, "8", -9.0, 4, complete=True, explicit=False)
    assert self_consistency([guess, stated, whole]).counts == {"7": 1, "8": 1}
    alone = self_consistency([guess])
    assert (alone.answer, alone.sample, alone.confidence) == (None, 0, None)


def test_long_samples_do_not_lose_ties_for_being_long() -> None:
    short, long = Vote(0, "1", -2.0, 10), Vote(1, "2", -10.0, 100)
    assert self_consistency([short, long]).answer == "2"


def test_a_vote_is_made_of_a_sample_and_what_was_found_in_it() -> None:
    text = "The answer is 4."
    sample = Sample(3, (5, 6), (-0.5, -0.25), "length", greedy=False, text=text)
    vote = Vote.of(sample, extract(text))
    assert vote == Vote(3, "4", -0.75, 2, complete=False, explicit=True, path=(5, 6))
    assert Vote.of(sample, None) == Vote(3, None, -0.75, 2, complete=False, explicit=False, path=(5, 6))


def test_bad_votes() -> None:
    with pytest.raises(InvalidInput, match="no samples"):
        self_consistency([])
    with pytest.raises(InvalidInput, match="one sample"):
        self_consistency([Vote(0, "1", 0.0, 1), Vote(0, "2", 0.0, 1)])
    for logprob in (math.nan, math.inf):
        with pytest.raises(InvalidInput, match="log-prob"):
            Vote(0, "1", logprob, 1)
    for sample, tokens in ((-1, 1), (0, -1)):
        with pytest.raises(InvalidInput, match="negative"):
            Vote(sample, "1", 0.0, tokens)
