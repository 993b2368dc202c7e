"""Mixes of configurations: never worse than the best one alone, and the best there is where all can be tried."""

from __future__ import annotations

# ruff: noqa: F401, F811  fixtures are imported, and then named as parameters
import itertools
from dataclasses import replace
from typing import Any

import pytest
from fakes_engine import ScriptedSession, scripted_engine, tiny_engine_bundle, tiny_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from success_cases import simulated_run

from edgetts import Budget
from edgetts.control.success.figures import fingerprint
from edgetts.control.success.mixing import CalibrationMatrix, best_mix, coverage
from edgetts.control.success.profile import LEAST_SHARED, SuccessProfile
from edgetts.control.success.reading import read_success
from edgetts.control.success.writing import write_success
from edgetts.errors import CorruptFile
from edgetts.evaluation.success import Conditions, fit_success
from edgetts.tokenizer import Tokenizer

shares = st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.9, 1.0]) | st.floats(0.0, 1.0)


def matrices(most: int) -> st.SearchStrategy[list[list[float]]]:
    return st.integers(1, most).flatmap(
        lambda width: st.lists(st.lists(shares, min_size=width, max_size=width), min_size=1, max_size=5)
    )


def every(samples: int, limits: list[int]) -> list[tuple[int, ...]]:
    ranges = [range(limit + 1) for limit in limits]
    return [counts for counts in itertools.product(*ranges) if sum(counts) == samples]


@settings(deadline=None)
@given(matrix=matrices(5), samples=st.integers(1, 12))
def test_a_mix_is_never_worse_than_the_best_configuration_alone(
    matrix: list[list[float]], samples: int
) -> None:
    mix = best_mix(matrix, samples)
    assert sum(mix.counts) == samples
    assert mix.coverage == pytest.approx(coverage(matrix, mix.counts))
    for place in range(len(matrix[0])):
        alone = [samples if i == place else 0 for i in range(len(matrix[0]))]
        assert mix.coverage >= coverage(matrix, alone) - 1e-12
    assert mix.alone[1] == pytest.approx(
        max(
            coverage(matrix, [samples * (i == j) for i in range(len(matrix[0]))])
            for j in range(len(matrix[0]))
        )
    )


@settings(deadline=None)
@given(matrix=matrices(3), samples=st.integers(1, 6), data=st.data())
def test_on_small_cases_a_mix_is_the_best_of_all(
    matrix: list[list[float]], samples: int, data: st.DataObject
) -> None:
    limits = [data.draw(st.integers(0, samples)) for _ in matrix[0]]
    limits[0] = samples
    mix = best_mix(matrix, samples, at_most=limits)
    assert all(count <= limit for count, limit in zip(mix.counts, limits, strict=True))
    best = max(coverage(matrix, counts) for counts in every(samples, limits))
    assert mix.coverage == pytest.approx(best, abs=1e-9)


def test_two_that_are_right_on_different_questions_are_mixed() -> None:
    mix = best_mix([[0.9, 0.0], [0.0, 0.9]], 4)
    assert mix.counts == (2, 2)
    assert mix.coverage == pytest.approx(0.99)
    assert mix.alone == (0, pytest.approx(0.49995))


def test_what_cannot_be_mixed_is_refused() -> None:
    for matrix in ([], [[]]):
        with pytest.raises(ValueError, match="at least one"):
            best_mix(matrix, 3)
    with pytest.raises(ValueError, match="allow 2 of 3"):
        best_mix([[0.5, 0.5]], 3, at_most=[1, 1])


@settings(deadline=None)
@given(rows=st.lists(st.tuples(shares, shares, shares), min_size=1, max_size=6), samples=st.integers(2, 8))
def test_the_mix_that_runs_is_greedy_once_and_the_best_temperature_for_the_others(
    rows: list[tuple[float, float, float]], samples: int
) -> None:
    matrix = CalibrationMatrix((0.4, 1.0), tuple(row[0] for row in rows), tuple(row[1:] for row in rows))
    heat, reached = matrix.best_temperature(samples)
    both = [coverage(rows, (1, samples - 1, 0)), coverage(rows, (1, 0, samples - 1))]
    assert reached == pytest.approx(max(both))
    assert reached == pytest.approx(both[(0.4, 1.0).index(heat)])
    # What could be had by running several temperatures in one answer.
    assert matrix.best_mix(samples).coverage >= reached - 1e-12


def fitted(temperature: float, seed: int, questions: int = 30, **more: Any) -> SuccessProfile:
    run = simulated_run(questions, 8, seed=seed, **more)
    return fit_success(run, conditions=Conditions(temperature=temperature))


def test_a_task_calibrated_at_two_temperatures_knows_which_questions_each_gets_right() -> None:
    cool, hot = fitted(0.4, 1, chances=(0.9, 0.02, 0.02)), fitted(1.0, 2, chances=(0.45, 0.4, 0.4))
    assert cool.matrix("reason") is None, "one temperature leaves nothing to choose"
    both = cool.merged(hot)
    matrix = both.matrix("reason")
    assert matrix is not None
    assert matrix.temperatures == (0.4, 1.0)
    assert len(matrix.greedy) == len(matrix.drawn) == 30
    assert both.matrix("direct") is None
    # Where one right sample is enough, the hot samples find what the greedy one misses.
    assert matrix.best_temperature(8)[0] == 1.0
    again = read_success(write_success(both).encode(), "it").matrix("reason")
    assert again is not None
    assert again.best_temperature(8) == pytest.approx(matrix.best_temperature(8), abs=1e-4)


def test_temperatures_that_were_asked_other_questions_are_not_mixed() -> None:
    few = fitted(1.0, 2, questions=LEAST_SHARED - 1)
    assert fitted(0.4, 1).merged(few).matrix("reason") is None
    drawings = fitted(1.0, 2).drawings
    table = drawings[0].by_question
    assert table is not None
    strange = replace(table, questions=tuple(one + 1 for one in table.questions))
    other = replace(fitted(1.0, 2), drawings=(replace(drawings[0], by_question=strange),))
    assert fitted(0.4, 1).merged(other).matrix("reason") is None


def test_what_is_kept_of_questions_is_no_text() -> None:
    text = write_success(fitted(0.7, 1))
    assert "number 3" not in text
    assert fingerprint("What is 3 + 4, number 3?") != fingerprint("What is 3 + 4, number 4?")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("greedy = [\n", "greedy = [\n    0.5,\n"),
        ("questions = [\n", "questions = [\n    281474976710655,\n"),
        ("drawn = [\n", "drawn = [\n    2.0,\n"),
    ],
)
def test_a_table_of_questions_that_cannot_be_is_refused(old: str, new: str) -> None:
    text = write_success(fitted(0.7, 1))
    assert old in text
    with pytest.raises(CorruptFile):
        read_success(text.replace(old, new, 1).encode(), "it")


def test_an_exact_verifier_has_the_engine_draw_at_the_temperature_that_finds_most(
    tiny_tokenizer: Tokenizer,
) -> None:
    cool, hot = fitted(0.4, 1, chances=(0.9, 0.02, 0.02)), fitted(1.0, 2, chances=(0.45, 0.4, 0.4))
    both = cool.merged(hot)
    engine = scripted_engine(tiny_tokenizer, ScriptedSession([b"7"] * 20))
    engine.know(None, lambda task, form: both)

    def exactly(text: str) -> bool:
        return text == "7"

    plan = engine.plan("What is 3 + 4?", task="sums", verifier=exactly, budget=Budget(samples=8))
    assert plan.temperature == 1.0
