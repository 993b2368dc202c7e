from __future__ import annotations

import json
import math
import random
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetts.errors import BundleVersionError, CorruptFile, InvalidInput, ModelNotFound, StorageError
from edgetts.selection.aggregation import Vote, self_consistency
from edgetts.selection.confidence import (
    Calibration,
    Combination,
    Example,
    Split,
    brier,
    calibrate,
    calibration_error,
    calibration_from_json,
    calibration_to_json,
    fit_combination,
    load_calibration,
    save_calibration,
)
from edgetts.selection.confidence.isotonic import fit_isotonic, interpolate
from edgetts.selection.confidence.logistic import fit_logistic, fit_platt, sigmoid

VALUES = st.sampled_from([-3.0, -1.0, 0.0, 0.5, 1.0, 7.0])
SCORED = st.lists(st.tuples(VALUES, st.booleans()), min_size=1, max_size=12)


def made(scored: list[tuple[float, bool]], **options: Any) -> Calibration:
    examples = [Example(f"q{i}", value, hit) for i, (value, hit) in enumerate(scored)]
    return calibrate(examples, **({"signal": "margin", "data": "toy", "rule": "all"} | options))


@settings(deadline=None)
@given(SCORED, st.sampled_from(["platt", "isotonic"]), st.randoms(use_true_random=False))
def test_a_calibration_rises_stays_a_probability_and_knows_no_order(
    scored: list[tuple[float, bool]], method: Any, rng: random.Random
) -> None:
    found = made(scored, method=method)
    points = [-1e308, -5.0, -3.0, -0.2, 0.0, 0.3, 0.5, 2.0, 7.0, 9.0, 1e308]
    probabilities = [found.apply(point) for point in points]
    assert probabilities == sorted(probabilities)
    assert all(0 <= p <= 1 for p in probabilities)
    shuffled = scored[:]
    rng.shuffle(shuffled)
    again = made(shuffled, method=method)
    assert (again.slope, again.intercept, again.knots) == (found.slope, found.intercept, found.knots)


@settings(deadline=None)
@given(SCORED)
def test_isotonic_is_the_nearest_of_all_rising_functions(scored: list[tuple[float, bool]]) -> None:
    """Against every rising assignment of grid values to the distinct inputs."""
    knots = fit_isotonic([v for v, _ in scored], [hit for _, hit in scored])
    cap = 1 / (len(scored) + 2)

    def loss(at: dict[float, float]) -> float:
        return sum((at[value] - hit) ** 2 for value, hit in scored)

    inputs = sorted({value for value, _ in scored})
    fitted = {value: interpolate(knots, value) for value in inputs}
    grid = [step / 6 for step in range(7)] if len(inputs) < 5 else [0.0, 0.5, 1.0]
    rivals = [
        loss(dict(zip(inputs, rise, strict=True)))
        for rise in product(grid, repeat=len(inputs))
        if list(rise) == sorted(rise)
    ]
    # The caps at 1 / (n + 2) may cost each example at most the square of the cap.
    assert loss(fitted) <= min(rivals) + len(scored) * cap**2 + 1e-12


def test_isotonic_pools_violators_and_interpolates_between_steps() -> None:
    knots = fit_isotonic([1, 2, 3, 4, 4, 4, 4], [False, True, False, True, True, True, False])
    assert knots == ((1, 1 / 9), (2, 0.5), (3, 0.5), (4, 0.75))
    assert interpolate(knots, 0) == 1 / 9
    assert interpolate(knots, 3.5) == 0.625
    assert interpolate(knots, 99) == 0.75
    wide = ((-1.7e308, 0.0), (1.7e308, 1.0))
    assert interpolate(wide, 0.0) == pytest.approx(0.5)


def test_newton_finds_where_the_gradient_is_zero() -> None:
    rng = random.Random(3)  # noqa: S311
    rows = [[rng.gauss(0, 1), rng.gauss(5, 100)] for _ in range(2000)]
    targets = [float(rng.random() < sigmoid(1.5 * a - 0.02 * b + 0.3)) for a, b in rows]
    weights, intercept = fit_logistic(rows, targets)
    errors = [
        sigmoid(sum(w * x for w, x in zip(weights, row, strict=True)) + intercept) - target
        for row, target in zip(rows, targets, strict=True)
    ]
    assert math.fsum(errors) == pytest.approx(0, abs=1e-6)
    for column in range(2):
        assert math.fsum(e * row[column] for e, row in zip(errors, rows, strict=True)) == pytest.approx(
            0, abs=1e-4
        )
    assert weights[0] == pytest.approx(1.5, abs=0.5)


def test_platt_with_one_value_is_the_smoothed_share() -> None:
    """Then the slope does nothing: the mean of targets (3 + 1) / (3 + 2) thrice and 1 / (1 + 2) once."""
    slope, intercept = fit_platt([0.5] * 4, [True, True, True, False])
    assert sigmoid(slope * 0.5 + intercept) == pytest.approx((3 * 4 / 5 + 1 / 3) / 4)


