"""Lengths of samples: a guess that gives way to what is seen, samples that were cut included."""

# ruff: noqa: S311  simulations draw

from __future__ import annotations

import json
import math
import random
import threading
from statistics import NormalDist
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetts.control.cost.finishing import Finishing
from edgetts.control.cost.lengths import SPREAD, TYPICAL, KnownLengths, LengthBook, Lengths
from edgetts.errors import InvalidInput

SEEN = st.lists(st.tuples(st.integers(1, 5000), st.booleans()), max_size=60)


def middle(law: Lengths) -> float:
    return law.quantiles(201)[100]


@settings(max_examples=60, deadline=None)
@given(seen=SEEN, count=st.integers(1, 200))
def test_quantiles_rise_and_are_lengths(seen: list[tuple[int, bool]], count: int) -> None:
    quantiles = Lengths(tuple(seen)).quantiles(count)
    assert len(quantiles) == count
    assert list(quantiles) == sorted(quantiles)
    assert all(1 <= q < math.inf for q in quantiles)


def test_before_anything_is_seen_it_is_the_guess() -> None:
    law = Lengths()
    assert law.provenance == "a guess"
    assert middle(law) == pytest.approx(TYPICAL, rel=0.03)
    low, high = law.quantiles(100)[10], law.quantiles(100)[89]
    z = NormalDist().inv_cdf(0.895)
    assert low == pytest.approx(TYPICAL * math.exp(-z * SPREAD), rel=0.1)
    assert high == pytest.approx(TYPICAL * math.exp(z * SPREAD), rel=0.1)


def test_a_few_samples_draw_the_guess_towards_them_and_many_replace_it() -> None:
    few = Lengths(((30, True),) * 2)
    many = Lengths(((30, True),) * 200)
    assert 30 < middle(few) < TYPICAL
    assert many.quantiles(20)[1] == many.quantiles(20)[18] == 30
    assert few.provenance == "2 samples of such questions"
    assert many.shared < few.shared < Lengths().shared


def test_a_cut_sample_says_that_it_would_have_been_longer() -> None:
    draw = random.Random(3)
    true = [round(draw.lognormvariate(math.log(300), 0.4)) for _ in range(250)]
    cut = Lengths(tuple((min(n, 320), n <= 320) for n in true))
    whole = Lengths(tuple((n, True) for n in true))
    naive = Lengths(tuple((min(n, 320), True) for n in true))
    # What lies below the cut is as if nothing had been cut; what lies beyond is not thought to end there.
    for share in (20, 60, 100):
        assert cut.quantiles(201)[share] == pytest.approx(whole.quantiles(201)[share], rel=0.04)
    assert cut.quantiles(201)[150] > 320 > naive.quantiles(201)[150] - 1


@settings(max_examples=40, deadline=None)
@given(seen=SEEN, length=st.integers(1, 5000))
def test_that_one_was_cut_never_makes_the_law_shorter_than_that_it_ended(
    seen: list[tuple[int, bool]], length: int
) -> None:
    ended = Lengths((*seen, (length, True))).quantiles(50)
    cut = Lengths((*seen, (length, False))).quantiles(50)
    assert all(b >= a - 1e-9 for a, b in zip(ended, cut, strict=True))


def test_intervals_for_the_next_sample_hold_what_they_promise() -> None:
    draw = random.Random(8)
    inside = total = 0
    for _ in range(60):
        typical, spread = draw.uniform(60, 500), draw.uniform(0.25, 0.7)
        seen = [(max(1, round(draw.lognormvariate(math.log(typical), spread))), True) for _ in range(24)]
        quantiles = Lengths(tuple(seen)).quantiles(200)
        for _ in range(10):
            inside += quantiles[10] <= draw.lognormvariate(math.log(typical), spread) <= quantiles[189]
            total += 1
    # 90% is promised; the guess in it makes it wider. 4 deviations of a share of 600 are 5%.
    assert 0.85 <= inside / total <= 0.99


def test_a_book_keeps_kinds_apart_and_forgets_the_least_used() -> None:
    book = LengthBook(kinds=2, samples=5)
    for _ in range(9):
        book.observe("short", 10, True)
        book.observe("long", 900, True)
    assert middle(book.of("short")) < TYPICAL < middle(book.of("long"))
    assert len(book.of("long").seen) == 5
    assert book.of("new").provenance == "a guess"
    book.of("short")
    book.observe("third", 50, False)
    assert set(book.to_json()) == {"short", "third"}
    book.observe("short", 0, True)  # a sample without a token says nothing
    assert all(tokens == 10 for tokens, _ in book.of("short").seen)


