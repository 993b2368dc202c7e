from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetts.errors import InvalidInput
from edgetts.selection.aggregation import Vote, self_consistency
from edgetts.selection.confidence import Example, calibrate
from edgetts.selection.stopping import (
    PRUNINGS,
    RULES,
    AnyOf,
    Confidence,
    FirstPass,
    LowConfidence,
    Pruning,
    Repetition,
    Running,
    StoppingRule,
    TooLong,
    best_attempts,
    ceiling,
    cycle,
    expected_share,
    leads,
    lowest_group,
    make_pruning,
    make_rule,
    mixed_share,
    outlook,
    vote_decided,
)
from edgetts.selection.stopping.lookahead import SCATTERS
from edgetts.selection.verification import ErrorRates

SPECS = (
    "none",
    "vote",
    "posterior",
    "posterior:0.8",
    "certaindex:0.9,floor=0.1,patience=4",
    "confidence:0.8,floor=0.2,patience=2",
    "value:300",
    "value:50,unseen=2",
    "first-pass:3",
    "posterior:0.9+value:100",
)
PRUNING_SPECS = (
    "none",
    "repetition:3,tokens=4",
    "low-confidence:50,warmup=2,window=2",
    "too-long:0.5,slack=1,warmup=2",
)


def cast(*counts: int, lost: int = 0, tokens: int = 100) -> list[Vote]:
    answers = [str(at) for at, count in enumerate(counts) for _ in range(count)] + [None] * lost
    return [Vote(index, answer, -10.0, tokens) for index, answer in enumerate(answers)]


@st.composite
def ballots(draw: st.DrawFn) -> list[Vote]:
    return [
        Vote(
            index,
            draw(st.sampled_from([None, "1", "2", "3"])),
            draw(st.sampled_from([-1.0, -2.5, -math.inf])),
            draw(st.sampled_from([0, 1, 300])),
            complete=draw(st.booleans()),
            explicit=draw(st.booleans()),
            passed=draw(st.sampled_from([None, True, False])),
        )
        for index in range(draw(st.integers(0, 8)))
    ]


@settings(deadline=None)
@given(ballots(), st.integers(0, 8), st.sampled_from(SPECS), st.randoms(use_true_random=False))
def test_no_rule_minds_the_order_of_votes_or_stops_where_nothing_is_left(
    votes: list[Vote], remaining: int, spec: str, rng: random.Random
) -> None:
    rule = make_rule(spec)
    assert isinstance(rule, StoppingRule)
    shuffled = votes[:]
    rng.shuffle(shuffled)
    reason = rule.stop(votes, remaining)
    assert rule.stop(shuffled, remaining) == reason
    assert reason is None or reason
    assert rule.stop(votes, 0) is None
    assert rule.stop([], remaining) is None


@pytest.mark.parametrize("spec", [spec for spec in SPECS if spec != "none"])
def test_no_rule_takes_a_negative_number_to_come(spec: str) -> None:
    with pytest.raises(InvalidInput, match="-1"):
        make_rule(spec).stop(cast(3, 1), -1)


@settings(deadline=None)
@given(ballots(), st.integers(1, 8))
def test_the_vote_rule_is_vote_decided(votes: list[Vote], remaining: int) -> None:
    counts = self_consistency(votes).counts if votes else {}
    assert (make_rule("vote").stop(votes, remaining) is not None) == vote_decided(counts, remaining)


@settings(deadline=None)
@given(st.integers(0, 12), st.integers(0, 12))
def test_the_posterior_is_the_beta_integral(leader: int, runner_up: int) -> None:
    """By Simpson's rule on x^a (1 - x)^b, fine enough for a polynomial of this degree."""
    steps = 200

    def integral(low: float, high: float) -> float:
        width = (high - low) / steps
        points = [low + width * i for i in range(steps + 1)]
        heights = [x**leader * (1 - x) ** runner_up for x in points]
        return width / 3 * (heights[0] + heights[-1] + 4 * sum(heights[1::2]) + 2 * sum(heights[2:-1:2]))

    assert leads(leader, runner_up) == pytest.approx(integral(0.5, 1) / integral(0, 1), abs=1e-6)
    assert leads(leader, runner_up) + leads(runner_up, leader) == 1