def test_platt_stays_finite_where_values_separate_and_where_all_are_right() -> None:
    slope, intercept = fit_platt([0.0, 0.0, 1.0, 1.0], [False, False, True, True])
    assert sigmoid(slope + intercept) == pytest.approx(3 / 4, abs=1e-6), "Platt's target of two right ones"
    assert sigmoid(intercept) == pytest.approx(1 / 4, abs=1e-6)
    slope, intercept = fit_platt([0.1, 0.9, 0.5], [True] * 3)
    assert sigmoid(slope * 0.7 + intercept) == pytest.approx(4 / 5, abs=1e-6)


def test_a_signal_that_points_the_wrong_way_is_worth_its_base_rate_only() -> None:
    found = made([(float(i), i < 10) for i in range(20)], method="platt")
    assert found.slope == 0
    assert found.apply(0.0) == found.apply(19.0) == pytest.approx(0.5)


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_calibration_repairs_an_overconfident_signal_on_held_out_questions(method: Any) -> None:
    rng = random.Random(11)  # noqa: S311

    def draw(start: int, n: int) -> list[Example]:
        values = [rng.random() for _ in range(n)]
        return [Example(str(start + i), v, rng.random() < v**3) for i, v in enumerate(values)]

    fitted, held_out = draw(0, 1500), draw(1500, 1500)
    found = calibrate(fitted, held_out, signal="vote-share", data="toy", rule="first half", method=method)
    assert found.before is not None
    assert found.after is not None
    assert found.before.ece > 0.2
    assert found.after.ece < 0.06
    assert found.after.brier < found.before.brier
    truth = [one.right for one in held_out]
    probabilities = [found.apply(one.value) for one in held_out]
    assert found.after.ece == calibration_error(probabilities, truth)
    assert found.after.brier == brier(probabilities, truth)
    if method == "platt":
        assert found.after.auroc == found.before.auroc, "a rising map changes no order"


def test_auto_takes_platt_for_few_and_isotonic_for_many() -> None:
    many = [(i / 1000, i % 3 == 0) for i in range(1000)]
    assert made(many).method == "isotonic"
    assert made(many[:-1]).method == "platt"
    assert made([(value, i < 49) for i, (value, _) in enumerate(many)]).method == "platt", "too few right"


def test_the_split_is_recorded_and_never_overlaps() -> None:
    first = [Example("b", 0.5, True), Example("a", 0.1, False), Example("a", 0.2, True)]
    found = calibrate(first, [Example("c", 0.5, True)], signal="margin", data="toy.jsonl", rule="by letter")
    assert (found.split.fitted, found.split.held_out) == (("a", "b"), ("c",))
    assert (found.split.data, found.split.rule) == ("toy.jsonl", "by letter")
    other = calibrate(first, [Example("d", 0.5, True)], signal="margin", data="toy.jsonl", rule="by letter")
    assert found.split.sha256 != other.split.sha256
    assert found.source == "margin (platt on 2 of toy.jsonl)"
    with pytest.raises(InvalidInput, match="in both halves of the split, such as 'a'"):
        calibrate(first, [Example("a", 0.5, True)], signal="margin", data="toy", rule="none")
    with pytest.raises(InvalidInput, match="sorted"):
        Split("toy", "none", ("b", "a"))


def test_what_cannot_be_calibrated() -> None:
    with pytest.raises(InvalidInput, match="no examples"):
        made([])
    with pytest.raises(InvalidInput, match="not finite"):
        made([(-math.inf, True)])
    with pytest.raises(InvalidInput, match="method 'best'"):
        made([(0.0, True)], method="best")
    with pytest.raises(InvalidInput, match="no probability"):
        made([(0.0, True)]).apply(math.nan)


def test_a_combination_leans_on_the_signal_that_tells() -> None:
    rng = random.Random(5)  # noqa: S311
    rows: list[list[float | None]] = []
    right = []
    for _ in range(300):
        telling, noise = rng.random(), rng.random()
        rows.append([telling if rng.random() < 0.9 else None, noise, None])
        right.append(rng.random() < telling)
    found = fit_combination(("vote-share", "certaindex", "verifier"), rows, right)
    assert found.weights[0] > 4 * abs(found.weights[1])
    assert found.weights[2] == pytest.approx(0, abs=1e-9), "known nowhere"
    usual = found.log_odds({"certaindex": 0.5})
    assert usual == found.log_odds({"certaindex": 0.5, "vote-share": found.usual[0]})
    assert found.log_odds({}) is None
    backwards = fit_combination(found.signals, rows[::-1], right[::-1])
    assert backwards == found


