from __future__ import annotations

from collections import Counter
from itertools import combinations_with_replacement

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetts.errors import InvalidInput
from edgetts.selection.aggregation import Vote, self_consistency
from edgetts.selection.stopping import vote_decided


def leaders_possible(counts: dict[str, int], remaining: int) -> set[str]:
    """Every answer that some way of casting the remaining votes, abstentions too, puts level or ahead."""
    options: list[str | None] = [None, "new", *counts]
    leaders = set()
    for cast in combinations_with_replacement(options, remaining):
        total = Counter(counts) + Counter(answer for answer in cast if answer is not None)
        leaders |= {answer for answer, count in total.items() if count == max(total.values())}
    return leaders


@given(
    st.lists(st.integers(1, 5), max_size=4).map(lambda counts: dict(zip("abcd", counts, strict=False))),
    st.integers(1, 5),
)
def test_decided_is_exactly_when_nobody_else_can_draw_level(counts: dict[str, int], remaining: int) -> None:
    possible = leaders_possible(counts, remaining)
    assert vote_decided(counts, remaining) == (bool(counts) and len(possible) == 1)


@given(
    st.lists(st.sampled_from(["a", "b", None]), min_size=1, max_size=8),
    st.lists(st.tuples(st.sampled_from(["a", "b", "c", None]), st.floats(-30, 0)), max_size=8),
)
def test_a_decided_vote_keeps_its_winner(
    seen: list[str | None], later: list[tuple[str | None, float]]
) -> None:
    votes = [Vote(index, answer, -20.0, 1) for index, answer in enumerate(seen)]
    tally = self_consistency(votes)
    votes += [Vote(len(seen) + index, answer, logprob, 1) for index, (answer, logprob) in enumerate(later)]
    if vote_decided(tally.counts, len(later)):
        assert self_consistency(votes).answer == tally.answer


def test_edges() -> None:
    assert vote_decided({}, 0)
    assert not vote_decided({}, 1)
    assert vote_decided({"a": 1, "b": 1}, 0), "the tie rule has spoken"
    assert not vote_decided({"a": 3, "b": 1}, 2), "the tie could still go either way"
    assert vote_decided({"a": 4, "b": 1}, 2)
    for counts, remaining in (({"a": 1}, -1), ({"a": -1}, 1)):
        with pytest.raises(InvalidInput, match="negative"):
            vote_decided(counts, remaining)
