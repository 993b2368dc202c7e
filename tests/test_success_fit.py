"""What is fitted to a record of samples: against what is known of simulated models, and on the recorded traces."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from success_cases import simulated_run

from edgetts.control.success.model import Attempt
from edgetts.control.success.profile import EXACT, SuccessProfile
from edgetts.control.success.reading import read_success
from edgetts.control.success.writing import write_success
from edgetts.errors import InvalidInput
from edgetts.evaluation.coverage import pass_at_k
from edgetts.evaluation.loading import load_run
from edgetts.evaluation.record import Run
from edgetts.evaluation.reordering import Ballot, halves, sizes_to
from edgetts.evaluation.success import Conditions, fit_success
from edgetts.evaluation.success_shares import mean_interval, points_of
from edgetts.evaluation.success_signals import coverage_law
from edgetts.selection.aggregation import Majority

TRACES = (
    Path(__file__).resolve().parents[2]
    / "shared"
    / "traces"
    / "qwen25-coder-05b_gsm-symbolic_seed7_x16.jsonl"
)
CHANCES = (0.9, 0.35, 0.05)
"""Of a sample to be right, by question: easy, worth more samples, hopeless."""
QUESTIONS = 90


@pytest.fixture(scope="module")
def run() -> Run:
    return simulated_run(QUESTIONS, 16, chances=CHANCES)


@pytest.fixture(scope="module")
def fitted(run: Run) -> SuccessProfile:
    return fit_success(run)


def true_vote(samples: int, trials: int = 1500) -> float:
    """Vote accuracy of the simulated model, by simulation with a seed of its own; ties as the vote breaks them."""
    right = 0
    ballots = [Ballot.of(one) for one in simulated_run(trials, samples, seed=99, chances=CHANCES).problems]
    for ballot in ballots:
        right += ballot.vote(tuple(range(samples)), Majority())[0]
    return right / trials


@pytest.mark.parametrize("samples", [1, 2, 4, 8, 16])
def test_the_vote_is_as_often_right_as_the_simulated_model_is(fitted: SuccessProfile, samples: int) -> None:
    found = fitted.predict(Attempt(samples, 128))
    # Questions are a third of each kind, here and there: what is left is the noise of samples.
    assert found.value == pytest.approx(true_vote(samples), abs=0.05)
    assert found.low < found.value < found.high


def test_coverage_is_that_of_the_simulated_model_within_its_bounds(fitted: SuccessProfile) -> None:
    for samples in (1, 2, 4, 8, 15, 30):
        true = sum(1 - (1 - chance) ** samples for chance in CHANCES) / len(CHANCES)
        found = fitted.predict(Attempt(samples, 128, verified=EXACT)) if samples > 1 else None
        law = fitted.drawings[0].coverage
        assert law is not None
        if found is not None:
            assert found == law.at(samples)
        # The mixture is no power law: the law is an approximation, as good as its bounds and 5 points.
        assert law.at(samples).low - 0.05 <= true <= law.at(samples).high + 0.05


def test_one_sample_has_a_posterior_for_greedy_and_another_for_the_rest(fitted: SuccessProfile) -> None:
    drawing = fitted.drawings[0]
    assert drawing.greedy is not None
    assert drawing.sampled is not None
    assert drawing.greedy.value == pytest.approx(1 / 3, abs=0.01)
    assert drawing.greedy.right + drawing.greedy.wrong == pytest.approx(QUESTIONS + 1)
    assert drawing.sampled.low < sum(CHANCES) / 3 < drawing.sampled.high
    # Samples of one question are alike: 2,250 of them are worth far fewer.
    assert QUESTIONS <= drawing.sampled.right + drawing.sampled.wrong < 3 * QUESTIONS


def test_agreement_is_calibrated_on_questions_it_was_not_fitted_on(fitted: SuccessProfile) -> None:
    drawing = fitted.drawings[0]
    assert [one.samples for one in drawing.reliability] == [2, 4, 8, 16]
    for reliability, check in zip(drawing.reliability, drawing.checks, strict=True):
        assert reliability.samples == check.samples
        assert sum(every for _, _, every in reliability.counts) == pytest.approx(QUESTIONS)
        assert reliability.probability(1.0) > reliability.probability(0.3)
        # Of 45 questions: where each is counted once, chance alone makes some 0.1 of it.
        assert check.error < 0.13
    # Two that agree are not always right: what agreement says as it stands is far off.
    assert drawing.checks[0].error < drawing.checks[0].raw / 2


def test_difficulty_tells_which_questions_end_up_right(fitted: SuccessProfile) -> None:
    difficulty = fitted.drawings[0].difficulty
    assert difficulty is not None
    assert (difficulty.after, difficulty.most) == (4, 16)
    assert difficulty.auroc > 0.8
    assert difficulty.rescued is not None


def test_noise_tells_nothing_of_difficulty() -> None:
    run = simulated_run(40, 8, seed=5, chances=(0.3,))
    difficulty = fit_success(run).drawings[0].difficulty
    assert difficulty is None or difficulty.auroc < 0.75


def test_caps_are_measured_as_if_longer_samples_had_no_answer(run: Run, fitted: SuccessProfile) -> None:
    caps = [curve.cap for curve in fitted.drawings[0].votes if curve.aggregator == "majority"]
    assert caps == sorted(set(caps))
    assert caps[-1] == 128
    assert len(caps) >= 3
    short = fitted.predict(Attempt(4, caps[0])).value
    kept = {
        problem.id: replace(
            problem,
            samples=tuple(
                s
                if len(s.tokens) <= caps[0]
                else replace(s, finished=False, stated=False, answer=None, right=False)
                for s in problem.samples
            ),
        )
        for problem in run.problems
    }
    ballots = [Ballot.of(problem) for problem in kept.values()]
    by_hand = dict(points_of(ballots, Majority(), 16, 100))[4].value
    assert short == pytest.approx(by_hand, abs=0.03)


def test_verdicts_are_found_and_counted(run: Run, fitted: SuccessProfile) -> None:
    [counts] = fitted.drawings[0].verifiers
    right = sum(sample.right is True for problem in run.problems for sample in problem.samples)
    # Texts say 3 + 4 = answer: the verifier passes the right ones and no other.
    assert counts.right == (right, 0, 0)
    assert counts.wrong == (0, QUESTIONS * 16 - right, 0)
    checked = fitted.predict(Attempt(8, 128, verified="arithmetic"))
    assert checked is not None
    assert checked.value > fitted.predict(Attempt(8, 128)).value


def test_a_document_holds_all_that_was_fitted(fitted: SuccessProfile) -> None:
    again = read_success(write_success(fitted).encode(), "the file")
    for samples in (1, 3, 8, 16, 50):
        one, other = (model.predict(Attempt(samples, 100)) for model in (fitted, again))
        assert one.value == pytest.approx(other.value, abs=1e-4)
    assert write_success(again) == write_success(fitted)
    assert fitted.provenance == "measured on 90 questions of sums, 2026-11-28"
    assert (fitted.model, fitted.answer_format, fitted.drawings[0].temperature) == ("tiny", "number", 0.7)


def test_the_same_record_gives_the_same_profile_in_any_order() -> None:
    run = simulated_run(12, 4)
    first, again = fit_success(run), fit_success(Run(run.header, list(reversed(run.problems))))
    for samples in (1, 2, 4):
        assert again.predict(Attempt(samples, 128)).value == pytest.approx(
            first.predict(Attempt(samples, 128)).value
        )
    assert fit_success(run) == first


def test_records_that_would_mislead_are_refused(run: Run) -> None:
    with pytest.raises(InvalidInput, match="3 questions"):
        fit_success(Run(run.header, run.problems[:3]))
    first = run.problems[0]
    fewer = [replace(first, samples=first.samples[:4]), *run.problems[1:]]
    with pytest.raises(InvalidInput, match="different numbers of samples"):
        fit_success(Run(run.header, fewer))
    given_up = replace(first.samples[1], finish_reason="pruned")
    pruned = [replace(first, samples=(first.samples[0], given_up, *first.samples[2:])), *run.problems[1:]]
    with pytest.raises(InvalidInput, match="given up"):
        fit_success(Run(run.header, pruned))


def test_a_record_of_greedy_answers_alone_says_what_one_sample_is_worth() -> None:
    run = simulated_run(30, 1)
    found = fit_success(run)
    assert found.predict(Attempt(1, 128)).value == pytest.approx(1 / 3)
    assert found.drawings[0].coverage is None
    assert found.drawings[0].difficulty is None
    assert found.drawings[0].reliability == ()


def test_nothing_right_and_everything_right_are_not_certain() -> None:
    for chances, side in (((0.0,), 0.0), ((1.0,), 1.0)):
        fitted = fit_success(simulated_run(6, 4, chances=chances))
        found = fitted.predict(Attempt(4, 128))
        assert found.value == side
        assert found.high - found.low > 0.1
        law = fitted.drawings[0].coverage
        assert law is not None
        assert 0 < law.at(4).value < 1


def test_what_the_header_does_not_say_is_given_or_read_from_its_words(run: Run) -> None:
    header = {
        "model": "old",
        "task": "sums",
        "sampling": "sample 0 greedy; temperature 0.9, at most 300 tokens",
    }
    old = fit_success(Run(header, run.problems[:9]), conditions=Conditions(date="2026-01-02"))
    assert (old.drawings[0].temperature, old.drawings[0].cap) == (0.9, 300)
    assert old.drawings[0].date == "2026-01-02"
    direct = fit_success(Run(header, run.problems[:9]), conditions=Conditions("direct", 0.5, 64))
    assert (direct.drawings[0].approach, direct.drawings[0].temperature) == ("direct", 0.5)


@given(st.integers(2, 12), st.integers(1, 12), st.integers(1, 60))
@settings(max_examples=60)
def test_orders_are_different_choices_with_the_greedy_sample_first(
    all_of: int, wanted: int, most: int
) -> None:
    wanted = min(wanted, all_of)
    ballot = Ballot.of(simulated_run(1, all_of).problems[0])
    orders = ballot.orders(wanted, most)
    assert 1 <= len(orders) <= most
    for order in orders:
        assert order[0] == 0
        assert len(set(order)) == wanted
        assert set(order) <= set(range(all_of))
    assert orders == ballot.orders(wanted, most)


def test_all_choices_are_counted_alike() -> None:
    ballot = Ballot.of(simulated_run(1, 9).problems[0])
    seen = Counter(at for order in ballot.orders(4, 5000) for at in order[1:])
    assert len(ballot.orders(4, 5000)) == 56
    assert set(seen.values()) == {21}


@given(st.lists(st.tuples(st.integers(2, 8), st.integers(0, 8)), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_a_law_can_be_fitted_to_any_counts(counts: list[tuple[int, int]]) -> None:
    known = [(n, min(n, right)) for n, right in counts]
    law = coverage_law(known)
    assert law is not None
    for samples in (1, 2, 7, 1000):
        found = law.at(samples)
        assert 0 <= found.low <= found.value <= found.high <= 1


def test_a_law_follows_what_was_recorded() -> None:
    rng = random.Random(4)  # noqa: S311  # not for secrets
    counts = [(15, sum(rng.random() < chance for _ in range(15))) for chance in [0.02, 0.1, 0.4, 0.8] * 40]
    law = coverage_law(counts)
    assert law is not None
    for k in sizes_to(15):
        seen = sum(pass_at_k(n, right, k) for n, right in counts) / len(counts)
        assert law.at(k).value == pytest.approx(seen, abs=0.03)


def test_bounds_of_a_mean_are_never_too_sure_with_few_questions() -> None:
    assert mean_interval([0.0] * 5).high > 0.25
    assert mean_interval([1.0] * 5).low < 0.75
    many = mean_interval([0.0, 1.0] * 200)
    assert (many.low, many.high) == (pytest.approx(0.459, abs=0.01), pytest.approx(0.541, abs=0.01))


def test_halves_depend_on_ids_and_seed_alone() -> None:
    ids = [f"q{n}" for n in range(11)]
    first, second = halves(ids, 3)
    assert sorted(first + second) == list(range(11))
    shuffled = list(reversed(ids))
    again, _ = halves(shuffled, 3)
    assert {shuffled[at] for at in again} == {ids[at] for at in first}


@pytest.mark.skipif(not TRACES.exists(), reason="no recorded traces beside this clone (../shared/traces)")
def test_the_recorded_traces() -> None:
    found = fit_success(load_run(TRACES))
    drawing = found.drawings[0]
    assert (found.task, found.answer_format, drawing.questions, drawing.samples) == (
        "gsm_symbolic",
        "number",
        100,
        16,
    )
    assert (drawing.temperature, drawing.cap) == (0.7, 448)
    votes = [found.predict(Attempt(n, 448)).value for n in (1, 4, 8, 16)]
    assert votes == [pytest.approx(0.15), *(pytest.approx(v, abs=0.02) for v in (0.18, 0.21, 0.24))]
    assert max(check.error for check in drawing.checks) < 0.12
    difficulty = drawing.difficulty
    assert difficulty is not None
    assert 0.65 < difficulty.auroc < 0.8