def test_the_posterior_stops_at_its_threshold() -> None:
    rule = make_rule("posterior:0.95")
    assert rule.stop(cast(3), 9) is None
    assert rule.stop(cast(4), 9) == "the leader stays ahead with probability 0.969"
    assert rule.stop(cast(5, 1), 9) is None
    assert rule.stop(cast(6, 1), 9)
    assert rule.stop(cast(4, 4), 9) is None
    assert rule.stop(cast(lost=9), 9) is None
    assert leads(10_000, 9_000) == pytest.approx(1)


def test_certaindex_stops_the_certain_and_the_hopeless() -> None:
    rule = make_rule("certaindex:0.9,floor=0.1,patience=6")
    assert "agree" in (rule.stop(cast(3), 9) or "")
    assert rule.stop(cast(2), 9) is None, "below the minimum"
    assert rule.stop(cast(3, 1), 9) is None
    assert rule.stop(cast(1, 1, 1, 1, 1), 9) is None, "patience"
    assert "do not come to agree" in (rule.stop(cast(1, 1, 1, 1, 1, 1), 9) or "")
    assert "do not come to agree" in (rule.stop(cast(lost=6), 9) or "")
    assert make_rule("certaindex:0.9").stop(cast(*[1] * 20), 9) is None, "no floor by default"


def test_confidence_is_the_share_of_samples_until_a_calibration_says_otherwise() -> None:
    rule = make_rule("confidence:0.7,floor=0.1,patience=4")
    assert rule.stop(cast(3, 1), 9) == "confidence 0.75 is enough"
    assert rule.stop(cast(2, 1), 9) is None
    assert rule.stop(cast(lost=4), 9) == "confidence 0.00 is hopeless"
    examples = [Example(str(i), i / 20, i >= 15) for i in range(20)]
    calibration = calibrate(examples, signal="margin", data="toy", rule="all", method="isotonic")
    sober = make_rule("confidence:0.7,floor=0.1", calibration=calibration)
    assert isinstance(sober, Confidence)
    assert sober.stop(cast(3, 1), 9) is None, "a margin of 0.5 was never right"
    assert sober.stop(cast(8), 9) == f"confidence {calibration.apply(1.0):.2f} is enough"
    assert sober.stop(cast(3, 3, 1, 1), 9) == f"confidence {calibration.apply(0.0):.2f} is hopeless"
    with pytest.raises(InvalidInput, match="uses no calibration"):
        make_rule("posterior+value", calibration=calibration)


def enumerate_shares(counts: list[int], lost: int, more: int, unseen: float) -> float:
    """Sum over every sequence of further votes, one by one."""
    n = sum(counts) + lost
    if not more:
        return max(counts, default=0) / (n + unseen)
    total = 0.0
    for at, count in enumerate(counts):
        bigger = [*counts[:at], count + 1, *counts[at + 1 :]]
        total += count / (n + unseen) * enumerate_shares(bigger, lost, more - 1, unseen)
    if lost:
        total += lost / (n + unseen) * enumerate_shares(counts, lost + 1, more - 1, unseen)
    return total + unseen / (n + unseen) * enumerate_shares([*counts, 1], lost, more - 1, unseen)


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 4), max_size=3),
    st.integers(0, 2),
    st.integers(0, 4),
    st.sampled_from([0.5, 1.0, 7.0]),
)
def test_looking_ahead_is_exact(counts: list[int], lost: int, more: int, unseen: float) -> None:
    found = expected_share(counts, lost, more, unseen)
    assert found == pytest.approx([enumerate_shares(counts, lost, k, unseen) for k in range(more + 1)])
    assert all(later >= now - 1e-12 for now, later in pairwise(found)), "never falls"