@settings(max_examples=40, deadline=None)
@given(
    body=st.dictionaries(
        st.text(max_size=8), st.lists(st.tuples(st.integers(1, 999), st.booleans()), min_size=1)
    )
)
def test_a_book_comes_back_from_json_as_it_was(body: dict[str, list[tuple[int, bool]]]) -> None:
    book = LengthBook()
    for key, seen in body.items():
        for tokens, ended in seen:
            book.observe(key, tokens, ended)
    again = LengthBook.from_json(json.loads(json.dumps(book.to_json())))
    assert again.to_json() == book.to_json()
    assert all(again.of(key) == book.of(key) for key in body)


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"a": 3},
        {"a": [3]},
        {"a": [[3]]},
        {"a": [[1.5, 1]]},
        {"a": [[True, 1]]},
        {"a": [[0, 1]]},
        {"a": [[10**30, 1]]},
        {"a": [[3, 2]]},
        {"a": [["3", 1]]},
        {3: [[3, 1]]},
    ],
)
def test_a_book_refuses_what_it_did_not_write(body: Any) -> None:
    with pytest.raises(InvalidInput, match="Recorded lengths"):
        LengthBook.from_json(body)


def test_a_book_is_used_by_several_threads() -> None:
    book = LengthBook(kinds=8, samples=16)
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for i in range(200):
                book.observe(f"kind {(number + i) % 12}", 10 + i, i % 3 > 0)
                assert book.of(f"kind {i % 12}").quantiles(8)
        except BaseException as error:  # noqa: BLE001 - told in the main thread
            failed.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert len(book.to_json()) == 8
    assert all(len(seen) <= 16 for seen in book.to_json().values())


def test_known_lengths_are_what_they_are() -> None:
    law = KnownLengths(((30, True), (10, True), (20, False)))
    assert law.quantiles(3) == (10.0, 20.0, 30.0)


@settings(max_examples=60, deadline=None)
@given(seen=SEEN, begun=st.integers(0, 900), few=st.integers(0, 400), more=st.integers(0, 400))
def test_more_passes_never_make_an_end_less_likely(
    seen: list[tuple[int, bool]], begun: int, few: int, more: int
) -> None:
    ends = Finishing(Lengths(tuple(seen)), 1000)
    assert 0 <= ends.within(begun, few) <= ends.within(begun, few + more) + 1e-12 <= 1 + 1e-9
    assert ends.within(begun, 0) == 0
    # What the cap cuts does not end by itself, however many passes there are.
    assert ends.within(begun, 10_000) == ends.within(begun, 1000 - begun)


@settings(max_examples=60, deadline=None)
@given(
    seen=SEEN,
    begun=st.lists(st.integers(0, 300), max_size=6),
    passes=st.floats(0, 500),
    extra=st.integers(0, 300),
)
def test_one_more_beside_the_others_is_worth_something_if_it_costs_nothing(
    seen: list[tuple[int, bool]], begun: list[int], passes: float, extra: int
) -> None:
    # Of samples alike; one that is far from ending may lower what the others share.
    ends = Finishing(Lengths(tuple(seen)), 1000)
    begun = [extra] * len(begun)
    assert 0 <= ends.worth(begun, passes) <= ends.worth([*begun, extra], passes) + 1e-9 <= 1 + 1e-8


def test_samples_that_would_only_slow_the_others_are_not_started() -> None:
    ends = Finishing(Lengths(((100, True),) * 60), 1000)
    # In 60 passes nothing that begins now ends, and what has 50 tokens just does if it is alone.
    assert ends.best_more([50], 4, lambda width: 60.0 / width, 0.03) == 0
    assert ends.best_more([], 4, lambda width: 60.0, 0.03) == 0
    # With time for all, all; with time for two, two.
    assert ends.best_more([], 4, lambda width: 500.0, 0.03) == 4
    assert ends.best_more([], 4, lambda width: 250.0 / width, 0.03) == 2
    assert ends.best_few([20, 20, 20, 20], lambda width: 170.0 / width, 0.2) == 2
    assert ends.best_few([20, 20, 20, 20], lambda width: 500.0, 0.2) == 4
