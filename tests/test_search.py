"""The parts of a search over steps: where steps end, what scores them, what is open, and the weighted vote."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgetts.errors import InvalidInput
from edgetts.selection.aggregation import Vote
from edgetts.selection.search import (
    ROOT,
    SCORERS,
    CallableScore,
    LogProbScore,
    Node,
    Product,
    Scorer,
    SelfEvaluation,
    StepRule,
    StepSplitter,
    VerifierScore,
    make_scorer,
)
from edgetts.selection.search.ballot import weighted_vote
from edgetts.selection.search.frontier import NEUTRAL, Frontier
from edgetts.selection.verification import ErrorRates, Verdict, Work

# Steps


def steps(splitter: StepSplitter, text: str) -> list[str]:
    """Cut a text that grows by one character at a time, as an engine does."""
    found, step = [], ""
    opened = ""
    for character in text:
        step += character
        if splitter.ends(step, len(step), opened):
            opened = splitter.opened(step, opened)
            found.append(step)
            step = ""
    return [*found, step] if step else found


LONG = 10_000


@pytest.mark.parametrize(
    ("rule", "text", "cut"),
    [
        (
            "paragraph",
            "First add 2 and 3.\n\nThen multiply.\n \nThe end comes.",
            ["First add 2 and 3.\n\n", "Then multiply.\n \n", "The end comes."],
        ),
        ("paragraph", "\n\n\n\nAt last a step.\n\n", ["\n\n\n\nAt last a step.\n\n"]),
        ("line", "Add 2 and 3 now\n\nThen multiply\n", ["Add 2 and 3 now\n", "\nThen multiply\n"]),
        (
            "sentence",
            "It costs 3.14 in all. Dr. Smith, e.g. the elder, agrees! (So do I, too.) 1. No.",
            ["It costs 3.14 in all. ", "Dr. Smith, e.g. the elder, agrees! ", "(So do I, too.) ", "1. No."],
        ),
        (
            "step",
            "Step 1: add the numbers\nStep 2: multiply\n## Step 3: end it here",
            ["Step 1: add the numbers\nStep 2", ": multiply\n## Step 3", ": end it here"],
        ),
        (
            "step",
            "1. add the numbers\n2. multiply the rest\n3) it is 4.5\n4.5 is right",
            ["1. add the numbers\n2. ", "multiply the rest\n3) ", "it is 4.5\n4.5 is right"],
        ),
    ],
)
def test_steps_end_where_the_rule_says(rule: StepRule, text: str, cut: list[str]) -> None:
    assert steps(StepSplitter(rule, longest=LONG), text) == cut


@pytest.mark.parametrize(
    "display",
    [
        "```python\nfirst = 1\n\nsecond = 2. \n\nStep 2\n1. x\n```",
        "~~~\nfirst line\n\nsecond line\n\n~~~",
        "\\[ first line \\\\[2pt]\n\n second. line \n 2. \\]",
        "$$\nfirst line\n\nsecond. line\n\n$$",
        "\\begin{align*}\nfirst line\n\n\\begin{array} x \\end{array}\n\n second\n\\end{align*}",
    ],
)
@pytest.mark.parametrize("rule", ["paragraph", "line", "sentence", "step", "tokens:5"])
def test_no_step_ends_in_a_code_fence_or_a_display(rule: str, display: str) -> None:
    splitter = replace(StepSplitter.parse(rule), longest=LONG)
    text = f"Look at this now: all of it\n\n{display}"
    begins = text.index(display)
    length = 0
    for step in steps(splitter, f"{text}\n\nAnd so it is done now.\n\n")[:-1]:
        length += len(step)
        # Rules that cut before a heading take what gives it away, so the end itself may lie just outside.
        assert not begins + 3 < length < len(text), repr(step)


PIECES = [
    *("a", "word and word", " ", "\n", "\n\n", " \n", "```", "```py", "~~~", "`", "$", "$$", "**"),
    *("\\[", "\\]", "\\\\", "\\", "\\begin{align}", "\\end{align}"),
    *(". ", "?", ".", '"', "e.g", "Dr", "3", "Step 2", "1. ", "12)"),
]


@given(
    st.lists(st.sampled_from(PIECES), max_size=25).map("".join),
    st.sampled_from(["paragraph", "line", "sentence", "step"]),
    st.integers(0, 6),
)
@example("word and word.\n\n```py\n\n", "paragraph", 0)
def test_how_a_text_is_cut_into_tokens_does_not_matter(text: str, rule: StepRule, shortest: int) -> None:
    """What has ended has ended: looking only after longer pieces sees the same, at the first look behind."""
    splitter = StepSplitter(rule, shortest=shortest, longest=LONG)
    ends = [splitter.ends(text[:length], 1) for length in range(len(text) + 1)]
    assert ends == sorted(ends)


@given(st.lists(st.sampled_from(PIECES), max_size=25), st.integers(0, 25))
def test_what_is_open_can_be_followed_piece_by_piece(pieces: list[str], at: int) -> None:
    # A piece that begins a line, so that no marker is cut in two.
    first, second = "".join(pieces[:at]) + "\n", "".join(pieces[at:])
    splitter = StepSplitter()
    assert splitter.opened(second, splitter.opened(first)) == splitter.opened(first + second)


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join), st.integers(1, 20))
def test_no_step_is_longer_than_the_longest_and_none_is_empty(text: str, longest: int) -> None:
    splitter = StepSplitter("paragraph", shortest=4, longest=longest)
    cut = steps(splitter, text)
    assert "".join(cut) == text
    for step in cut[:-1]:
        assert len(step) <= longest
        assert len(step) == longest or sum(map(str.isalnum, step)) >= 4


def test_tokens_are_counted() -> None:
    splitter = StepSplitter.parse("tokens:3")
    assert [splitter.ends("abc", tokens) for tokens in (1, 2, 3, 4)] == [False, False, True, True]
    assert not splitter.ends("x", 3, opened=splitter.opened("```py\nx"))
    assert splitter.ends("x\n```\n", 3, opened=splitter.opened("```py\nx"))
    assert StepSplitter.parse("tokens:600").ends("", 599) is False


def test_a_display_that_is_never_closed_ends_at_the_longest() -> None:
    splitter = StepSplitter("line", longest=50)
    assert not splitter.ends("\\[ x\n and more of it\n", 49)
    assert splitter.ends("\\[ x\n and more of it\n", 50)


@pytest.mark.parametrize("text", ["paragraph", "line", "sentence", "step", "tokens:7"])
def test_splitters_are_read_and_written(text: str) -> None:
    assert str(StepSplitter.parse(text)) == text
    assert StepSplitter.parse(f" {text} ") == StepSplitter.parse(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("paragaph", "Did you mean 'paragraph'"),
        ("thoughts", "There are: paragraph"),
        ("line:3", "takes no number"),
        ("tokens:many", "no number of tokens"),
        ("tokens:-3", "no number of tokens"),
        ("tokens:0", "1 or greater"),
    ],
)
def test_bad_splitters_are_told_what_to_write(text: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        StepSplitter.parse(text)
    with pytest.raises(InvalidInput, match="longer than the longest"):
        StepSplitter("tokens", 9, longest=8)
    with pytest.raises(InvalidInput, match="shortest"):
        StepSplitter(shortest=-1)


# Scorers


def node(**changes: object) -> Node:
    made = Node(3, 1, 2, "ab", 5, -2.0, "b", 2, -1.0, ended=False, complete=False, answer="4")
    return replace(made, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True)
class FakeVerifier:
    verdict: Verdict
    rates: ErrorRates | None = None
    seen: tuple[Work, ...] = ()
    name: str = "fake"

    def verify(self, work: Work) -> Verdict:
        assert work == Work("Why?", "ab", "4", complete=False)
        return self.verdict


def test_self_evaluation_is_the_models_judgement() -> None:
    scorer = SelfEvaluation()
    assert scorer.judges
    assert scorer.score(node(), "Why?", 0.25) == 0.25
    for judgement in (None, 1.5, math.nan):
        with pytest.raises(InvalidInput):
            scorer.score(node(), "Why?", judgement)


def test_logprobs_become_a_probability_per_token() -> None:
    assert LogProbScore().score(node(), "", None) == pytest.approx(math.exp(-0.5))
    assert LogProbScore("path").score(node(), "", None) == pytest.approx(math.exp(-0.4))
    assert LogProbScore().score(node(step_tokens=0, step_logprob=0.0), "", None) == 1.0
    assert LogProbScore().score(node(step_logprob=-math.inf), "", None) == 0.0
    with pytest.raises(InvalidInput, match="step or the path"):
        LogProbScore("word")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("verdict", "rates", "score"),
    [
        (Verdict(True), None, 1.0),
        (Verdict(False), None, 0.01),
        (Verdict(False, share=0.75), None, 0.75),
        (Verdict(None), None, 0.5),
        (Verdict(None, share=0.25), None, 0.25),
        (Verdict(True), ErrorRates(0.9, 0.3), 0.75),
        (Verdict(False), ErrorRates(0.9, 0.3), 0.125),
        (Verdict(False), ErrorRates(1.0, 0.5), 0.01),
        (Verdict(True), ErrorRates(0.0, 0.0), 0.5),
    ],
)
def test_a_verdict_becomes_a_probability(verdict: Verdict, rates: ErrorRates | None, score: float) -> None:
    scorer = VerifierScore(FakeVerifier(verdict, rates))
    assert not scorer.judges
    assert scorer.score(node(), "Why?", None) == pytest.approx(score)


def test_the_prior_of_a_verdict_counts() -> None:
    verifier = FakeVerifier(Verdict(True), ErrorRates(0.9, 0.3))
    assert VerifierScore(verifier, prior=0.1).score(node(), "Why?", None) == pytest.approx(0.25)
    for bad in ({"prior": 1.0}, {"least": -0.1}):
        with pytest.raises(InvalidInput):
            VerifierScore(verifier, **bad)


def test_a_function_may_score() -> None:
    seen: list[tuple[str, str]] = []

    def reward(question: str, text: str) -> float:
        seen.append((question, text))
        return 0.75

    scorer = CallableScore(reward, name="reward model")
    assert (scorer.score(node(), "Why?", None), scorer.name) == (0.75, "reward model")
    assert seen == [("Why?", "ab")]
    bad: Any
    for bad in (1.5, -0.1, math.nan, "high"):
        with pytest.raises(InvalidInput, match="probability"):
            CallableScore(partial(_say, bad)).score(node(), "Why?", None)


def _say(what: Any, question: str, text: str) -> Any:
    return what


def test_scores_are_multiplied() -> None:
    half, tenth = (CallableScore(partial(_say, x)) for x in (0.5, 0.1))
    assert Product((half, tenth)).score(node(), "", None) == pytest.approx(0.05)
    assert Product((half, tenth), (2.0, 0.0)).score(node(), "", None) == pytest.approx(0.25)
    guided = Product.guided(0.3)
    assert guided.judges
    assert not Product((half, tenth)).judges
    assert guided.score(node(), "", 0.2) == pytest.approx(math.exp(-0.5) ** 0.3 * 0.2**0.7)
    makers: list[Callable[[], Product]] = [
        lambda: Product(()),
        lambda: Product((half,), (1.0, 1.0)),
        lambda: Product((half,), (-1.0,)),
        lambda: Product.guided(2.0),
    ]
    for make in makers:
        with pytest.raises(InvalidInput):
            make()


def test_scorers_have_names() -> None:
    for name in SCORERS:
        scorer = make_scorer(name)
        assert isinstance(scorer, Scorer)
        assert scorer == make_scorer(name.upper().replace("-", "_"))
    assert make_scorer("logprob:path").name == "logprob:path"
    assert make_scorer("verifier", FakeVerifier(Verdict(True))).name == "verifier:fake"
    with pytest.raises(InvalidInput, match="Did you mean 'self-evaluation'"):
        make_scorer("self-evalution")
    with pytest.raises(InvalidInput, match="There are"):
        make_scorer("oracle")
    with pytest.raises(InvalidInput, match="needs a verifier"):
        make_scorer("verifier")


# The frontier


def test_every_open_node_is_grown_kept_or_given_up() -> None:
    frontier = Frontier()
    assert frontier.grow({ROOT: 3}).drop == frozenset()
    nodes = [node(id=i, parent=ROOT, score=0.5, ended=i == 2) for i in range(5)]
    assert [one.id for one in frontier.take(nodes)] == [0, 1, 3, 4]
    assert list(frontier.ended) == [2]
    move = frontier.grow({1: 2, 3: 0}, keep=[4])
    assert (move.copies, move.drop) == ({1: 2}, frozenset({0, 3}))
    for copies, keep in (({1: 1}, ()), ({0: 1}, ()), ({2: 1}, ()), ({4: 1}, [3]), ({}, [4])):
        with pytest.raises(InvalidInput, match="open nodes"):
            frontier.grow(copies, keep)
    assert frontier.grow({4: 1}).drop == frozenset()


def test_a_node_without_a_score_has_its_parents() -> None:
    frontier = Frontier()
    frontier.take([node(id=0, parent=ROOT), node(id=1, parent=ROOT, score=0.9), node(id=2, parent=1)])
    assert frontier.scores == {0: NEUTRAL, 1: 0.9, 2: 0.9}


# The vote


@given(
    st.lists(
        st.tuples(st.sampled_from([None, "1", "2", "3"]), st.sampled_from([0.0, 0.5, 1.0, 2.5])), min_size=1
    ),
    st.randoms(use_true_random=False),
    st.floats(1e-250, 1e250),
)
def test_the_heaviest_answer_wins(
    cast: list[tuple[str | None, float]], rng: random.Random, factor: float
) -> None:
    votes = [Vote(i, answer, -1.0, 2) for i, (answer, _) in enumerate(cast)]
    weights = {i: weight for i, (_, weight) in enumerate(cast)}
    tally = weighted_vote(votes, weights, "test")
    shuffled = votes[:]
    rng.shuffle(shuffled)
    assert weighted_vote(shuffled, weights, "test") == tally
    scaled = weighted_vote(votes, {i: weight * factor for i, weight in weights.items()}, "test")
    assert scaled.distribution == pytest.approx(tally.distribution)
    sums = {a: math.fsum(w for b, w in cast if a == b) for a in dict(cast) if a is not None}
    if any(sums.values()):
        assert tally.answer is not None
        assert sums[tally.answer] == max(sums.values())
        assert tally.distribution[tally.answer] == pytest.approx(
            sums[tally.answer] / math.fsum(sums.values())
        )
    assert (tally.answer is None) == (not sums)


def test_a_vote_of_unknown_weight_has_the_mean() -> None:
    votes = [Vote(0, "1", -1.0, 2), Vote(1, "2", -1.0, 2), Vote(9, "2", -1.0, 2)]
    tally = weighted_vote(votes, {0: 0.8, 1: 0.2}, "test")
    assert tally.distribution == pytest.approx({"1": 0.8 / 1.5, "2": 0.7 / 1.5})
    assert tally.sample == 0
    assert weighted_vote(votes, {}, "test").answer == "2"
    assert weighted_vote(votes, dict.fromkeys((0, 1, 9), 0.0), "test").answer == "2"