def sequence_probability(counts: Sequence[int], unseen: float) -> float:
    """The probability that votes fall so, one after the other."""
    probability, seen = 1.0, 0
    for count in counts:
        for already in range(count):
            probability *= (already or unseen) / (seen + unseen)
            seen += 1
    return probability


@settings(deadline=None)
@given(st.lists(st.integers(1, 3), min_size=1, max_size=3), st.integers(0, 3))
def test_votes_tell_how_much_is_unseen_by_bayes(counts: list[int], more: int) -> None:
    likelihoods = [sequence_probability(counts, a) for a in SCATTERS]
    expected = [
        sum(w * enumerate_shares(counts, 0, k, a) for w, a in zip(likelihoods, SCATTERS, strict=True))
        / sum(likelihoods)
        for k in range(more + 1)
    ]
    assert mixed_share(counts, 0, more) == pytest.approx(expected)


def test_value_goes_on_where_it_is_contested_and_stops_the_sure_and_the_hopeless() -> None:
    rule = make_rule("value:500")
    assert rule.stop(cast(4, 4, tokens=260), 8) is None
    assert rule.stop(cast(2, 2, 2, 1, 1, tokens=260), 8) is None
    assert rule.stop(cast(8, tokens=260), 8)
    assert rule.stop(cast(*[1] * 8, tokens=260), 8)
    assert make_rule("value:200").stop(cast(lost=8, tokens=260), 8)
    assert rule.stop(cast(1, 1, tokens=260), 14) is None, "too early to tell"


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(1, 6))
def test_dearer_samples_never_make_value_go_on(counts: list[int], remaining: int) -> None:
    stops = [
        make_rule("value:300").stop(cast(*counts, 1, tokens=tokens), remaining) is not None
        for tokens in (0, 10, 100, 1000, 10_000)
    ]
    assert stops == sorted(stops)
    worth = [
        make_rule(f"value:{t}").stop(cast(*counts, 1), remaining) is None for t in (0, 10, 100, 1000, 10_000)
    ]
    assert worth == sorted(worth)
    assert not worth[0], "nothing is worth tokens to who gives none"


def enumerate_outlook(p: float, rates: ErrorRates, attempts: int) -> tuple[float, float, float]:
    """Over every sequence of right and wrong, passed and not: right, wrong, and samples drawn."""
    kinds = {
        (True, True): p * rates.passes_right,
        (True, False): p * (1 - rates.passes_right),
        (False, True): (1 - p) * rates.passes_wrong,
        (False, False): (1 - p) * (1 - rates.passes_wrong),
    }
    right = wrong = drawn = 0.0
    for sequence in product(kinds, repeat=attempts):
        probability = math.prod(kinds[kind] for kind in sequence)
        first = next((at for at, (_, passed) in enumerate(sequence) if passed), None)
        drawn += probability * (attempts if first is None else first + 1)
        if first is not None:
            right += probability * sequence[first][0]
            wrong += probability * (not sequence[first][0])
    return right, wrong, drawn


@settings(deadline=None)
@given(
    st.sampled_from([0.0, 0.2, 0.7, 1.0]),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([0.0, 0.1, 1.0]),
    st.integers(0, 4),
)
def test_the_outlook_is_what_enumeration_gives(
    p: float, passes_right: float, passes_wrong: float, k: int
) -> None:
    rates = ErrorRates(passes_right, passes_wrong)
    found = outlook(p, rates, k, 2.0, 0.1)
    right, wrong, drawn = enumerate_outlook(p, rates, k)
    assert (found.right, found.wrong, found.attempts) == pytest.approx((right, wrong, drawn))
    assert found.none == pytest.approx(1 - right - wrong)
    assert found.value == pytest.approx(right - 2 * wrong - 0.1 * drawn)


