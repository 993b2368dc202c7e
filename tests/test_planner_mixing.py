"""Mixes of configurations: never worse than the best one alone, and the best there is where all can be tried."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetts.control.planning.mixing import CalibrationMatrix, best_mix, coverage

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
