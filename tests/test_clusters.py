"""Which free texts say the same, and which one is chosen."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetts.errors import InvalidInput
from edgetts.selection.answers import classes, clusters, extract, minimum_bayes_risk, similarity
from edgetts.selection.answers.clusters import COMPARED_CHARS, COMPARED_TEXTS, SAME

WORDS = st.sampled_from(["sea", "blue", "not", "green", "7", "is", "deep", "and", "8"])
TEXTS = st.lists(st.lists(WORDS, max_size=6).map(" ".join), max_size=8)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("the sea is blue", "The SEA is blue!", 1.0),
        ("sea", "mountain", 0.0),
        ("paris", "paris france", 2 / 4),  # 1 shared; 1 word against 2 words and a pair
        ("dog bites man", "man bites dog", 2 * 3 / 10),  # the words, no pair
        ("", "", 1.0),
        ("", "sea", 0.0),
        ("\u6771\u4eac", "\u4eac\u6771", 2 * 2 / 6),
        ("\U0001f642", "\U0001f641", 0.0),
    ],
)
def test_similarity_is_f1_over_words_and_pairs(one: str, other: str, expected: float) -> None:
    assert similarity(one, other) == pytest.approx(expected)


@given(TEXTS)
def test_similarity_is_mutual_and_of_one_with_itself_one(texts: list[str]) -> None:
    for one in texts:
        assert similarity(one, one) == 1
        for other in texts:
            assert 0 <= similarity(one, other) <= 1
            assert similarity(one, other) == similarity(other, one)


@pytest.mark.parametrize(
    ("texts", "groups"),
    [
        (["The sea is blue.", "sea is blue", "the sea is green"], [[0, 1], [2]]),
        (
            [
                "The Battle of Hastings took place in 1066 in England",
                "the battle of Hastings, took place in 1066, in England!",
                "The Battle of Hastings took place in 1067 in England",
                "The great Battle of Hastings took place in 1066 in England",
            ],
            [[0, 1, 3], [2]],
        ),
        (
            [
                "It is quite safe to eat these mushrooms when they are cooked",
                "It is not quite safe to eat these mushrooms when they are cooked",
                "It isn't quite safe to eat these mushrooms when they are cooked",
            ],
            [[0], [1, 2]],
        ),
        (["interest rates will increase this year", "interest rates will decrease this year"], [[0], [1]]),
        (["C", "C++", "c"], [[0, 2], [1]]),
        (["\U0001f642", "\U0001f641"], [[0], [1]]),
        ([], []),
    ],
)
def test_texts_that_say_the_same_are_together(texts: list[str], groups: list[list[int]]) -> None:
    assert sorted(clusters(texts)) == sorted(groups)


@given(TEXTS, st.randoms(use_true_random=False), st.sampled_from([0.0, 0.3, 0.5, SAME, 1.0]))
def test_clusters_know_neither_order_nor_number(
    texts: list[str], rng: random.Random, threshold: float
) -> None:
    def sets(of: list[str]) -> set[frozenset[str]]:
        return {frozenset(of[i] for i in group) for group in clusters(of, threshold)}

    shuffled = [*texts, *(text for text in texts if rng.random() < 0.5)]
    rng.shuffle(shuffled)
    assert sets(shuffled) == sets(texts)
    assert sorted(i for group in clusters(shuffled, threshold) for i in group) == list(range(len(shuffled)))


@given(TEXTS, st.sampled_from([0.3, 0.5, SAME, 1.0]))
def test_any_two_of_a_group_are_similar_and_no_two_groups_could_be_one(
    texts: list[str], threshold: float
) -> None:
    groups = clusters(texts, threshold)
    turning = [sorted(word for word in text.split() if word == "not" or word.isdigit()) for text in texts]

    def fit(one: int, other: int) -> bool:
        return similarity(texts[one], texts[other]) >= threshold and turning[one] == turning[other]

    for group in groups:
        assert all(fit(i, j) for i in group for j in group)
    for group in groups:
        for other in groups:
            assert group is other or not all(fit(i, j) for i in group for j in other)


def test_a_class_of_free_texts_is_named_by_its_shortest() -> None:
    texts = ["The great sea is deep and blue today", "the sea is deep and blue today", "no", ""]
    found = [extract(text, "text") for text in texts]
    assert classes(found, "text") == ["sea is deep and blue today", "sea is deep and blue today", "no", None]


def test_more_texts_than_are_compared_are_the_same_only_as_themselves() -> None:
    texts = [f"{word} sea" for word in ("a", "b") for _ in range(2)] + [
        f"w{number:04d}" for number in range(2 * COMPARED_TEXTS)
    ] * 2
    groups = clusters(texts)
    assert [len(group) for group in groups] == [2] * (2 * COMPARED_TEXTS + 2)


def test_only_the_beginning_of_a_long_text_is_compared() -> None:
    beginning = "sea " * (COMPARED_CHARS // 4)
    assert similarity(beginning + "blue", beginning + "green") == 1


def test_a_threshold_that_is_none_is_refused() -> None:
    for threshold in (-0.1, 1.1, float("nan")):
        with pytest.raises(InvalidInput, match="between 0 and 1"):
            clusters(["a"], threshold)


# --- minimum Bayes risk


def test_the_text_nearest_to_all_is_chosen() -> None:
    texts = ["the cat sat on a mat", "a dog ran", "the cat sat on the mat", "the cat sat on the red mat"]
    assert minimum_bayes_risk(texts) == 2


def test_weights_are_evidence() -> None:
    texts = ["sea blue", "sea blue deep", "green"]
    assert minimum_bayes_risk(texts, [1, 1, 5]) == 2
    assert minimum_bayes_risk(texts, [1, 2, 0]) == 1
    assert minimum_bayes_risk(texts, [2, 1, 0]) == 0


@given(TEXTS.filter(bool), st.data())
def test_it_has_the_highest_expected_similarity_whatever_the_order(
    texts: list[str], data: st.DataObject
) -> None:
    weights = data.draw(
        st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0]), min_size=len(texts), max_size=len(texts))
    )
    chosen = minimum_bayes_risk(texts, weights)
    expected = [sum(w * similarity(text, t) for t, w in zip(texts, weights, strict=True)) for text in texts]
    assert expected[chosen] == pytest.approx(max(expected))
    assert texts.index(texts[chosen]) == chosen
    order = data.draw(st.permutations(range(len(texts))))
    again = minimum_bayes_risk([texts[i] for i in order], [weights[i] for i in order])
    assert texts[order[again]] == texts[chosen]


@given(TEXTS.filter(bool))
def test_giving_every_text_twice_is_giving_it_twice_the_weight(texts: list[str]) -> None:
    chosen = texts[minimum_bayes_risk(texts)]
    assert [*texts, *texts][minimum_bayes_risk([*texts, *texts])] == chosen
    assert texts[minimum_bayes_risk(texts, [2.0] * len(texts))] == chosen


@pytest.mark.parametrize(
    ("texts", "weights"),
    [([], None), (["a"], [1, 2]), (["a"], [-1]), (["a"], [float("nan")]), (["a"], [float("inf")])],
)
def test_texts_and_weights_that_do_not_fit_are_refused(texts: list[str], weights: list[float] | None) -> None:
    with pytest.raises(InvalidInput):
        minimum_bayes_risk(texts, weights)