def test_the_ceiling_is_what_many_attempts_come_to() -> None:
    rates = ErrorRates(0.9, 0.1)
    found = ceiling(0.2, rates)
    assert found == pytest.approx(0.18 / 0.26)
    assert outlook(0.2, rates, 500, 0).right == pytest.approx(found)
    assert ceiling(0.0, rates) == 0
    assert ceiling(0.0, ErrorRates(1, 0)) is None
    assert ceiling([0.0, 0.5], ErrorRates(1, 0)) == 1


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 0.05, 0.3, 0.9]), min_size=1, max_size=5),
    st.sampled_from([0.6, 1.0]),
    st.sampled_from([0.0, 0.05, 0.4]),
    st.sampled_from([0.0, 0.5, 4.0]),
    st.sampled_from([0.0, 0.02]),
)
def test_no_number_of_attempts_is_worth_more_than_the_best(
    rates_right: list[float], passes_right: float, passes_wrong: float, wrong: float, attempt: float
) -> None:
    rates = ErrorRates(passes_right, passes_wrong)
    values = [outlook(rates_right, rates, k, wrong, attempt).value for k in range(41)]
    best = best_attempts(rates_right, rates, wrong, attempt, most=40)
    assert values[best] == pytest.approx(max(values), abs=1e-9)
    assert all(value < values[best] for value in values[:best]), "the smallest of the best"


def test_with_hard_questions_among_them_few_attempts_are_best() -> None:
    rates = ErrorRates(0.95, 0.1)
    mixed = [0.8, 0.6, 0.4, 0.02, 0.0, 0.0]
    assert best_attempts(0.5, rates, 1.0) > 5, (
        "a question that is solved half the time: go on until it passes"
    )
    assert best_attempts(0.0, rates, 1.0) == 0, "what passes is wrong"
    assert 1 <= best_attempts(mixed, rates, 1.0) <= 4
    assert best_attempts(mixed, rates, 4.0) <= best_attempts(mixed, rates, 1.0)
    assert best_attempts(mixed, ErrorRates(1, 0), 4.0, most=50) == 50, "an exact verifier never hurts"


def test_first_pass_stops_at_a_pass_or_at_its_limit() -> None:
    def judged(*passed: bool | None) -> list[Vote]:
        return [Vote(i, "1", -1.0, 1, passed=one) for i, one in enumerate(passed)]

    rule = FirstPass(3)
    assert rule.needs == {"verifier"}
    assert rule.stop(judged(False, None), 5) is None
    assert rule.stop(judged(False, True), 5) == "a sample passed the verifier"
    assert "3 samples did not pass" in (rule.stop(judged(False, None, False), 5) or "")
    assert FirstPass().stop(judged(*[False] * 50), 5) is None


@pytest.mark.parametrize("bad", [(-0.1, 0.0, 0.0), (1.1, 0.0, 0.0), (0.5, -1.0, 0.0), (0.5, 0.0, math.nan)])
def test_flaws_refuse_what_is_no_rate_or_cost(bad: tuple[float, float, float]) -> None:
    p, wrong, attempt = bad
    with pytest.raises(InvalidInput):
        best_attempts(p, ErrorRates(0.9, 0.1), wrong, attempt)


def test_any_of_stops_with_the_first_reason_there_is() -> None:
    rule = make_rule("posterior:0.95 + certaindex:1,floor=0.1")
    assert isinstance(rule, AnyOf)
    assert rule.needs == {"several"}
    assert "stays ahead" in (rule.stop(cast(9), 9) or "")
    assert "do not come to agree" in (rule.stop(cast(*[1] * 8), 9) or "")
    assert rule.stop(cast(2, 1), 9) is None


@pytest.mark.parametrize("spec", [*SPECS, *RULES])
def test_a_rules_name_makes_it_again(spec: str) -> None:
    rule = make_rule(spec)
    assert make_rule(rule.name) == rule


