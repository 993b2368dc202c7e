"""Learning how much of what is planned is drawn: the share, and plans that reckon with it."""

# ruff: noqa: F401, F811  fixtures are imported, and then named as parameters

from __future__ import annotations

import pytest
from fakes_engine import ScriptedSession, scripted_engine, tiny_engine_bundle, tiny_tokenizer
from hypothesis import given
from hypothesis import strategies as st

from edgetts import Budget
from edgetts.control.cost.drawn import Drawn
from edgetts.tokenizer import Tokenizer

answers = st.lists(st.tuples(st.integers(0, 20), st.integers(1, 20)), max_size=60)


@given(answers)
def test_a_share_is_a_share_and_few_answers_say_nothing(seen: list[tuple[int, int]]) -> None:
    drawn = Drawn()
    for one, planned in seen:
        drawn.observe("sums", one, planned)
    told = [pair for pair in seen if pair[1] > 1]
    share = drawn.share("sums")
    assert (share is None) == (len(told) < 3)
    assert share is None or 0 <= share <= 1
    assert drawn.share("another kind") is None


@given(st.integers(0, 8))
def test_the_share_of_answers_that_are_alike_is_theirs(one: int) -> None:
    drawn = Drawn()
    for _ in range(10):
        drawn.observe("sums", one, 8)
    assert drawn.share("sums") == pytest.approx(one / 8)


def test_kinds_that_nobody_asks_any_more_are_forgotten() -> None:
    drawn = Drawn()
    for kind in range(1000):
        for _ in range(3):
            drawn.observe(str(kind), 1, 2)
    assert drawn.share("0") is None
    assert drawn.share("999") == 0.5


def test_a_plan_reckons_with_a_rule_that_stops_early(tiny_tokenizer: Tokenizer) -> None:
    engine = scripted_engine(tiny_tokenizer, ScriptedSession([b"7"] * 200))
    asked = {"budget": Budget(samples=16), "strategy": "adaptive:by=tokens", "answer_format": "number"}
    first = engine.plan("What is 3 + 4?", **asked)
    for _ in range(4):
        answer = engine.answer("What is 3 + 4?", **asked)
        assert (answer.stop_reason, len(answer.samples) < 16) == ("decided", True)
    later = engine.plan("What is 3 + 4?", **asked)
    other = engine.plan("What is 3 + 4?", **{**asked, "strategy": "self_consistency:stop=none"})
    assert later.samples == first.samples == 16, "it may still draw them all"
    assert later.tokens is not None
    assert other.tokens is not None
    assert later.tokens.value < other.tokens.value / 2