def combined() -> Calibration:
    combination = Combination(("vote-share", "certaindex"), (2.0, 1.0), (0.5, 0.5), -1.0)
    examples = [Example(str(i), i / 10, i % 3 > 0) for i in range(10)]
    held_out = [Example(str(i), i / 10, i % 2 > 0) for i in range(10, 16)]
    return calibrate(
        examples, held_out, signal=combination.name, data="toy", rule="first ten", combination=combination
    )


def test_a_combined_calibration_reads_votes() -> None:
    found = combined()
    votes = [Vote(i, answer, -1.0, 2) for i, answer in enumerate(["1", "1", "2", "1"])]
    tally = self_consistency(votes)
    value = found.measure()(votes, tally)
    assert value == pytest.approx(2 * 0.75 + 3 * math.log(3) / (4 * math.log(4)) - 1)
    assert found.confidence(votes, tally) == found.apply(value)
    assert found.measure().needs == {"several"}
    nobody = [Vote(0, None, -1.0, 2)]
    assert found.confidence(nobody, self_consistency(nobody)) is None
    with pytest.raises(InvalidInput, match="not known: nonsense"):
        Combination(("nonsense",), (1.0,), (0.0,), 0.0).signal()


@pytest.mark.parametrize(
    "calibration",
    [combined(), made([(0.1, False), (0.4, True), (0.6, True)], method="isotonic"), made([(0.1, True)])],
    ids=["combined", "isotonic", "platt"],
)
def test_survives_a_file(calibration: Calibration, tmp_path: Path) -> None:
    path = tmp_path / "new" / "calibration.json"
    save_calibration(calibration, path)
    assert load_calibration(path) == calibration
    save_calibration(calibration, path)
    assert [one.name for one in path.parent.iterdir()] == ["calibration.json"], "no draft is left"


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "calibration.json"
    save_calibration(made([(0.1, True)]), path)
    before = path.read_bytes()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        save_calibration(made([(0.9, False)]), path)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["calibration.json"]


HOSTILE: list[tuple[tuple[str, ...], Any]] = [
    (("format",), None), (("format",), 0), (("format",), True), (("format",), "1"),
    (("method",), "magic"), (("method",), ["platt"]), (("signal",), 3), (("signal",), "x" * 2000),
    (("slope",), -1.0), (("slope",), "1"), (("slope",), True), (("slope",), 10**400), (("slope",), float("nan")),
    (("intercept",), float("inf")),
    (("knots",), []), (("knots",), [[0, 0.5], [0, 0.6]]), (("knots",), [[0, 0.5], [1, 0.4]]),
    (("knots",), [[0, 1.5]]), (("knots",), [[0, -0.1]]), (("knots",), [0.5]), (("knots",), [[0, 0.1, 0.2]]),
    (("knots",), [[0, None]]), (("knots",), {"0": 1}), (("knots",), [[i, 0.5] for i in range(100_001)]),
    (("split",), None), (("split", "fitted"), ["q1", "q0"]), (("split", "fitted"), ["q0", "other"]),
    (("split", "held_out"), ["q0"]), (("split", "sha256"), "0" * 64), (("split", "rule"), None),
    (("split", "fitted"), [1]), (("split", "extra"), 1),
    (("before",), {"n": 1}), (("after",), [1]), (("combination",), {"signals": []}),
    (("combination",), {"signals": ["a"], "weights": [], "usual": [0.0], "intercept": 0.0}),
    (("surprise",), 1),
]  # fmt: skip


@pytest.mark.parametrize(("place", "value"), HOSTILE)
def test_refuses_a_hostile_file(place: tuple[str, ...], value: Any, tmp_path: Path) -> None:
    body = json.loads(json.dumps(calibration_to_json(made([(0.1, False), (0.4, True)], method="isotonic"))))
    inner = body
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(body), encoding="utf-8")
    with pytest.raises(CorruptFile) as error:
        load_calibration(path)
    assert error.value.hint


def test_refuses_quality_that_cannot_be() -> None:
    body = json.loads(json.dumps(calibration_to_json(combined())))
    assert calibration_from_json(body) == combined()
    for key, value in (("n", 0), ("n", 2.5), ("ece", 1.5), ("auroc", "1"), ("brier", None)):
        broken = json.loads(json.dumps(body))
        broken["after"][key] = value
        with pytest.raises(CorruptFile):
            calibration_from_json(broken)


def test_refuses_what_is_no_calibration_at_all(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    with pytest.raises(ModelNotFound, match="no calibration to read"):
        load_calibration(path)
    for raw in (b"", b"\xff", b"[" * 100_000, b'{"format": NaN}', b"[]", b'"text"', b"{}", b" " * (17 << 20)):
        path.write_bytes(raw)
        with pytest.raises(CorruptFile):
            load_calibration(path)
    body = calibration_to_json(made([(0.1, True)])) | {"format": 2}
    path.write_text(json.dumps(body), encoding="utf-8")
    with pytest.raises(BundleVersionError, match="format 2"):
        load_calibration(path)