@pytest.mark.parametrize("spec", [*PRUNING_SPECS, *PRUNINGS, "repetition+too-long:0.75"])
def test_a_prunings_name_makes_it_again(spec: str) -> None:
    rule = make_pruning(spec)
    assert isinstance(rule, Pruning)
    assert make_pruning(rule.name) == rule


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("postrior", "Did you mean 'posterior'"),
        ("zzz", "There are: none, vote"),
        ("", "no stopping rule ''"),
        ("posterior:", "colon and no settings"),
        ("posterior:high", "must be a number"),
        ("posterior:nan", "must be a number"),
        ("posterior:0.9,0.8", "Write posterior:THRESHOLD"),
        ("posterior:0.9,threshold=0.8", "twice"),
        ("posterior:treshold=0.9", "Did you mean 'threshold'"),
        ("posterior:1", "less than 1"),
        ("vote:3", "Write 'vote' alone"),
        ("first-pass:2.5", "must be a whole number"),
        ("first-pass:-1", "cannot be -1 attempts"),
        ("certaindex:0.5,floor=0.6", "below its threshold"),
        ("confidence:2", "at most 1"),
        ("value:-1", "zero or greater"),
        ("value:1,unseen=-2", "zero or greater"),
        ("posterior+", "no stopping rule ''"),
    ],
)
def test_a_rule_that_cannot_be_made(spec: str, says: str) -> None:
    with pytest.raises(InvalidInput) as error:
        make_rule(spec)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("repetitions", "Did you mean 'repetition'"),
        ("low-confidence:0", "above 0"),
        ("low-confidence:90,window=0", "a window one token"),
        ("too-long:2", "from 0 to 1"),
        ("too-long:0.5,slack=0.5", "1 or greater"),
        ("repetition:1", "twice over"),
    ],
)
def test_a_pruning_that_cannot_be_made(spec: str, says: str) -> None:
    with pytest.raises(InvalidInput) as error:
        make_pruning(spec)
    assert says in str(error.value)


RUNS = st.lists(
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from([0.0, -0.5, -3.0, -math.inf])), max_size=9),
    max_size=5,
)


def running(runs: list[list[tuple[int, float]]], first: int = 0) -> list[Running]:
    return [
        Running(first + at, tuple(t for t, _ in run), tuple(p for _, p in run)) for at, run in enumerate(runs)
    ]


@settings(deadline=None)
@given(RUNS, RUNS, st.sampled_from(PRUNING_SPECS), st.randoms(use_true_random=False))
def test_no_pruning_minds_the_order_or_ends_what_does_not_run(
    live: list[Any], over: list[Any], spec: str, rng: random.Random
) -> None:
    rule = make_pruning(spec)
    alive, ended = running(live, len(over)), running(over)
    found = rule.prune(alive, ended)
    assert found <= {one.sample for one in alive}
    rng.shuffle(alive)
    rng.shuffle(ended)
    assert rule.prune(alive, ended) == found


def test_a_lowest_group_is_the_worst_window() -> None:
    assert lowest_group([-1.0, -2.0, -4.0, 0.0], 2) == -3.0
    assert lowest_group([-1.0], 2) is None
    assert lowest_group([-math.inf, 0.0, 0.0], 2) == -5000.0


def test_low_confidence_sets_its_bar_by_the_first_that_ended() -> None:
    rule = LowConfidence(keep=50, warmup=3, window=2)
    ended = [Running(i, (1, 2, 3), (0.0, p, p)) for i, p in enumerate([-1.0, -2.0, -3.0, -9.0])]
    assert rule.bar(ended) == -2.0, "the median of the first three"
    assert LowConfidence(keep=100, warmup=3, window=2).bar(ended) == -3.0
    assert rule.bar(ended[:2]) is None
    live = [
        Running(7, (1, 2), (-2.0, -2.0)),
        Running(8, (1, 2), (-2.5, -2.0)),
        Running(9, (1,), (-9.0,)),
        Running(10, (1, 2, 3, 4), (-9.0, -9.0, 0.0, 0.0)),
    ]
    assert rule.prune(live, ended) == {8, 10}
    assert rule.prune(live, ended[:2]) == frozenset()


@settings(deadline=None)
@given(st.lists(st.integers(0, 1), min_size=1, max_size=10), st.integers(1, 6))
def test_a_cycle_is_the_longest_stretch_that_repeats(tokens: list[int], longest: int) -> None:
    n = len(tokens)
    stretches = {
        period: max(
            length
            for length in range(n - period + 1)
            if all(tokens[n - 1 - i] == tokens[n - 1 - i - period] for i in range(length))
        )
        for period in range(1, min(longest, n - 1) + 1)
    }
    period, repeated = cycle(tokens, longest)
    assert repeated == max(stretches.values(), default=0)
    if repeated:
        assert period == min(p for p, length in stretches.items() if length == repeated)


def test_repetition_ends_circles_and_spares_what_only_looks_like_one() -> None:
    rule = Repetition(times=4, tokens=12, longest=5)

    def ends(tokens: list[int]) -> bool:
        return rule.prune([Running(3, tokens, [0.0] * len(tokens))], []) == {3}

    assert ends([9, 8] + [1, 2, 3, 4, 5] * 4)
    assert not ends([1, 2, 3, 4, 5] * 3), "three times over"
    assert not ends([9] * 11), "too short"
    assert ends([9] * 12)
    assert not ends([1, 2, 3, 4, 5, 6] * 9), "longer than looked for"
    assert not ends([1, 2, 3] * 9 + [7]), "it got out"


def test_too_long_is_beside_those_that_ended() -> None:
    rule = TooLong(share=0.5, slack=2, warmup=3)

    def long(sample: int, tokens: int) -> Running:
        return Running(sample, [1] * tokens, [0.0] * tokens)

    ended = [long(0, 5), long(1, 10), long(2, 90)]
    assert rule.prune([long(3, 20), long(4, 21)], ended) == {4}
    assert rule.prune([long(4, 999)], ended[:2]) == frozenset()
    assert make_pruning("too-long:0.5,slack=2,warmup=3+none").prune([long(4, 21)], ended) == {4}


@pytest.mark.parametrize(
    ("script", "options", "parts"),
    [
        ("calibration.py", ["--samples", "4", "--splits", "2"], {"signals", "random_halves", "split_sha256"}),
        ("stopping.py", ["--rounds", "1,2,4", "--orders", "1", "--warmup", "2"], {"rules", "rounds", "lose"}),
    ],
)
def test_the_benchmarks_replay_a_recording(
    script: str, options: list[str], parts: set[str], tmp_path: Path
) -> None:
    rng = random.Random(2)  # noqa: S311
    lines = [{"kind": "header"}]
    for index in range(8):
        samples = []
        for _ in range(4):
            length = rng.randrange(20, 60)
            answer = index if rng.random() < index / 8 else rng.randrange(100, 103)
            samples.append(
                {
                    "tokens": [rng.randrange(9) for _ in range(length)],
                    "logprobs": [-rng.random() for _ in range(length)],
                    "finished": True,
                    "text": f"The answer is {answer}.",
                }
            )
        lines.append({"index": index, "question": "?", "answer": str(index), "samples": samples})  # type: ignore[dict-item]
    traces = tmp_path / "toy.jsonl"
    traces.write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    benchmarks = Path(__file__).resolve().parents[1] / "benchmarks"
    run = subprocess.run(
        [sys.executable, str(benchmarks / script), str(traces), *options],
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    assert parts <= set(found)
    if script == "stopping.py":
        vote, everything = found["rules"]["vote"]["crossed"], found["rules"]["4 samples"]["crossed"]
        assert vote["accuracy"] == everything["accuracy"], "a decided vote changes no answer"
        assert vote["tokens"] <= everything["tokens"]
        assert found["rules"]["1 samples"]["crossed"]["tokens"] < everything["tokens"]
